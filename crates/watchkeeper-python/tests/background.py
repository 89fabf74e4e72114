"""A monitor beside a session, and its events."""

import threading
from typing import Any
from unittest import mock

from recording import LONG, wait_until
from watchkeeper.safety import BackgroundMonitor, MonitorEvent, SafeSession, TimeoutConfig

CHECK_INTERVAL = 0.02


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


class Watch:
    """Starts monitors with sessions, and stops them after the test."""

    def __init__(self) -> None:
        self._monitors: list[BackgroundMonitor] = []

    def __call__(
        self, session: Any = None, config: TimeoutConfig | None = None, **options: Any
    ) -> tuple[BackgroundMonitor, Events]:
        session = SafeSession() if session is None else session
        options.setdefault("check_interval", CHECK_INTERVAL)
        monitor = BackgroundMonitor(session, config, **options)
        events = Events()
        monitor.on_event = events
        self._monitors.append(monitor)
        monitor.start()
        return monitor, events

    def stop(self) -> None:
        for monitor in self._monitors:
            monitor.stop()


def flush(monitor: BackgroundMonitor) -> None:
    """Let the engine handle the recorded events, and deliver their findings."""
    assert monitor._monitor is not None
    assert monitor._monitor.flush(LONG)


def settle(monitor: BackgroundMonitor, n_checks: int = 3) -> None:
    """Wait until the session was read several times, and the events are handled."""
    recorder = monitor._recorder
    assert recorder is not None
    with mock.patch.object(recorder, "read", wraps=recorder.read) as read:
        # The last reading may not have ended.
        wait_until(lambda: read.call_count > n_checks)
    flush(monitor)
