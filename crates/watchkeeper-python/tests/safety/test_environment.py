import os
import subprocess
import sys
import threading
import types

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


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("USE_SAFE_SESSION", "USE_BACKGROUND_MONITOR")
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**environment, **variables},
    )


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"USE_BACKGROUND_MONITOR": "false"},
        {"USE_BACKGROUND_MONITOR": "true", "USE_SAFE_SESSION": "false"},
        {"USE_SAFE_SESSION": "true"},
    ],
)
def test_without_the_variables_nothing_is_loaded(variables: dict[str, str]) -> None:
    ran = run(UNSET, **variables)
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


def test_events_are_printed_on_standard_error_by_default() -> None:
    program = """
from watchkeeper.safety import from_env
monitor = from_env()
for _ in range(5):
    monitor.session.record_tool_call("Bash", {"command": "make"})
monitor.stop()
"""
    ran = run(program, USE_BACKGROUND_MONITOR="true")
    assert ran.returncode == 0, ran.stderr
    assert "[HIGH]" in ran.stderr
    assert "infinite_tool_loop" in ran.stderr
