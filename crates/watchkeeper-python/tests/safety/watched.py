"""A monitor of a session, and its events."""

import threading
from typing import Any

from watchkeeper.safety import BackgroundMonitor, MonitorEvent, SafeSession, TimeoutConfig

# The longest time that a test waits for something that happens.
LONG = 10.0


class Events:
    """The events of a monitor, and a way to wait for the next ones."""

    def __init__(self) -> None:
        self.all: list[MonitorEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: MonitorEvent) -> None:
        with self._changed:
            self.all.append(event)
            self._changed.notify_all()

    def wait_for(self, n_events: int) -> list[MonitorEvent]:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.all) >= n_events, LONG)
            assert arrived, self.all
            return list(self.all)

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.all]


class Watched:
    """A monitor that is started with a session, and stopped after the test."""

    def __init__(self) -> None:
        self.monitors: list[BackgroundMonitor] = []

    def __call__(
        self, session: Any = None, config: TimeoutConfig | None = None, **options: Any
    ) -> tuple[BackgroundMonitor, Events]:
        session = SafeSession() if session is None else session
        options.setdefault("check_interval", 0.02)
        monitor = BackgroundMonitor(session, config or TimeoutConfig(), **options)
        events = Events()
        monitor.on_event = events
        self.monitors.append(monitor)
        monitor.start()
        return monitor, events


def settle(monitor: BackgroundMonitor) -> None:
    """Let the engine handle what was recorded, and then check several times."""
    assert monitor._monitor is not None
    assert monitor._monitor.flush(LONG)
    for _ in range(3):
        threading.Event().wait(0.05)
        assert monitor._monitor.flush(LONG)
