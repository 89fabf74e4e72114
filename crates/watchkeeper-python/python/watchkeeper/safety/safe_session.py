"""A session of an agent, as its program sees it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from watchkeeper._errors import RunStopped

from ._log import print_unless_taken
from ._observable import Observable
from .session_metrics import SessionMetrics

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["SafeSession"]


class SessionObserver(Protocol):
    """The receiver of the events of a session. No method raises an exception."""

    @property
    def lock(self) -> AbstractContextManager[object]:
        """The lock that is held while the metrics and the observer count the same call."""

    def begin_call(self, call_id: str, name: str, args: dict[str, Any]) -> None:
        """Handle the call of a tool."""

    def end_call(self, call_id: str, output: object, *, ok: bool) -> None:
        """Handle the result of a call, which the metrics do not contain yet."""

    def abandon_call(self, call_id: str) -> None:
        """Handle the end of a call without a result."""

    def begin_turn(self, prompt: str) -> None:
        """Handle the prompt of a person."""

    def end_turn(self) -> None:
        """Handle the end of the turn."""


@dataclass
class SafeSession(Observable[SessionObserver]):
    """A session whose activity is counted, and that can be requested to stop.

    `status` is `initializing`, `active` once an agent is set, `stopping` once a stop is
    requested, and `terminated` at the end. `stop_reason` is the reason of the first
    request.
    """

    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    metrics: SessionMetrics = field(default_factory=SessionMetrics)
    stop_requested: bool = False
    status: str = "initializing"
    stop_reason: str = field(default="", init=False)
    _agent: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._open_calls: dict[str, tuple[str, dict[str, Any]]] = {}

    def set_agent(self, agent: Any) -> None:
        """Set the agent of the session, which is not changed."""
        self._agent = agent
        self.status = "active"

    def record_tool_call(self, tool_name: str, args: dict[str, Any]) -> None:
        """Record a call of a tool that has returned, with its arguments."""
        self.metrics.record_tool_call(tool_name, args)

    def begin_tool_call(
        self, tool_name: str, args: dict[str, Any], call_id: str | None = None
    ) -> str:
        """Record that a tool is called, and return the id of the call.

        A call that does not end within `tool_timeout` is reported.
        """
        call_id = call_id or str(uuid.uuid4())
        self._open_calls[call_id] = (tool_name, args)
        for observer in self._observers:
            observer.begin_call(call_id, tool_name, args)
        return call_id

    def end_tool_call(self, call_id: str, output: object = None, *, ok: bool = True) -> None:
        """Record the result of a call. An id that did not begin, or has ended, is ignored."""
        call = self._open_calls.pop(call_id, None)
        if call is None:
            return
        observers = self._observers
        with ExitStack() as locks:
            for observer in observers:
                locks.enter_context(observer.lock)
            for observer in observers:
                observer.end_call(call_id, output, ok=ok)
            self.metrics.record_tool_call(*call)

    def abandon_tool_call(self, call_id: str) -> None:
        """Record that a call will have no result. The call is not counted."""
        if self._open_calls.pop(call_id, None) is not None:
            for observer in self._observers:
                observer.abandon_call(call_id)

    @property
    def open_tool_calls(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The names and the arguments of the calls that run, by their ids."""
        return self._open_calls.copy()

    def begin_turn(self, prompt: str = "") -> None:
        """Record a prompt of a person.

        A turn that does not end within `turn_timeout` is reported. A session without turns
        has no such limit.
        """
        for observer in self._observers:
            observer.begin_turn(prompt)

    def end_turn(self) -> None:
        """Record that the agent has done what the prompt requested."""
        for observer in self._observers:
            observer.end_turn()

    def request_stop(self, reason: str = "") -> None:
        """Request that the session stops at the next step of its agent."""
        self.stop_reason = self.stop_reason or reason
        self.stop_requested = True
        self.status = "stopping"

    def raise_if_stopped(self) -> None:
        """Raise `RunStopped` if a stop is requested. For a loop that runs an agent."""
        if self.stop_requested:
            raise RunStopped(self.stop_reason or "a stop of the session was requested")

    def get_duration(self) -> float:
        """Return the seconds since the start of the session."""
        return self.metrics.get_duration()

    def is_active(self) -> bool:
        """Return whether the session has an agent, and no stop is requested."""
        return self.status == "active" and not self.stop_requested

    def terminate(self, reason: str = "Timeout exceeded") -> None:
        """Request a stop, and print the reason once.

        The hooks of the session, and `raise_if_stopped`, then end the run of the agent. A
        session that is terminated already does not change.
        """
        if self.status == "terminated":
            return
        self.request_stop(reason)
        self.status = "terminated"
        duration, n_calls = self.get_duration(), self.metrics.total_tool_calls
        print_unless_taken(
            f"TERMINATING SESSION {self.session_id}: {reason}, "
            f"after {duration:.1f}s and {n_calls} tool calls"
        )
