"""A check of a session for calls, steps and handoffs that lead nowhere."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from watchkeeper._calls import call_key

if TYPE_CHECKING:
    from .safe_session import SafeSession

__all__ = ["RunawayDetector", "RunawayPattern"]


class RunawayPattern(Enum):
    """The ways in which an agent runs away."""

    INFINITE_TOOL_LOOP = "infinite_tool_loop"
    EXCESSIVE_REASONING = "excessive_reasoning"
    ESCALATION_SPIRAL = "escalation_spiral"


class RunawayDetector:
    """Compares the numbers of a session with thresholds. Changes nothing in the session.

    `same_tool_threshold` equal calls in a row are a loop: the same tool with the same
    arguments. More than `reasoning_threshold` steps, or `handoff_threshold` handoffs,
    count from the latest progress: a call that differs from those before it.
    """

    def __init__(
        self,
        session: SafeSession,
        same_tool_threshold: int = 5,
        reasoning_threshold: int = 50,
        handoff_threshold: int = 10,
    ) -> None:
        self.session = session
        self.same_tool_threshold = same_tool_threshold
        self.reasoning_threshold = reasoning_threshold
        self.handoff_threshold = handoff_threshold

    def detect_pattern(self) -> RunawayPattern | None:
        """Return the first pattern that the session shows, or `None`."""
        metrics = self.session.metrics
        latest = self._latest_calls()
        if latest and len({call_key(*call[:2]) for call in latest}) == 1:
            return RunawayPattern.INFINITE_TOOL_LOOP
        steps = getattr(metrics, "steps_since_progress", metrics.reasoning_steps)
        if steps > self.reasoning_threshold:
            return RunawayPattern.EXCESSIVE_REASONING
        handoffs = getattr(metrics, "handoffs_since_progress", metrics.handoff_count)
        if handoffs > self.handoff_threshold:
            return RunawayPattern.ESCALATION_SPIRAL
        return None

    def get_detection_message(self, pattern: RunawayPattern | None) -> str:
        """Return a description of a pattern for people."""
        match pattern:
            case RunawayPattern.INFINITE_TOOL_LOOP:
                return f"Same tool called {self.same_tool_threshold}+ times in a row"
            case RunawayPattern.EXCESSIVE_REASONING:
                return f"More than {self.reasoning_threshold} reasoning steps without progress"
            case RunawayPattern.ESCALATION_SPIRAL:
                return f"More than {self.handoff_threshold} agent handoffs detected"
            case _:
                return "No runaway pattern detected"

    def get_pattern_details(self) -> dict[str, Any]:
        """Return the numbers of the session, and the thresholds."""
        metrics = self.session.metrics
        latest = self._latest_calls()
        return {
            "total_tool_calls": len(metrics.tool_calls),
            "recent_tool_pattern": [call[0] for call in latest] if latest else None,
            "reasoning_steps": metrics.reasoning_steps,
            "handoff_count": metrics.handoff_count,
            "thresholds": {
                "same_tool": self.same_tool_threshold,
                "reasoning": self.reasoning_threshold,
                "handoffs": self.handoff_threshold,
            },
        }

    def _latest_calls(self) -> list[Any]:
        """Return as many calls as the threshold; none if there are fewer."""
        n_calls = self.same_tool_threshold
        latest = self.session.metrics.tool_calls[-n_calls:]
        return latest if 0 < n_calls == len(latest) else []
