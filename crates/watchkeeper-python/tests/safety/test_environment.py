import threading
import types
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from watchkeeper.safety import CombinedHook, SafeSessionHook, from_env

UNSET = """
import sys, threading
from watchkeeper.safety import *
from watchkeeper.safety import from_env
assert from_env(object()) is None
assert threading.active_count() == 1
assert "watchkeeper._watchkeeper" not in sys.modules
"""


Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USE_SAFE_SESSION", "USE_BACKGROUND_MONITOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"USE_BACKGROUND_MONITOR": "false"},
        {"USE_BACKGROUND_MONITOR": "true", "USE_SAFE_SESSION": "false"},
        {"USE_SAFE_SESSION": "true"},
    ],
)
def test_without_the_variables_nothing_is_loaded(
    run_python: Run, variables: dict[str, str]
) -> None:
    ran = run_python(UNSET, **variables)
    assert ran.returncode == 0, ran.stderr


def test_the_variables_start_a_monitor_with_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_BACKGROUND_MONITOR", "True")
    monkeypatch.setenv("USE_SAFE_SESSION", "true")
    present = object()
    first = types.SimpleNamespace(name="first", hooks=None)
    second = types.SimpleNamespace(name="second", hooks=present)
    agency = types.SimpleNamespace(agents={"first": first, "second": second})
    monitor = from_env(agency)
    assert monitor is not None
    try:
        assert monitor.is_running
        assert monitor.session.is_active()
        assert isinstance(first.hooks, SafeSessionHook)
        assert first.hooks.session is monitor.session
        assert isinstance(second.hooks, CombinedHook)
        assert second.hooks.hooks[0] is present
    finally:
        assert monitor.stop()
    assert "SafeSessionMonitor" not in [thread.name for thread in threading.enumerate()]


def test_events_are_printed_on_standard_error_by_default(run_python: Run) -> None:
    program = """
from watchkeeper.safety import from_env
monitor = from_env()
for _ in range(5):
    monitor.session.record_tool_call("Bash", {"command": "make"})
monitor.stop()
"""
    ran = run_python(program, USE_BACKGROUND_MONITOR="true")
    assert ran.returncode == 0, ran.stderr
    assert "[HIGH]" in ran.stderr
    assert "infinite_tool_loop" in ran.stderr
