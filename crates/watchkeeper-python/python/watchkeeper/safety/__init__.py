"""Sessions with limits, and a monitor that reports when a limit is reached.

The names, signatures and messages are those of the `safety` package of Agent-C, so that
code for it runs unchanged. The monitor runs on the engine of Watchkeeper.

>>> from watchkeeper.safety import BackgroundMonitor, SafeSession, TimeoutConfig
>>> session = SafeSession()
>>> monitor = BackgroundMonitor(session, TimeoutConfig(max_session_duration=600))
>>> monitor.on_event = print
>>> monitor.start()
>>> monitor.stop()
True

Importing a name loads its module only. The native module is loaded when a monitor starts.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .background_monitor import BackgroundMonitor
    from .cancellation import CancellationHandler
    from .environment import from_env
    from .monitor_event import EventType, MonitorEvent
    from .runaway_detector import RunawayDetector, RunawayPattern
    from .safe_session import SafeSession
    from .session_metrics import SessionMetrics
    from .system_hooks import CombinedHook, SafeSessionHook
    from .timeout_monitor import TimeoutConfig, TimeoutMonitor

__all__ = [
    "BackgroundMonitor",
    "CancellationHandler",
    "CombinedHook",
    "EventType",
    "MonitorEvent",
    "RunawayDetector",
    "RunawayPattern",
    "SafeSession",
    "SafeSessionHook",
    "SessionMetrics",
    "TimeoutConfig",
    "TimeoutMonitor",
    "from_env",
]

_MODULES = {
    "BackgroundMonitor": "background_monitor",
    "CancellationHandler": "cancellation",
    "CombinedHook": "system_hooks",
    "EventType": "monitor_event",
    "MonitorEvent": "monitor_event",
    "RunawayDetector": "runaway_detector",
    "RunawayPattern": "runaway_detector",
    "SafeSession": "safe_session",
    "SafeSessionHook": "system_hooks",
    "SessionMetrics": "session_metrics",
    "TimeoutConfig": "timeout_monitor",
    "TimeoutMonitor": "timeout_monitor",
    "from_env": "environment",
}


if not TYPE_CHECKING:
    # Type checkers would accept any name.
    def __getattr__(name: str) -> object:
        """Import a name on its first use."""
        if name not in _MODULES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
