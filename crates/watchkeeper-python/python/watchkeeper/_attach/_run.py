"""The events of one run of an agent, and the decisions about its steps."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from watchkeeper._attach._attachment import Action, logger, new_session_id
from watchkeeper._attach._decision import Result
from watchkeeper._errors import RunStopped
from watchkeeper._monitor import core_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchkeeper._attach._attachment import Attachment
    from watchkeeper._watchkeeper import Finding, Session, ToolCall

__all__ = ["Run"]

F = TypeVar("F", bound="Callable[..., Any]")

# The longest wait for the findings of the recorded events, in seconds. The monitor needs
# less than a millisecond, unless the machine is overloaded. Then the decision is one step late.
_MAX_WAIT = 0.05


def _never_raises(method: F) -> F:
    """Log an exception of a method: watching must not break the agent."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("cannot record an event of an agent")
            return None

    return cast("F", wrapper)


class _SessionState:
    """The state that the runs of one session share."""

    def __init__(self, attachment: Attachment, session: Session) -> None:
        self.attachment = attachment
        self.session = session
        self.id = session.id
        self.core = core_of(attachment.monitor)
        self.decisions = attachment.decisions()
        self.lock = threading.Lock()
        self.n_agents = 0
        self.n_responses = 0
        self.is_ended = False
        # The texts of the interventions that the sinks got.
        self.reported: set[str] = set()
        if not self.decisions.is_observing:
            self.core.watch(self.id)


class _OpenFindings:
    """The open findings of a session, which are read when they are iterated over."""

    def __init__(self, state: _SessionState, timeout: float | None) -> None:
        self._state = state
        self._timeout = timeout

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._state.core.open_findings(self._state.id, self._timeout))


class Run:
    """Records one run of an agent as a session, or as a sub-agent of one.

    No method but `before_model` raises an exception.
    """

    def __init__(self, state: _SessionState, session: Session) -> None:
        self._state = state
        self._session = session
        self._calls: dict[str, ToolCall] = {}
        self._response: str | None = None
        self._has_prompt = False

    @classmethod
    def start(
        cls,
        attachment: Attachment,
        name: str | None,
        *,
        session_id: str | None = None,
        model: str | None = None,
        cwd: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> Run:
        """Record the start of a session."""
        session_id = session_id or new_session_id(name)
        attachment.check_monitor(session_id)
        core = core_of(attachment.monitor)
        session = core.session(session_id, model=model, cwd=cwd, labels=labels)
        return cls(_SessionState(attachment, session), session)

    def start_agent(self, name: str | None, agent_id: str | None = None) -> Run:
        """Record the start of a sub-agent."""
        state = self._state
        # In a forked process, starts the monitor of attachments without one.
        state.attachment.check_monitor(state.id)
        with state.lock:
            state.n_agents += 1
            agent_id = agent_id or f"{name or 'agent'}-{state.n_agents}"
        return Run(state, self._session.agent(agent_id))

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return self._state.id

    @property
    def is_ended(self) -> bool:
        """Whether the session has ended."""
        return self._state.is_ended

    @_never_raises
    def prompt(self, text: object, *, synthetic: bool = False) -> None:
        """Record the prompt of the run. Later prompts are ignored."""
        if not self._has_prompt:
            self._has_prompt = True
            self._session.prompt(text, synthetic=synthetic)

    @property
    def has_prompt(self) -> bool:
        """Whether the prompt is recorded."""
        return self._has_prompt

    def next_turn(self, text: object) -> None:
        """Record the prompt of a further turn of the same session."""
        self._has_prompt = False
        self.prompt(text)

    def before_model(self) -> None:
        """Decide about a model call. Raises `RunStopped` if the run must end.

        Waits until the findings of all recorded events are there, 50 ms at most, unless no
        finding can end the run.
        """
        state = self._state
        if state.decisions.act != "stop":
            return
        try:
            findings = [] if state.is_ended else state.core.open_findings(state.id, _MAX_WAIT)
            with state.lock:
                was_stopped = state.decisions.stopped is not None
                verdict = state.decisions.before_model(findings)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("cannot decide about a model call")
            return
        if verdict.action != "stop":
            return
        if not was_stopped:
            self._report("stop", None, verdict.text, verdict.finding)
        self.end(verdict.text, whole_session=True)
        raise RunStopped(verdict.text, verdict.finding)

    def _new_response_id(self) -> str:
        state = self._state
        with state.lock:
            state.n_responses += 1
            return f"response-{state.n_responses}"

    @_never_raises
    def after_model(
        self,
        *,
        model: str | None = None,
        response: str | None = None,
        text: str = "",
        thinking: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        reasoning_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
    ) -> None:
        """Record a response of the model. `input_tokens` excludes those of the cache.

        `response` is the id of a response of which each part is recorded. Without one, each
        call records another response: not all servers give each response an id of its own.
        """
        if self.is_ended:
            return
        self._response = self._session.model_call(
            model,
            id=response if response is not None else self._new_response_id(),
            input_tokens=max(input_tokens, 0),
            output_tokens=output_tokens,
            reasoning_tokens=reasoning_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
        )
        if thinking is not None:
            self._session.thinking(thinking)
        if text:
            self._session.message(text)

    @_never_raises
    def before_tool(
        self,
        tool: str,
        arguments: object,
        call_id: str | None,
        *,
        wait: bool = False,
        can_refuse: bool = True,
    ) -> str | None:
        """Record a tool call. Returns the answer to a call that must not run.

        With `act="nudge"`, a repeated call waits for the findings of the previous calls, as
        `before_model` does. Frameworks that do not report model calls set `wait`: then each
        call waits. Without `can_refuse`, the call runs
        in any case, and there is no answer.
        """
        if call_id is not None and call_id in self._calls:
            return None
        state = self._state
        if state.is_ended:
            stopped = state.decisions.stopped
            return stopped.text if stopped else None
        call = self._session.tool_call(tool, arguments, call_id, response=self._response)
        self._calls[call.id] = call
        if state.decisions.is_observing or not can_refuse:
            return None
        waits = wait or state.decisions.act == "nudge"
        findings = _OpenFindings(state, _MAX_WAIT if waits else None)
        agent = self._session.agent_id
        with state.lock:
            was_stopped = state.decisions.stopped is not None
            verdict = state.decisions.before_tool(findings, agent, tool, arguments, call.id)
        if verdict.action == "run":
            return None
        del self._calls[call.id]
        call.detach()
        # For detectors, the call is one more repetition of the equal call before.
        result = verdict.result
        self._session.tool_result(call.id, result.output, ok=result.ok, cause="intercepted")
        if verdict.action == "nudge" or not was_stopped:
            self._report(verdict.action, tool, verdict.text, verdict.finding)
        return verdict.text

    @property
    def stopped(self) -> RunStopped | None:
        """The exception that ends the run, if the decision to stop was made."""
        verdict = self._state.decisions.stopped
        if verdict is None:
            return None
        return RunStopped(verdict.text, verdict.finding)

    def has_open_calls(self) -> bool:
        """Return whether there are calls without a result."""
        return bool(self._calls)

    def has_open_call(self, call_id: str) -> bool:
        """Return whether a call has no result."""
        return call_id in self._calls

    @_never_raises
    def after_tool(
        self, call_id: str, output: object, *, ok: bool = True, cause: Any = None
    ) -> None:
        """Record the result of a tool call. Further results are ignored."""
        call = self._calls.pop(call_id, None)
        if call is None or self.is_ended:
            return
        state = self._state
        if not state.decisions.is_observing:
            with state.lock:
                result = Result(output, ok) if cause is None else None
                state.decisions.after_tool(self._session.agent_id, call_id, result)
        if cause is not None:
            call.detach()
            self._session.tool_result(call_id, output, cause=cause)
        elif ok:
            call.succeed(output)
        else:
            call.fail(output)
        if state.decisions.act == "stop":
            # The next model call waits for the findings.
            state.core.handle_soon()

    @_never_raises
    def hosted_tool(self, tool: str, arguments: object, call_id: str, *, ok: bool) -> None:
        """Record a call of a tool that the provider of the model has run."""
        if not self.is_ended:
            call = self._session.tool_call(tool, arguments, call_id, response=self._response)
            if ok:
                call.succeed()
            else:
                call.fail()

    @_never_raises
    def handoff(self, to: str) -> None:
        """Record that another agent continues the run."""
        if not self.is_ended:
            self._session.handoff(to)

    @_never_raises
    def error(self, message: object) -> None:
        """Record an error outside the tools."""
        if not self.is_ended:
            self._session.error(message)

    @_never_raises
    def waiting(self) -> None:
        """Record that the agent waits for a person."""
        if not self.is_ended:
            self._session.waiting()

    @_never_raises
    def turn_end(self) -> None:
        """Record the end of the turn."""
        if not self.is_ended:
            self._session.turn_end()

    @_never_raises
    def end(self, reason: str | None = None, *, whole_session: bool = False) -> None:
        """Record the end of the run. For the main agent, this is the end of the session."""
        state = self._state
        if state.is_ended:
            return
        for call_id in list(self._calls):
            self.after_tool(call_id, None, cause="interrupted")
        if self._session.agent_id is None:
            if reason is None:
                self._session.turn_end()
            self._session.end(reason)
            self._finish()
        else:
            self._session.end()
            if whole_session:
                state.session.end(reason)
                self._finish()

    def _finish(self) -> None:
        self._state.is_ended = True
        self._state.decisions.end()
        self._state.core.forget(self._state.id)

    def _report(
        self,
        action: Literal["nudge", "stop"],
        tool: str | None,
        text: str,
        finding: Finding | None,
    ) -> None:
        state, agent = self._state, self._session.agent_id
        is_new = text not in state.reported
        state.reported.add(text)
        with contextlib.suppress(Exception):
            state.attachment.report(Action(action, state.id, agent, tool, text, finding), is_new)
