"""The end of a session by Ctrl+C or by a signal."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from ._log import print_unless_taken

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TypeAlias

    from .safe_session import SafeSession

    _Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

__all__ = ["CancellationHandler"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A shell reports the end by a signal as this number plus the number of the signal.
_EXIT_CODE = 128


class CancellationHandler:
    """Stops a session at Ctrl+C or SIGTERM, and prints a summary.

    The program exits with 130 after SIGINT, and with 143 after SIGTERM. A monitor that is
    running delivers its findings before. A second signal has its usual effect.
    """

    def __init__(self, session: SafeSession) -> None:
        self.session = session
        self.cancellation_requested = False
        self._previous: dict[signal.Signals, _Handler] = {}

    def install(self) -> None:
        """Handle SIGINT and SIGTERM. Only the main thread can do this."""
        for number in _SIGNALS:
            if number not in self._previous:
                self._previous[number] = signal.signal(number, self._signal_handler)

    def uninstall(self) -> None:
        """Restore the earlier handlers."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def request_cancellation(self, reason: str = "") -> None:
        """Request a stop of the session."""
        self.cancellation_requested = True
        self.session.request_stop(reason)

    def cleanup(self) -> dict[str, Any]:
        """Return a summary of the session."""
        metrics = self.session.metrics
        return {
            "session_id": self.session.session_id,
            "duration": metrics.get_duration(),
            "tool_calls": len(metrics.tool_calls),
            "reasoning_steps": metrics.reasoning_steps,
            "handoffs": metrics.handoff_count,
            "status": self.session.status,
        }

    def _signal_handler(self, number: int, _frame: FrameType | None) -> None:
        self.uninstall()
        name = signal.Signals(number).name
        reason = "User pressed Ctrl+C" if number == signal.SIGINT else f"received {name}"
        self.request_cancellation(reason)
        summary = self.cleanup()
        print_unless_taken(
            f"Session {summary['session_id']} cancelled by {name} "
            f"after {summary['duration']:.1f}s, {summary['tool_calls']} tool calls "
            f"and {summary['reasoning_steps']} reasoning steps"
        )
        sys.exit(_EXIT_CODE + number)
