"""The connection to agents of the OpenAI Agents SDK.

This module wraps `Agent.hooks`, adds an input guardrail to each function tool, and wraps the
other tools that run in this process. It does not change the classes of the SDK.
"""

from __future__ import annotations

import functools
import json
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents import AgentHooks, FunctionTool, ToolGuardrailFunctionOutput, ToolInputGuardrail

from watchkeeper._attach import _local_tools
from watchkeeper._attach._attachment import logger
from watchkeeper._attach._run import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from watchkeeper._attach._attachment import Attachment

__all__ = ["Watcher"]

# The text that the SDK returns to the model if a tool raises an exception.
_TOOL_ERROR = "An error occurred while running the tool"
# The tools that run on the servers of the provider, by the type of their item.
_HOSTED_TOOLS = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_call",
        "web_search_call",
    }
)
_GUARDRAIL_NAME = "watchkeeper"


@dataclass(eq=False)
class _CurrentCall:
    """The tool call that the present task runs."""

    __slots__ = ("id", "run")

    id: str
    run: Run


# Runs that a tool starts inherit this variable, so their parent is known.
_current_call: ContextVar[_CurrentCall | None] = ContextVar("watchkeeper_call", default=None)


class Watcher:
    """Watches the agents of one attachment."""

    def __init__(self, attachment: Attachment, name: str | None = None) -> None:
        self._attachment = attachment
        # The name of the application in the ids of its sessions.
        self._name = name
        # By the ids of the call that started the run and of its usage.
        self._runs: dict[tuple[int, int], Run] = {}
        # The names of the tools whose calls cannot be answered.
        self._reported: set[str] = set()

    def take_over(self, agent: Any) -> None:
        """Watch an agent. If it is watched already, its next runs use this attachment."""
        if isinstance(agent.hooks, _Hooks):
            agent.hooks._watcher._attachment = self._attachment
        self.watch(agent)

    def watch(self, agent: Any) -> None:
        """Watch an agent, and the agents that it can call or hand off to.

        Does nothing for an agent that is watched already.
        """
        if isinstance(agent.hooks, _Hooks):
            return
        agent.hooks = _Hooks(agent.hooks, self)
        self._wrap_get_all_tools(agent)
        self.watch_tools(agent.tools)
        for handoff in agent.handoffs:
            # Other targets are known when the handoff runs.
            reference = getattr(handoff, "_agent_ref", None)
            target = reference() if reference is not None else handoff
            if hasattr(target, "hooks"):
                self.watch(target)

    def watch_tools(self, tools: list[Any]) -> None:
        """Add the guardrail to the tools that lack it, and watch the agents behind them."""
        for tool in tools:
            if not _local_tools.wrap(tool, self.known_run):
                self._report_tool(tool)
            if not isinstance(tool, FunctionTool):
                continue
            guardrails = tool.tool_input_guardrails or []
            if not any(guardrail.name == _GUARDRAIL_NAME for guardrail in guardrails):
                # First, so that calls that other guardrails reject are recorded.
                tool.tool_input_guardrails = [_GUARDRAIL, *guardrails]
            agents = [getattr(tool, "_agent_instance", None)]
            recipients = getattr(tool, "recipients", None)
            if isinstance(recipients, dict):
                agents.extend(recipients.values())
            for agent in agents:
                if agent is not None and hasattr(agent, "hooks"):
                    self.watch(agent)

    def _report_tool(self, tool: Any) -> None:
        """Log once that the calls of a tool cannot be answered."""
        name = str(getattr(tool, "name", None) or type(tool).__name__)
        if self._attachment.act == "nudge" and name not in self._reported:
            self._reported.add(name)
            logger.warning(
                "nudge has no effect on calls of %s: they are recorded, but the SDK offers no way "
                "to answer them",
                name,
            )

    def known_run(self, context: Any) -> Run | None:
        """Return the run of a context, if it has started."""
        parent = _current_call.get()
        key = (id(parent) if parent is not None else 0, id(context.usage))
        return self._runs.get(key)

    def _wrap_get_all_tools(self, agent: Any) -> None:
        """Watch tools that are made for each turn, such as those of MCP servers."""
        get_all_tools: Callable[[Any], Awaitable[list[Any]]] = agent.get_all_tools

        @functools.wraps(get_all_tools)
        async def wrapper(*args: Any, **kwargs: Any) -> list[Any]:
            tools = await get_all_tools(*args, **kwargs)
            try:
                self.watch_tools(tools)
            except Exception:  # noqa: BLE001 - logged
                logger.exception("cannot watch the tools of an agent")
            return tools

        agent.get_all_tools = wrapper

    def run_of(self, context: Any, agent: Any, *, call_id: str | None = None) -> Run:
        """Return the run that a hook belongs to. Starts it if it is new."""
        parent = _current_call.get()
        if parent is not None and parent.id == call_id:
            return parent.run
        key = (id(parent) if parent is not None else 0, id(context.usage))
        run = self._runs.get(key)
        if run is None:
            if parent is not None and not parent.run.is_ended:
                run = parent.run.start_agent(agent.name)
            else:
                run = Run.start(self._attachment, self._name or agent.name, model=_model(agent))
            self._runs[key] = run
            # A run that raises an exception has no last hook.
            weakref.finalize(context.usage, self._drop, key, parent).atexit = False
        return run

    def end(self, context: Any, agent: Any) -> None:
        """Record the end of a run."""
        run = self.run_of(context, agent)
        run.end()
        parent = _current_call.get()
        self._runs.pop((id(parent) if parent is not None else 0, id(context.usage)), None)

    def _drop(self, key: tuple[int, int], _parent: object) -> None:
        run = self._runs.pop(key, None)
        if run is not None:
            run.end("the run ended without a result")


class _Hooks(AgentHooks):
    """Records the events of an agent, and passes them on to the hooks of the program."""

    def __init__(self, inner: Any, watcher: Watcher) -> None:
        self._inner = inner
        self._watcher = watcher

    def __getattr__(self, name: str) -> Any:
        # Only for names that this class lacks.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def on_start(self, context: Any, agent: Any) -> None:
        if self._inner is not None:
            await self._inner.on_start(context, agent)

    async def on_end(self, context: Any, agent: Any, output: Any) -> None:
        with _Guarded():
            self._watcher.end(context, agent)
        if self._inner is not None:
            await self._inner.on_end(context, agent, output)

    async def on_handoff(self, context: Any, agent: Any, source: Any) -> None:
        with _Guarded():
            self._watcher.watch(agent)
            self._watcher.run_of(context, source).handoff(agent.name)
        if self._inner is not None:
            await self._inner.on_handoff(context, agent, source)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        with _Guarded():
            # Tools whose calls cannot be answered, such as a computer.
            call_id = getattr(context, "tool_call_id", None)
            is_function = isinstance(tool, FunctionTool) and call_id is not None
            if not is_function and not _local_tools.is_wrapped(tool):
                run = self._watcher.run_of(context, agent)
                arguments = getattr(context, "tool_arguments", None)
                call_id = call_id or f"{tool.name}-{id(context)}"
                run.before_tool(tool.name, arguments, call_id, can_refuse=False)
        if self._inner is not None:
            await self._inner.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        with _Guarded():
            call_id = getattr(context, "tool_call_id", None)
            run = self._watcher.run_of(context, agent, call_id=call_id)
            # The results of wrapped tools are recorded already.
            ok = not (isinstance(result, str) and result.startswith(_TOOL_ERROR))
            run.after_tool(call_id or f"{tool.name}-{id(context)}", result, ok=ok)
        if self._inner is not None:
            await self._inner.on_tool_end(context, agent, tool, result)

    async def on_llm_start(
        self, context: Any, agent: Any, system_prompt: Any, input_items: Any
    ) -> None:
        run = None
        with _Guarded():
            run = self._watcher.run_of(context, agent)
            if not run.has_prompt:
                run.prompt(_last_prompt(input_items), synthetic=_current_call.get() is not None)
            if run.has_open_calls():
                _record_rejected(run, input_items)
        if run is not None:
            run.before_model()
        if self._inner is not None:
            await self._inner.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        with _Guarded():
            _record_response(self._watcher.run_of(context, agent), _model(agent), response)
        if self._inner is not None:
            await self._inner.on_llm_end(context, agent, response)


class _Guarded:
    """Logs an exception: watching must not break the agent."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        logger.exception("cannot record an event of an agent")
        return True


async def _before_tool(data: Any) -> Any:
    """Record a tool call, and reject it if it must not run."""
    answer = None
    with _Guarded():
        hooks, context = data.agent.hooks, data.context
        # The tool can belong to another agent, too.
        if isinstance(hooks, _Hooks):
            run = hooks._watcher.run_of(context, data.agent)
            call_id = context.tool_call_id
            answer = run.before_tool(context.tool_name, context.tool_arguments, call_id)
            _current_call.set(_CurrentCall(call_id, run))
    if answer is None:
        return _ALLOW
    return ToolGuardrailFunctionOutput.reject_content(answer, output_info=_GUARDRAIL_NAME)


_ALLOW = ToolGuardrailFunctionOutput.allow()
_GUARDRAIL: Any = ToolInputGuardrail(guardrail_function=_before_tool, name=_GUARDRAIL_NAME)


def _record_response(run: Run, model: str | None, response: Any) -> None:
    usage = response.usage
    n_cached = getattr(usage.input_tokens_details, "cached_tokens", None) or 0
    n_written = getattr(usage.input_tokens_details, "cache_write_tokens", None) or 0
    n_reasoning = getattr(usage.output_tokens_details, "reasoning_tokens", None) or 0
    texts: list[str] = []
    thinking, hosted = None, []
    for item in response.output:
        kind = _get(item, "type")
        if kind == "message":
            contents = _get(item, "content") or ()
            texts.extend(_get(content, "text") or "" for content in contents)
        elif kind == "reasoning":
            summaries = _get(item, "summary") or ()
            thinking = "\n".join(_get(summary, "text") or "" for summary in summaries)
        elif kind in _HOSTED_TOOLS:
            hosted.append(item)
    run.after_model(
        model=model,
        text="\n".join(text for text in texts if text),
        thinking=thinking,
        input_tokens=usage.input_tokens - n_cached - n_written,
        output_tokens=usage.output_tokens,
        reasoning_tokens=n_reasoning,
        cache_read_tokens=n_cached,
        cache_write_tokens=n_written,
    )
    for item in hosted:
        fields = item if isinstance(item, dict) else item.model_dump(exclude_none=True)
        run.hosted_tool(
            fields.get("name") or str(fields["type"]).removesuffix("_call"),
            {name: fields[name] for name in fields if name not in {"id", "type", "status"}},
            str(fields.get("id")),
            ok=fields.get("status") not in {"failed", "incomplete"} and not fields.get("error"),
        )


def _record_rejected(run: Run, input_items: Any) -> None:
    """Record the results of calls that never ran, such as those that a guardrail rejected."""
    for item in input_items if isinstance(input_items, list) else ():
        if _get(item, "type") == "function_call_output":
            run.after_tool(str(_get(item, "call_id")), _get(item, "output"), cause="blocked")


def _last_prompt(input_items: Any) -> str:
    if isinstance(input_items, str):
        return input_items
    for item in reversed(input_items):
        if _get(item, "role") != "user":
            continue
        content = _get(item, "content")
        if isinstance(content, str):
            return content
        texts = (_get(part, "text") for part in content or ())
        return "\n".join(text for text in texts if text) or json.dumps(content, default=str)
    return ""


def _model(agent: Any) -> str | None:
    model = agent.model
    model = model if isinstance(model, str) else getattr(model, "model", None)
    return model if isinstance(model, str) else None


def _get(item: Any, name: str) -> Any:
    """Return a field of an item, which is a dictionary or an object."""
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
