"""Records a session to the engine."""

from __future__ import annotations

import datetime
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._terminal import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchkeeper import Monitor

# The largest number of calls, of steps and of handoffs in one reading. No detector
# compares more, and the queue of the monitor takes them at once.
_MAX_READ = 200


class Recorder:
    """Records what a session has counted since the latest reading.

    `session` is any object with `metrics`. Its numbers are read at each `read`. A
    `SafeSession` also passes its events on when they happen.
    """

    def __init__(self, session: Any, session_id: str, monitor: Monitor) -> None:
        self._session = session
        self._session_id = session_id
        # What `attach` has changed: later the session may have other metrics, or raise.
        self._metrics: Any = None
        self._monitor = monitor
        self.lock = threading.RLock()
        self._open: dict[str, Any] = {}
        self._has_turn = False
        # Events were recorded since the latest end of a turn.
        self._has_events = False
        self._n_restarts = 0
        self._n_calls = self._n_steps = self._n_handoffs = 0
        self._started_at: object = None
        self._is_first = True
        self._begin()

    def attach(self) -> None:
        """Read the session now, and then at each of its events."""
        with self.lock:
            self.read()
            for call_id, (name, args) in list(getattr(self._session, "_open_calls", {}).items()):
                self.begin_call(call_id, name, args)
        self._metrics = metrics = self._session.metrics
        if hasattr(metrics, "_listeners"):
            metrics._listeners += (self._read_or_log,)
        if hasattr(self._session, "_recorders"):
            self._session._recorders += (self,)

    def detach(self) -> None:
        """Undo `attach`."""
        metrics = self._metrics
        if hasattr(metrics, "_listeners"):
            listener = self._read_or_log
            metrics._listeners = tuple(it for it in metrics._listeners if it != listener)
        if hasattr(self._session, "_recorders"):
            recorders = self._session._recorders
            self._session._recorders = tuple(it for it in recorders if it is not self)

    def read(self) -> None:
        """Record the calls, steps and handoffs since the latest reading."""
        with self.lock:
            metrics = self._session.metrics
            if getattr(metrics, "started_at", None) != self._started_at:
                self._end()
                self._n_restarts += 1
                self._begin()
            calls = self._new_calls(metrics)
            n_steps = self._new("_n_steps", getattr(metrics, "reasoning_steps", 0))
            n_handoffs = self._new("_n_handoffs", getattr(metrics, "handoff_count", 0))
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

    def begin_call(self, call_id: str, name: str, args: Any) -> None:
        """Record a call."""
        with self._logged(), self.lock:
            self._has_events = True
            self._open[call_id] = self._native.tool_call(name, args, call_id)

    def end_call(self, call_id: str, output: object, *, ok: bool) -> None:
        """Record the result of a call, which the metrics contain already."""
        with self._logged(), self.lock:
            self._n_calls += 1
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
        self.first_age = max(0.0, _age(metrics))
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
        total = getattr(metrics, "total_tool_calls", len(calls))
        n_new = min(self._new("_n_calls", total), len(calls), _MAX_READ)
        return list(calls[-n_new:]) if n_new else []

    def _new(self, name: str, total: int) -> int:
        """Return how much a number has grown. A smaller number is a new start."""
        n_before: int = getattr(self, name)
        setattr(self, name, total)
        return min(max(0, total - n_before), _MAX_READ)

    def _record_call(self, call: Any) -> None:
        name, args, at = (*call, None, None)[:3] if isinstance(call, tuple) else (call, None, None)
        # The calls before the start of the monitor were made at their own times.
        known = self._is_first and isinstance(at, float)
        when = min(at, time.time()) if known else None
        self._has_events = True
        call = self._native.tool_call(str(name), args, at=when)
        self._native.tool_result(call.detach(), "", at=when)

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
    if hasattr(metrics, "_start"):
        return float(metrics.get_duration())
    started_at = getattr(metrics, "started_at", None)
    if isinstance(started_at, int | float):
        return time.time() - started_at
    get_duration = getattr(metrics, "get_duration", None)
    return float(get_duration()) if callable(get_duration) else 0.0


def _share(n: int, part: int, n_parts: int) -> int:
    return n * (part + 1) // n_parts - n * part // n_parts
