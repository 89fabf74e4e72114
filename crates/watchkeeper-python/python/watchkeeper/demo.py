"""A session over its limit, and a loop: `python -m watchkeeper.demo`."""

# ruff: noqa: T201 - the demo prints

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from watchkeeper.safety import BackgroundMonitor, SafeSession, TimeoutConfig

if TYPE_CHECKING:
    from watchkeeper.safety import MonitorEvent

_LIMIT = 4
_LONGEST = 9.0


def main() -> int:
    """Run the demo, which takes about four seconds. Returns the exit code."""
    session = SafeSession()
    over = threading.Event()

    def on_event(event: MonitorEvent) -> None:
        print(f"[{event.severity.upper()}] {event.message}", flush=True)
        if event.event_type == "timeout" and event.severity == "high":
            session.terminate("Timeout exceeded")
            over.set()

    print(f"A session with a limit of {_LIMIT} seconds, whose agent runs `make` again and again.")
    config = TimeoutConfig(max_session_duration=_LIMIT)
    monitor = BackgroundMonitor(session, config, check_interval=0.1)
    monitor.on_event = on_event
    monitor.start()
    for _ in range(6):
        session.record_tool_call("Bash", {"command": "make"})
        over.wait(0.2)
    has_ended = over.wait(_LONGEST - session.get_duration())
    monitor.stop()
    print(f"The session is {session.status}, the monitor has stopped.")
    return 0 if has_ended else 1


if __name__ == "__main__":
    sys.exit(main())
