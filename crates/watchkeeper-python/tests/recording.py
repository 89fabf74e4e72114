"""Events that many tests record."""

import time
from collections.abc import Callable

import watchkeeper

# The longest time in seconds that a test waits for something that happens.
LONG = 10.0


def record_failing_calls(session: watchkeeper.Session, n_calls: int = 6) -> None:
    """Record equal calls that fail, one finding of the fixture `policy` for each three."""
    session.prompt("Why does the build fail?")
    for _ in range(n_calls):
        with session.tool_call("Bash", {"command": "make"}) as call:
            call.fail("no rule to make target `all`")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a state that no event reports."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
