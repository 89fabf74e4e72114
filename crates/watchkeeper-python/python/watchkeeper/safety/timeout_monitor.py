"""The limits of a session, and a check of its duration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .safe_session import SafeSession

__all__ = ["TimeoutConfig", "TimeoutMonitor"]

_LIMITS = frozenset({"max_session_duration", "turn_timeout", "tool_timeout"})


@dataclass
class TimeoutConfig:
    """Time limits in seconds, and the shares of a limit at which a warning is given.

    Raises `ValueError` for a limit that is negative or NaN.
    """

    max_session_duration: float = 1800
    turn_timeout: float = 300
    tool_timeout: float = 120
    warning_threshold_75: float = 0.75
    warning_threshold_90: float = 0.90

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LIMITS and isinstance(value, (int, float)) and not value >= 0:
            message = f"{name} must be a number of seconds from 0, not {value!r}"
            raise ValueError(message)
        object.__setattr__(self, name, value)


class TimeoutMonitor:
    """Compares the duration of a session with its limit. Changes nothing in the session.

    `warnings_sent` has the warnings that were given, such as `75%`.
    """

    def __init__(self, session: SafeSession, config: TimeoutConfig) -> None:
        self.session = session
        self.config = config
        self.warnings_sent: list[str] = []

    def check_timeout(self) -> str | None:
        """Return a warning, or `None`.

        A session over its limit gets the same warning at each call; each other warning is
        given once.
        """
        elapsed = self.session.metrics.get_duration()
        limit = self.config.max_session_duration
        if elapsed > limit:
            return exceeded("Session", elapsed, limit)
        for share in (self.config.warning_threshold_90, self.config.warning_threshold_75):
            if elapsed > limit * share:
                percent = round(share * 100)
                if f"{percent}%" in self.warnings_sent:
                    # A lower warning would come late.
                    return None
                self.warnings_sent.append(f"{percent}%")
                return warning("Session", percent, elapsed, limit)
        return None

    def get_time_remaining(self) -> float:
        """Return the seconds until the limit; negative over the limit."""
        return self.config.max_session_duration - self.session.metrics.get_duration()

    def reset_warnings(self) -> None:
        """Give each warning again."""
        self.warnings_sent = []


def warning(subject: str, percent: int, elapsed: float, limit: float) -> str:
    """Return the message of a share of a limit."""
    return f"WARNING: {subject} at {percent}% of timeout ({_seconds(elapsed, limit)} / {limit}s)"


def exceeded(subject: str, elapsed: float, limit: float) -> str:
    """Return the message of a limit that is exceeded."""
    return f"TIMEOUT: {subject} exceeded maximum duration ({_seconds(elapsed, limit)} / {limit}s)"


def _seconds(elapsed: float, limit: float) -> str:
    """Return a time in whole seconds, or in milliseconds if the limit is below one second."""
    return f"{elapsed:.0f}s" if limit >= 1 else f"{elapsed:.3f}s"
