"""Sessions and monitors of a kind that the package does not expect."""

import pytest

from background import Watch
from watchkeeper.safety import BackgroundMonitor, SafeSession, TimeoutConfig


@pytest.mark.parametrize("started_at", [float("nan"), -1e300, 10**400])
def test_a_session_with_an_impossible_start_is_watched(watch: Watch, started_at: float) -> None:
    class Metrics:
        tool_calls: tuple[object, ...] = ()

        @property
        def started_at(self) -> float:
            return float("nan") if started_at != started_at else started_at  # noqa: PLR0124

    class Session:
        metrics = Metrics()

    monitor, events = watch(Session(), TimeoutConfig(max_session_duration=0.05))
    events.wait_for(3)
    native = monitor._monitor
    # One session, which has not started anew at each reading.
    assert native is not None
    assert native.counts.events == 1


def test_a_background_monitor_need_not_be_hashable() -> None:
    class Equal(BackgroundMonitor):  # noqa: PLW1641
        def __eq__(self, other: object) -> bool:
            return True

    monitor = Equal(SafeSession())
    monitor.start()
    assert monitor.is_running
    assert monitor.stop()
