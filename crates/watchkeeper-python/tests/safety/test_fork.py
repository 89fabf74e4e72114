import os
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

PROGRAM = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
from watchkeeper.safety import BackgroundMonitor, SafeSession, TimeoutConfig

session = SafeSession()
monitor = BackgroundMonitor(session, TimeoutConfig(), check_interval=0.01)
events = []
monitor.on_event = events.append
monitor.start()
session.record_tool_call("Read", {"path": "a"})
child = os.fork()
if child == 0:
    assert not monitor.is_running
    for _ in range(6):
        session.record_tool_call("Bash", {"command": "make"})
    assert events == []
    monitor.start()
    assert monitor.is_running
    assert monitor.stop()
    assert len(events) == 1, events
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert monitor.is_running
assert monitor.stop()
assert events == []
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_watches_after_a_start(
    run_python: Callable[..., CompletedProcess[str]],
) -> None:
    ran = run_python(PROGRAM)
    assert (ran.returncode, ran.stderr) == (0, "")
