"""The events of a session, made from the findings of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._policy import LIMITS, SESSION_TIMEOUT
from .monitor_event import EventType, MonitorEvent
from .runaway_detector import RunawayDetector, RunawayPattern
from .timeout_monitor import exceeded, warning

if TYPE_CHECKING:
    from watchkeeper import Finding

    from .timeout_monitor import TimeoutConfig

__all__ = ["PATTERNS", "Events", "error", "limit_exceeded"]

# The pattern that each detector of the built-in policy finds.
PATTERNS = {
    "infinite_tool_loop": RunawayPattern.INFINITE_TOOL_LOOP,
    "infinite_tool_cycle": RunawayPattern.INFINITE_TOOL_LOOP,
    "excessive_reasoning": RunawayPattern.EXCESSIVE_REASONING,
    "escalation_spiral": RunawayPattern.ESCALATION_SPIRAL,
}
_SUBJECTS = {"session_timeout": "Session", "turn_timeout": "Turn", "tool_timeout": "Tool call"}


class Events:
    """Makes the events of one session.

    `percents` has the percent of a limit for each severity of a finding about time.
    """

    def __init__(self, session: Any, config: TimeoutConfig, percents: dict[str, int]) -> None:
        self._session = session
        self._config = config
        self._percents = percents

    def of(self, finding: Finding, duration: float | None) -> MonitorEvent:
        """Return the event of a finding.

        `duration` is the present one of the session in seconds, `None` if it is unknown.
        """
        if finding.detector in LIMITS:
            return self._timeout(finding, duration)
        if finding.detector in PATTERNS:
            return self._runaway(finding)
        data = dict(finding.data)
        if finding.class_ == EventType.ERROR.value:
            data.setdefault("error", finding.message)
        return MonitorEvent(finding.class_, finding.message, finding.severity, data, finding)

    def _timeout(self, finding: Finding, duration: float | None) -> MonitorEvent:
        limit = getattr(self._config, LIMITS[finding.detector])
        percent = self._percents[finding.severity]
        # The finding has whole seconds.
        elapsed = max(float(finding.data["elapsed_seconds"]), limit * percent / 100)
        if finding.detector == SESSION_TIMEOUT and duration is not None:
            # The finding has the time of its level, which an old session passed long ago.
            elapsed = duration
        data = {"elapsed": elapsed, "max_duration": limit}
        subject = _SUBJECTS[finding.detector]
        if "tool" in finding.data:
            data["tool"] = finding.data["tool"]
            subject += f" {data['tool']}"
        if finding.severity == "high":
            severity, message = "high", exceeded(subject, elapsed, limit)
        else:
            # Both warnings of the original are of medium severity.
            severity, message = "medium", warning(subject, percent, elapsed, limit)
        return MonitorEvent(EventType.TIMEOUT.value, message, severity, data, finding)

    def _runaway(self, finding: Finding) -> MonitorEvent:
        pattern = PATTERNS[finding.detector]
        detector = RunawayDetector(self._session)
        message = finding.message
        if finding.detector == pattern.value:
            message = detector.get_detection_message(pattern)
        try:
            details = detector.get_pattern_details()
        except AttributeError:
            # Any object with `metrics` is a session, and the numbers may be missing.
            details = {}
        data = {**finding.data, "pattern": pattern.value, "details": details}
        return MonitorEvent(EventType.RUNAWAY.value, message, finding.severity, data, finding)


def limit_exceeded(elapsed: float, limit: float) -> MonitorEvent:
    """Return the event of a session over its limit that the engine has not reported yet."""
    data = {"elapsed": elapsed, "max_duration": limit}
    message = exceeded("Session", elapsed, limit)
    return MonitorEvent(EventType.TIMEOUT.value, message, "high", data)


def error(message: str) -> MonitorEvent:
    """Return the event of an exception in the code of the session."""
    text = f"Check session error: {message}"
    return MonitorEvent(EventType.ERROR.value, text, "low", {"error": message})
