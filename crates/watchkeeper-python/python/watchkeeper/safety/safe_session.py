"""A session of an agent, as its program sees it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from watchkeeper._errors import RunStopped

from ._terminal import print_unless_taken
from .session_metrics import SessionMetrics

if TYPE_CHECKING:
    from ._recorder import Recorder

__all__ = ["SafeSession"]


class _Unsaved:
    """Attributes that are no fields, and are not copied or pickled."""

    _recorders: tuple[Recorder, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_recorders"}


@dataclass
class SafeSession(_Unsaved):
    """A session whose activity is counted, and that can be asked to stop.

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
        # The names and arguments of the calls that run.
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
        for recorder in self._recorders:
            recorder.begin_call(call_id, tool_name, args)
        return call_id

    def end_tool_call(self, call_id: str, output: object = None, *, ok: bool = True) -> None:
        """Record the result of a call. An id that did not begin, or has ended, is ignored."""
        call = self._open_calls.pop(call_id, None)
        if call is None:
            return
        recorders = self._recorders
        with ExitStack() as locks:
            # No recorder reads the metrics before its count contains the call.
            for recorder in recorders:
                locks.enter_context(recorder.lock)
            self.metrics._add_call(*call)
            for recorder in recorders:
                recorder.end_call(call_id, output, ok=ok)
        self.metrics._notify()

    def abandon_tool_call(self, call_id: str) -> None:
        """Record that a call will have no result. The call is not counted."""
        if self._open_calls.pop(call_id, None) is not None:
            for recorder in self._recorders:
                recorder.abandon_call(call_id)

    def begin_turn(self, prompt: str = "") -> None:
        """Record a prompt of a person.

        A turn that does not end within `turn_timeout` is reported. A session without turns
        has no such limit.
        """
        for recorder in self._recorders:
            recorder.begin_turn(prompt)

    def end_turn(self) -> None:
        """Record that the agent has done what the prompt requested."""
        for recorder in self._recorders:
            recorder.end_turn()

    def request_stop(self, reason: str = "") -> None:
        """Ask the session to stop at the next step of its agent."""
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
