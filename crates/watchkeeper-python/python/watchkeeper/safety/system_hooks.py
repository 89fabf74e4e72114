"""Hooks of the OpenAI Agents SDK that record to a session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from watchkeeper._errors import RunStopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .safe_session import SafeSession

    class _AgentHooks:
        pass

    class _SdkError(Exception):
        pass

else:
    try:
        from agents import AgentHooks as _AgentHooks
        from agents.exceptions import AgentsException as _SdkError
    except ImportError:
        _AgentHooks, _SdkError = object, Exception

__all__ = ["CombinedHook", "SafeSessionHook"]


class _RunStopped(RunStopped, _SdkError):  # noqa: N818
    """The SDK wraps any exception but its own that a hook of a tool raises."""


class SafeSessionHook(_AgentHooks):
    """Records the turns, tool calls, model calls and handoffs of agents to a session.

    Set as `hooks` of each agent of the session. Once a stop of the session is requested,
    the next request to the model or call of a tool raises `RunStopped`, which ends the
    run.
    """

    def __init__(self, session: SafeSession) -> None:
        self.session = session
        self._has_turn = False
        # The agent and the tool of each call that runs.
        self._open: dict[str, tuple[object, object]] = {}

    async def on_start(self, context: Any, agent: Any) -> None:  # noqa: ARG002
        """Begin a turn, unless another agent of the session runs."""
        self._abandon_calls_of(agent)
        if not self._has_turn:
            self._has_turn = True
            self.session.begin_turn()

    async def on_end(self, context: Any, agent: Any, output: Any) -> None:  # noqa: ARG002
        """End the turn, unless the agent was called by a tool."""
        self._abandon_calls_of(agent)
        if self._has_turn and not self._open:
            self._has_turn = False
            self.session.end_turn()

    async def on_llm_start(
        self,
        context: Any,  # noqa: ARG002
        agent: Any,
        system_prompt: str | None,  # noqa: ARG002
        input_items: list[Any],  # noqa: ARG002
    ) -> None:
        """Count a step of reasoning."""
        self._abandon_calls_of(agent)
        self._raise_if_stopped()
        self.session.metrics.increment_reasoning_steps()

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """Do nothing."""

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        """Record a tool call."""
        self._raise_if_stopped()
        call_id = getattr(context, "tool_call_id", None)
        call_id = self.session.begin_tool_call(_name(tool), _arguments(context), call_id)
        self._open[call_id] = (agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        """Record the result of a tool call."""
        call_id = getattr(context, "tool_call_id", None) or self._call_of(agent, tool)
        if call_id not in self._open:
            call_id = self.session.begin_tool_call(_name(tool), _arguments(context), call_id)
        self._open.pop(call_id, None)
        self.session.end_tool_call(call_id, result)

    async def on_handoff(self, context: Any, agent: Any, source: Any) -> None:  # noqa: ARG002
        """Count a handoff from `source` to `agent`."""
        from_agent, to_agent = getattr(source, "name", source), getattr(agent, "name", agent)
        self.session.metrics.record_handoff(str(from_agent), str(to_agent))

    def _raise_if_stopped(self) -> None:
        try:
            self.session.raise_if_stopped()
        except RunStopped as stopped:
            raise _RunStopped(str(stopped), stopped.finding) from None

    def _call_of(self, agent: object, tool: object) -> str | None:
        """Return the oldest open call of a tool, for a context without the id."""
        calls = (call_id for call_id, call in self._open.items() if call == (agent, tool))
        return next(calls, None)

    def _abandon_calls_of(self, agent: object) -> None:
        """Forget the calls of an agent, which does not go on while a call runs.

        Their run has ended by an exception.
        """
        for call_id in [it for it, call in self._open.items() if call[0] is agent]:
            del self._open[call_id]
            self.session.abandon_tool_call(call_id)


class CombinedHook(_AgentHooks):
    """Calls several hooks in turn, because an agent takes one."""

    def __init__(self, hooks: Sequence[Any]) -> None:
        self.hooks = hooks

    async def on_start(self, context: Any, agent: Any) -> None:
        """Call `on_start` of each hook."""
        await self._call("on_start", context, agent)

    async def on_end(self, context: Any, agent: Any, output: Any) -> None:
        """Call `on_end` of each hook."""
        await self._call("on_end", context, agent, output)

    async def on_handoff(self, context: Any, agent: Any, source: Any) -> None:
        """Call `on_handoff` of each hook."""
        await self._call("on_handoff", context, agent, source)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        """Call `on_tool_start` of each hook."""
        await self._call("on_tool_start", context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        """Call `on_tool_end` of each hook."""
        await self._call("on_tool_end", context, agent, tool, result)

    async def on_llm_start(
        self, context: Any, agent: Any, system_prompt: str | None, input_items: list[Any]
    ) -> None:
        """Call `on_llm_start` of each hook."""
        await self._call("on_llm_start", context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """Call `on_llm_end` of each hook."""
        await self._call("on_llm_end", context, agent, response)

    async def _call(self, method: str, *arguments: Any) -> None:
        for hook in self.hooks:
            if hasattr(hook, method):
                await getattr(hook, method)(*arguments)


def _name(tool: Any) -> str:
    """Return the name of a tool; a tool of the SDK is an instance of `FunctionTool`."""
    name = getattr(tool, "name", None)
    return name if isinstance(name, str) else type(tool).__name__


def _arguments(context: Any) -> dict[str, Any]:
    """Return the arguments of the call that runs; none if the SDK does not pass them."""
    text = getattr(context, "tool_arguments", None)
    try:
        arguments = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {"arguments": text}
    return arguments if isinstance(arguments, dict) else {}
