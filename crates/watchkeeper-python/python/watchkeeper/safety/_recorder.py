"""Records a session to the engine."""

from __future__ import annotations

import datetime
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._log import logger
from .session_metrics import LONGEST_AGE, age_since

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchkeeper import Monitor, ToolCall

__all__ = ["Recorder"]

# The largest number of calls, of steps and of handoffs in one reading. No detector
# compares more, and the queue of the monitor takes them at once.
_MAX_READ = 200


class _Count:
    """A number of the metrics, as of the latest reading."""

    def __init__(self) -> None:
        self.total = 0

    def advance(self, total: int) -> int:
        """Return how much the number has grown. A smaller number is a new start."""
        n_before, self.total = self.total, total
        return min(max(0, total - n_before), _MAX_READ)


class Recorder:
    """Records what a session has counted since the latest reading.

    `session` is any object with `metrics`. Its numbers are read at each `read`. A
    `SafeSession` also passes its events on when they happen.
    """

    def __init__(self, session: Any, session_id: str, monitor: Monitor) -> None:
        self.lock = threading.RLock()
        self._session = session
        self._session_id = session_id
        # The metrics that `attach` has subscribed to: later the session may have others.
        self._metrics: Any = None
        self._monitor = monitor
        self._open: dict[str, ToolCall] = {}
        self._has_turn = False
        # Events were recorded since the latest end of a turn.
        self._has_events = False
        self._n_restarts = 0
        self._calls, self._steps, self._handoffs = _Count(), _Count(), _Count()
        self._is_first = True
        self._begin()

    def attach(self) -> None:
        """Read the session now, and then at each of its events."""
        with self.lock:
            self.read()
            for call_id, (name, args) in getattr(self._session, "open_tool_calls", {}).items():
                self.begin_call(call_id, name, args)
        self._metrics = self._session.metrics
        for target, observer in ((self._metrics, self._read_or_log), (self._session, self)):
            if hasattr(target, "subscribe"):
                target.subscribe(observer)

    def detach(self) -> None:
        """Undo `attach`."""
        for target, observer in ((self._metrics, self._read_or_log), (self._session, self)):
            if hasattr(target, "unsubscribe"):
                target.unsubscribe(observer)

    def read(self) -> None:
        """Record the calls, steps and handoffs since the latest reading."""
        with self.lock:
            metrics = self._session.metrics
            if not _is_same(getattr(metrics, "started_at", None), self._started_at):
                self._end()
                self._n_restarts += 1
                self._begin()
            calls = self._new_calls(metrics)
            n_steps = self._steps.advance(getattr(metrics, "reasoning_steps", 0))
            n_handoffs = self._handoffs.advance(getattr(metrics, "handoff_count", 0))
            if hasattr(metrics, "steps_since_progress"):
                for call in calls:
                    self._record_call(call)
                self._record_steps(min(n_steps, metrics.steps_since_progress))
                self._record_handoffs(min(n_handoffs, metrics.handoffs_since_progress))
            else:
                # The order is not known.
                n_parts = len(calls) + 1
                for part in range(n_parts):
                    self._record_steps(_share(n_steps, part, n_parts))
                    self._record_handoffs(_share(n_handoffs, part, n_parts))
                    if part < len(calls):
                        self._record_call(calls[part])
            self._is_first = False
            self._end_turn_if_unknown()

    def begin_call(self, call_id: str, name: str, args: dict[str, Any]) -> None:
        """Record a call."""
        with self._logged(), self.lock:
            self._has_events = True
            self._open[call_id] = self._native.tool_call(name, args, call_id)

    def end_call(self, call_id: str, output: object, *, ok: bool) -> None:
        """Record the result of a call, which the metrics count while `lock` is held."""
        with self._logged(), self.lock:
            self._calls.total += 1
            call = self._open.pop(call_id, None)
            if call is not None and ok:
                call.succeed(output)
            elif call is not None:
                call.fail(output)
            self._end_turn_if_unknown()

    def abandon_call(self, call_id: str) -> None:
        """Record that a call has no result."""
        with self._logged(), self.lock:
            call = self._open.pop(call_id, None)
            if call is not None:
                call.cancel("interrupted")
            self._end_turn_if_unknown()

    def begin_turn(self, prompt: str) -> None:
        """Record a prompt."""
        with self._logged(), self.lock:
            self._has_turn = True
            self._native.prompt(prompt)

    def end_turn(self) -> None:
        """Record the end of a turn."""
        with self._logged(), self.lock:
            self._has_turn = False
            self._native.turn_end()

    def duration(self) -> float:
        """Return the seconds since the start of the session."""
        return time.monotonic() - self._start

    def _begin(self) -> None:
        metrics = self._session.metrics
        self._started_at = getattr(metrics, "started_at", None)
        age = _age(metrics)
        self.first_age = age if 0 <= age <= LONGEST_AGE else 0.0
        self._start = time.monotonic() - self.first_age
        suffix = f"#{self._n_restarts + 1}" if self._n_restarts else ""
        # The age, and not the start, is independent of the wall clock.
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        started_at = now - datetime.timedelta(seconds=self.duration())
        self._native = self._monitor.session(self._session_id + suffix, started_at=started_at)
        self._has_turn = False

    def _end(self) -> None:
        self._open.clear()
        self._native.end()

    def _end_turn_if_unknown(self) -> None:
        """End the turn after the events of a session whose turns are not recorded.

        Otherwise the first event would begin a turn that never ends.
        """
        if self._has_events and not self._has_turn and not self._open:
            self._native.turn_end()
            self._has_events = False

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Log an error instead of passing it to the agent."""
        try:
            yield
        except Exception:  # noqa: BLE001 - logged
            logger.exception("cannot record an event of the session")

    def _read_or_log(self) -> None:
        with self._logged():
            self.read()

    def _new_calls(self, metrics: Any) -> list[Any]:
        calls = getattr(metrics, "tool_calls", ())
        n_new = self._calls.advance(getattr(metrics, "total_tool_calls", len(calls)))
        return list(calls[-n_new:]) if n_new else []

    def _record_call(self, call: Any) -> None:
        name, args, at = (*call, None, None)[:3] if isinstance(call, tuple) else (call, None, None)
        # The calls before the start of the monitor were made at their own times.
        known = self._is_first and isinstance(at, float)
        when = min(at, time.time()) if known else None
        self._has_events = True
        call_id = self._native.tool_call(str(name), args, at=when).detach()
        self._native.tool_result(call_id, "", at=when)

    def _record_steps(self, n_steps: int) -> None:
        for _ in range(n_steps):
            self._has_events = True
            self._native.model_call()

    def _record_handoffs(self, n_handoffs: int) -> None:
        for _ in range(n_handoffs):
            self._has_events = True
            self._native.handoff("agent")


def _age(metrics: Any) -> float:
    """Return the seconds since the start of a session; zero if they are not known."""
    get_duration = getattr(metrics, "get_duration", None)
    if callable(get_duration):
        return float(get_duration())
    return age_since(getattr(metrics, "started_at", None))


def _is_same(a: Any, b: Any) -> bool:
    """Return whether two times are equal, or both are NaN."""
    return bool(a == b or (a != a and b != b))  # noqa: PLR0124 - of all values, only NaN differs


def _share(n: int, part: int, n_parts: int) -> int:
    """Return the size of one of `n_parts` almost equal parts of `n`."""
    return n * (part + 1) // n_parts - n * part // n_parts
