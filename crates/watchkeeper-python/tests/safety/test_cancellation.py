import signal
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from watchkeeper.safety import CancellationHandler, SafeSession

PROGRAM = """
import os, signal, sys
from watchkeeper.safety import BackgroundMonitor, CancellationHandler, SafeSession, TimeoutConfig

session = SafeSession(session_id="s")
monitor = BackgroundMonitor(session, TimeoutConfig())
monitor.on_event = lambda event: print(event.message, flush=True)
monitor.start()
CancellationHandler(session).install()
for _ in range(5):
    session.record_tool_call("Bash", {"command": "make"})
os.kill(os.getpid(), int(sys.argv[1]))
signal.pause()
"""


def test_a_request_stops_the_session() -> None:
    session = SafeSession()
    handler = CancellationHandler(session)
    assert handler.session is session
    assert handler.cancellation_requested is False
    handler.request_cancellation("enough")
    assert handler.cancellation_requested is True
    assert (session.stop_requested, session.status) == (True, "stopping")
    assert session.stop_reason == "enough"


def test_the_summary_has_the_numbers_of_the_session() -> None:
    session = SafeSession()
    session.record_tool_call("Bash", {})
    session.record_tool_call("Read", {})
    session.metrics.reasoning_steps = 5
    summary = CancellationHandler(session).cleanup()
    assert summary.pop("duration") >= 0
    assert summary == {
        "session_id": session.session_id,
        "tool_calls": 2,
        "reasoning_steps": 5,
        "handoffs": 0,
        "status": "initializing",
    }
    assert session.metrics.total_tool_calls == 2


def test_uninstall_restores_the_handlers() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handler = CancellationHandler(SafeSession())
    handler.install()
    handler.install()
    assert signal.getsignal(signal.SIGINT) == handler._signal_handler
    handler.uninstall()
    handler.uninstall()
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_flushes_and_sets_the_exit_code(
    run_python: Callable[..., CompletedProcess[str]], number: int, exit_code: int
) -> None:
    ran = run_python(PROGRAM, str(int(number)))
    assert ran.returncode == exit_code, ran.stderr
    assert ran.stderr == ""
    assert "Same tool called 5+ times in a row" in ran.stdout
    assert f"Session s cancelled by {signal.Signals(number).name}" in ran.stdout
    assert "5 tool calls" in ran.stdout
