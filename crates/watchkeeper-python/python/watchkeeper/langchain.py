"""Middleware for agents of LangChain, and a callback handler for graphs of LangGraph.

>>> from langchain.agents import create_agent
>>> from watchkeeper.langchain import WatchkeeperMiddleware
>>> agent = create_agent(model, tools, middleware=[WatchkeeperMiddleware(act="nudge")])
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

from langchain.agents.middleware.types import AgentMiddleware, PrivateStateAttr
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolMessage
from typing_extensions import NotRequired, TypedDict

from watchkeeper._attach._attachment import Attachment, logger, new_session_id
from watchkeeper._attach._run import Run
from watchkeeper._attach._runs import Runs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from watchkeeper._attach._attachment import Action
    from watchkeeper._attach._decision import Act, Severity
    from watchkeeper._monitor import Monitor

__all__ = ["WatchkeeperCallbackHandler", "WatchkeeperMiddleware"]

# The run whose tool is being called: agents that the tool calls are its sub-agents.
_parent: ContextVar[Run | None] = ContextVar("watchkeeper_parent", default=None)


class WatchkeeperState(TypedDict):
    """The part of an agent's state that holds the id of the run."""

    watchkeeper_run: NotRequired[Annotated[str, PrivateStateAttr]]


class WatchkeeperMiddleware(AgentMiddleware):
    """Records the runs of an agent, and acts on the findings of the monitor.

    Each invocation of the agent is a session. An agent that a tool calls is a sub-agent if
    it has this middleware, too. `name` is the name of the agent in the ids of sessions.
    `monitor`, `act`, `severity` and `on_action` are those of `watchkeeper.attach`: with
    `nudge`, the model gets a text instead of the result of a repeated call, and with
    `stop`, `invoke` and the other methods raise `RunStopped` before the next model call.
    """

    state_schema: Any = WatchkeeperState

    def __init__(
        self,
        monitor: Monitor | None = None,
        act: Act = "observe",
        *,
        name: str = "langchain",
        severity: Severity = "medium",
        on_action: Callable[[Action], object] | None = None,
    ) -> None:
        super().__init__()
        self.attachment = Attachment(monitor, act, severity=severity, on_action=on_action)
        self._agent_name = name
        self._runs: Runs[str] = Runs()

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Record the start of a run."""
        run_id = new_session_id(self._agent_name)
        parent = _parent.get()
        if parent is not None and not parent.is_ended:
            run = parent.start_agent(self._agent_name)
        else:
            run = Run.start(self.attachment, self._agent_name, session_id=run_id)
        run.prompt(_last_prompt(state["messages"]), synthetic=parent is not None)
        self._runs.add(run_id, run)
        return {"watchkeeper_run": run_id}

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the start of a run."""
        return self.before_agent(state, runtime)

    def after_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Record the end of a run."""
        run = self._runs.remove(state.get("watchkeeper_run"))
        if run is not None:
            run.end()
        return None

    async def aafter_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the end of a run."""
        return self.after_agent(state, runtime)

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Record a model call. Raises `RunStopped` if the run must end."""
        run = self._run(request.state)
        run.before_model()
        with _recording_error(run):
            response = handler(request)
        _record_response(run, response)
        return response

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Record a model call. Raises `RunStopped` if the run must end."""
        run = self._run(request.state)
        run.before_model()
        with _recording_error(run):
            response = await handler(request)
        _record_response(run, response)
        return response

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Record a tool call, and answer it if it must not run."""
        run, call = self._run(request.state), request.tool_call
        answer = run.before_tool(call["name"], call["args"], call["id"])
        if answer is not None:
            return _refusal(call, answer)
        with _running(run, call["id"]):
            result = handler(request)
        _record_result(run, call["id"], result)
        return result

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Record a tool call, and answer it if it must not run."""
        run, call = self._run(request.state), request.tool_call
        answer = run.before_tool(call["name"], call["args"], call["id"])
        if answer is not None:
            return _refusal(call, answer)
        with _running(run, call["id"]):
            result = await handler(request)
        _record_result(run, call["id"], result)
        return result

    def _run(self, state: Any) -> Run:
        """Return the run. Starts a new one after a restart of the process."""
        run_id = state.get("watchkeeper_run") or new_session_id(self._agent_name)
        run = self._runs.get(run_id)
        if run is None:
            run = Run.start(self.attachment, self._agent_name, session_id=run_id)
            self._runs.add(run_id, run)
        return run


class WatchkeeperCallbackHandler(BaseCallbackHandler):
    """Records the runs of a graph, and stops them on findings of the monitor.

    >>> handler = WatchkeeperCallbackHandler(act="stop")
    >>> graph.invoke(state, {"callbacks": [handler]})

    Each invocation is a session. Graphs that a tool calls are sub-agents. With `stop`,
    `invoke` and the other methods raise `RunStopped` before the next model call.

    A callback cannot answer a tool call. For `nudge`, the node of the tools must call
    `wrap_tool_call` of the handler, which must be the handler of the invocation, too:

    >>> handler = WatchkeeperCallbackHandler(act="nudge")
    >>> node = ToolNode(
    ...     tools,
    ...     wrap_tool_call=handler.wrap_tool_call,
    ...     awrap_tool_call=handler.awrap_tool_call,
    ... )
    """

    raise_error = True  # For `RunStopped`.
    run_inline = True

    def __init__(
        self,
        monitor: Monitor | None = None,
        act: Act = "observe",
        *,
        severity: Severity = "medium",
        on_action: Callable[[Action], object] | None = None,
    ) -> None:
        super().__init__()
        self.attachment = Attachment(monitor, act, severity=severity, on_action=on_action)
        # The runs of chains and models, by the id that the framework gives to each step.
        self._runs: Runs[UUID] = Runs()
        # The runs and call ids of tools.
        self._calls: dict[UUID, tuple[Run, str]] = {}
        self._has_reported = False

    def wrap_tool_call(self, request: Any, execute: Callable[[Any], Any]) -> Any:
        """Run a tool call, or answer it if it must not run. For `ToolNode`."""
        answer = self._answer(request)
        return execute(request) if answer is None else _refusal(request.tool_call, answer)

    async def awrap_tool_call(self, request: Any, execute: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run a tool call, or answer it if it must not run. For `ToolNode`."""
        answer = self._answer(request)
        return await execute(request) if answer is None else _refusal(request.tool_call, answer)

    def _answer(self, request: Any) -> str | None:
        callbacks = request.runtime.config.get("callbacks")
        run = self._runs.get(getattr(callbacks, "parent_run_id", None))
        if run is None:
            return None
        call = request.tool_call
        return run.before_tool(call["name"], call["args"], call["id"])

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the start of a run, unless the chain is a part of one."""
        name = kwargs.get("name") or (serialized or {}).get("name")
        if parent_run_id is None:
            run = Run.start(self.attachment, name)
        elif parent_run_id in self._calls:
            run = self._calls[parent_run_id][0].start_agent(name)
        else:
            parent = self._runs.get(parent_run_id)
            if parent is not None:
                self._runs.add(run_id, parent)
            return
        self._runs.add(run_id, run, is_owner=True)
        messages = inputs.get("messages") if isinstance(inputs, dict) else None
        if messages:
            run.prompt(_last_prompt(messages), synthetic=parent_run_id is not None)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        """Record the end of a run."""
        self._runs.end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record the end of a run."""
        self._runs.end(run_id, f"{type(error).__name__}: {error}")

    def on_chat_model_start(
        self,
        serialized: Any,  # noqa: ARG002
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        """Decide about a model call. Raises `RunStopped` if the run must end."""
        run = self._runs.get(parent_run_id)
        if run is None:
            return
        if not run.has_prompt and messages:
            run.prompt(_last_prompt(messages[0]))
        run.before_model()
        self._runs.add(run_id, run)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """Record a response of the model."""
        run = self._runs.remove(run_id)
        for generations in response.generations if run is not None else ():
            for generation in generations:
                message = getattr(generation, "message", None)
                if message is not None and run is not None:
                    _record_message(run, message)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record an error of the model."""
        run = self._runs.remove(run_id)
        if run is not None:
            run.error(error)

    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: Any = None,
        **kwargs: Any,
    ) -> None:
        """Record a tool call."""
        run = self._runs.get(parent_run_id)
        if run is None:
            return
        call_id = kwargs.get("tool_call_id") or str(run_id)
        self._calls[run_id] = (run, call_id)
        # A call that `wrap_tool_call` has recorded.
        if run.has_open_call(call_id):
            return
        arguments = inputs if inputs is not None else input_str
        name = serialized.get("name") or "tool"
        run.before_tool(name, arguments, call_id, can_refuse=False)
        if self.attachment.act == "nudge" and not self._has_reported:
            self._has_reported = True
            logger.warning(
                "nudge has no effect on calls of %s: pass wrap_tool_call and awrap_tool_call of "
                "the handler to ToolNode, or use WatchkeeperMiddleware",
                name,
            )

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """Record the result of a tool call."""
        if run_id in self._calls:
            _record_result(*self._calls.pop(run_id), output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record that a tool raised an exception."""
        if run_id in self._calls:
            _record_exception(*self._calls.pop(run_id), error)


def _refusal(call: Any, answer: str) -> ToolMessage:
    return ToolMessage(content=answer, tool_call_id=call["id"], name=call["name"], status="error")


def _record_response(run: Run, response: Any) -> None:
    response = getattr(response, "model_response", response)
    for message in getattr(response, "result", [response]):
        _record_message(run, message)


def _record_message(run: Run, message: Any) -> None:
    usage = getattr(message, "usage_metadata", None) or {}
    inputs = usage.get("input_token_details") or {}
    outputs = usage.get("output_token_details") or {}
    n_read, n_written = inputs.get("cache_read") or 0, inputs.get("cache_creation") or 0
    metadata = getattr(message, "response_metadata", None) or {}
    run.after_model(
        model=metadata.get("model_name") or metadata.get("model"),
        response=getattr(message, "id", None),
        text=_text(message),
        input_tokens=usage.get("input_tokens", 0) - n_read - n_written,
        output_tokens=usage.get("output_tokens", 0),
        reasoning_tokens=outputs.get("reasoning") or 0,
        cache_read_tokens=n_read,
        cache_write_tokens=n_written,
    )


def _record_result(run: Run, call_id: str, result: Any) -> None:
    if isinstance(result, ToolMessage):
        run.after_tool(call_id, result.content, ok=result.status != "error")
    else:
        run.after_tool(call_id, result)


@contextmanager
def _recording_error(run: Run) -> Iterator[None]:
    """Record the exception of a model call."""
    try:
        yield
    except Exception as error:
        run.error(error)
        raise


@contextmanager
def _running(run: Run, call_id: str) -> Iterator[None]:
    """Make `run` the parent of the runs that a tool starts, and record its exception."""
    token = _parent.set(run)
    try:
        yield
    except BaseException as error:
        _record_exception(run, call_id, error)
        raise
    finally:
        _parent.reset(token)


def _record_exception(run: Run, call_id: str, error: BaseException) -> None:
    """Record the exception of a tool. Only some of them are failures."""
    # An interrupt of LangGraph: the call runs again after the answer of a person.
    if type(error).__name__ in {"GraphInterrupt", "NodeInterrupt"}:
        run.after_tool(call_id, None, cause="interrupted")
        run.waiting()
    elif isinstance(error, Exception):
        run.after_tool(call_id, f"{type(error).__name__}: {error}", ok=False)
    else:
        run.after_tool(call_id, None, cause="interrupted")


def _last_prompt(messages: Any) -> str:
    for message in reversed(messages):
        kind = getattr(message, "type", None)
        if kind in {"human", "user"}:
            return _text(message)
        if isinstance(message, dict) and message.get("role") == "user":
            return str(message.get("content"))
        if isinstance(message, tuple) and message[:1] in {("user",), ("human",)}:
            return str(message[1])
    return ""


def _text(message: Any) -> str:
    text = getattr(message, "text", "")
    return str(text() if callable(text) and not isinstance(text, str) else text)
