"""The numbers of a session."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from watchkeeper._calls import call_key

from ._observable import Observable

__all__ = ["SessionMetrics"]

# The longest age of a session in seconds, a hundred years. A longer one is a mistake.
LONGEST_AGE = 100 * 365.25 * 86400
# The number of tool calls that are kept, and the number that is dropped at once.
_MAX_CALLS = 10_000
_DROPPED_CALLS = 1_000
# A call that differs from so many calls before it is progress.
_RECENT_CALLS = 16


@dataclass
class SessionMetrics(Observable[Callable[[], object]]):
    """The numbers of a session: its tool calls, reasoning steps and handoffs.

    `tool_calls` has the name, the arguments and the time of each call, oldest first; the
    latest 10,000 are kept. `started_at` is in seconds since the epoch. `memory_peak` and
    `disk_used` are in bytes, and for the program to set.

    Observers are functions that are called after each change.
    """

    tool_calls: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    reasoning_steps: int = 0
    handoff_count: int = 0
    memory_peak: int = 0
    disk_used: int = 0
    started_at: float = field(default_factory=time.time)

    # The start by the monotonic clock. Without an annotation, this is no field.
    _start = 0.0

    def __post_init__(self) -> None:
        self._n_dropped = 0
        self._recent: deque[int] = deque(maxlen=_RECENT_CALLS)
        self._steps_at_progress = 0
        self._handoffs_at_progress = 0

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "started_at":
            # Later steps of the wall clock do not change the duration.
            object.__setattr__(self, "_start", time.monotonic() - age_since(value))
        if name in ("started_at", "reasoning_steps", "handoff_count"):
            self._notify()

    def __getstate__(self) -> dict[str, Any]:
        # Another process has another monotonic clock.
        return {name: value for name, value in super().__getstate__().items() if name != "_start"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def record_tool_call(self, tool_name: str, args: dict[str, Any]) -> None:
        """Record a call of a tool, with its arguments."""
        self.tool_calls.append((tool_name, args, time.time()))
        if len(self.tool_calls) > _MAX_CALLS:
            del self.tool_calls[:_DROPPED_CALLS]
            self._n_dropped += _DROPPED_CALLS
        call = hash(call_key(tool_name, args))
        if call not in self._recent:
            self._recent.append(call)
            self._steps_at_progress = self.reasoning_steps
            self._handoffs_at_progress = self.handoff_count
        self._notify()

    def increment_reasoning_steps(self) -> None:
        """Count a step of reasoning, such as a request to the model."""
        self.reasoning_steps += 1

    def record_handoff(self, from_agent: str, to_agent: str) -> None:  # noqa: ARG002
        """Count a handoff from one agent to another."""
        self.handoff_count += 1

    def get_duration(self) -> float:
        """Return the seconds since the start. Steps of the wall clock do not change this."""
        return time.monotonic() - self._start

    @property
    def total_tool_calls(self) -> int:
        """The number of all calls, including those that are no longer kept."""
        return self._n_dropped + len(self.tool_calls)

    @property
    def steps_since_progress(self) -> int:
        """The steps of reasoning since the latest call that differs from those before it."""
        return max(0, self.reasoning_steps - self._steps_at_progress)

    @property
    def handoffs_since_progress(self) -> int:
        """The handoffs since the latest call that differs from those before it."""
        return max(0, self.handoff_count - self._handoffs_at_progress)

    def _notify(self) -> None:
        for observer in self._observers:
            observer()


def age_since(started_at: Any) -> float:
    """Return the seconds since a time; zero if it is not possible, such as NaN or `None`."""
    try:
        age = time.time() - float(started_at)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return age if abs(age) <= LONGEST_AGE else 0.0
