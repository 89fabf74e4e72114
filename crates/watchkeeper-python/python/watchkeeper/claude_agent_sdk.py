"""Hooks for agents of the Claude Agent SDK.

>>> from watchkeeper.claude_agent_sdk import Watcher
>>> watcher = Watcher(act="stop")
>>> async for message in watcher.query(prompt="Fix the test.", options=options):
...     print(message)

With a `ClaudeSDKClient`, use `watcher.options(options)`, and `watcher.raise_if_stopped()`
after the messages of a response.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import claude_agent_sdk
from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, HookMatcher, ResultMessage

from watchkeeper._attach._attachment import Attachment, logger
from watchkeeper._attach._run import Run
from watchkeeper._attach._runs import Runs
from watchkeeper._errors import RunStopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from watchkeeper._attach._attachment import Action
    from watchkeeper._attach._decision import Act, Severity
    from watchkeeper._monitor import Monitor

__all__ = ["Watcher"]

_EVENTS = (
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "SubagentStart",
    "SubagentStop",
    "Stop",
)


class Watcher:
    """Records the sessions of Claude agents, and acts on the findings of the monitor.

    `monitor`, `act`, `severity` and `on_action` are those of `watchkeeper.attach`: with
    `nudge`, a repeated call is denied and the model gets the reason. With `stop`, the
    agent ends before the next model call, and `query` raises `RunStopped` after the last
    message.
    """

    def __init__(
        self,
        monitor: Monitor | None = None,
        act: Act = "observe",
        *,
        severity: Severity = "medium",
        on_action: Callable[[Action], object] | None = None,
    ) -> None:
        self.attachment = Attachment(monitor, act, severity=severity, on_action=on_action)
        # By the id of the session and of the sub-agent.
        self._runs: Runs[tuple[str, str | None]] = Runs()
        self._stopped: dict[str, RunStopped] = {}

    def hooks(self, existing: Mapping[Any, list[Any]] | None = None) -> dict[Any, list[Any]]:
        """Return the value of `ClaudeAgentOptions.hooks`, with the `existing` hooks first."""
        hooks = {event: list(matchers) for event, matchers in (existing or {}).items()}
        for event in _EVENTS:
            hooks.setdefault(event, []).append(HookMatcher(hooks=[self._on_hook]))
        return hooks

    def options(self, options: Any = None) -> Any:
        """Return a copy of `ClaudeAgentOptions` with the hooks."""
        options = options or ClaudeAgentOptions()
        return dataclasses.replace(options, hooks=self.hooks(options.hooks))

    async def query(self, *, prompt: Any, options: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Run `claude_agent_sdk.query` with the hooks, and record the responses of the model.

        Raises `RunStopped` after the last message if the run was stopped.
        """
        session = None
        options = self.options(options)
        try:
            async for message in claude_agent_sdk.query(prompt=prompt, options=options, **kwargs):
                session = getattr(message, "session_id", None) or session
                self.record(message)
                yield message
        finally:
            run = self._runs.get((session, None)) if session is not None else None
            if run is not None:
                run.end()
        self.raise_if_stopped(session)

    def record(self, message: Any) -> None:
        """Record a message of the SDK: the hooks do not report the use of the model."""
        try:
            if isinstance(message, AssistantMessage) and message.session_id is not None:
                self._record_response(message, self._run({"session_id": message.session_id}))
            elif isinstance(message, ResultMessage) and message.is_error:
                self._run({"session_id": message.session_id}).error(message.result)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("cannot record a message of an agent")

    def raise_if_stopped(self, session: str | None = None) -> None:
        """Raise `RunStopped` once if the session, or any session, was stopped."""
        for stopped in list(self._stopped) if session is None else [session]:
            exception = self._stopped.pop(stopped, None)
            if exception is not None:
                raise exception

    async def _on_hook(self, event: Any, _tool_use_id: str | None, _context: Any) -> Any:
        try:
            return self._answer(event)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("cannot record an event of an agent")
            return {}

    def _answer(self, event: Any) -> dict[str, Any]:
        run = self._run(event)
        name = event["hook_event_name"]
        if name == "UserPromptSubmit":
            run.next_turn(event["prompt"])
        elif name == "PreToolUse":
            arguments, call_id = event["tool_input"], event["tool_use_id"]
            text = run.before_tool(event["tool_name"], arguments, call_id, wait=True)
            if text is not None:
                return self._refuse(event, run, text)
        elif name in {"PostToolUse", "PostToolUseFailure"}:
            ok = name == "PostToolUse"
            output = _output(event["tool_response"] if ok else event["error"])
            cause = "interrupted" if event.get("is_interrupt") else None
            run.after_tool(event["tool_use_id"], output, ok=ok, cause=cause)
            try:
                # The model call is next.
                run.before_model()
            except RunStopped as stopped:
                return self._stop(event, stopped)
        elif name == "SubagentStop":
            run.end()
            self._runs.remove((event["session_id"], event["agent_id"]))
        elif name == "Stop":
            run.turn_end()
        return {}

    def _refuse(self, event: Any, run: Run, text: str) -> dict[str, Any]:
        # `continue_: False` alone lets the call run.
        denied = {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": text,
        }
        stopped = run.stopped
        stop = {} if stopped is None else self._stop(event, stopped)
        return {**stop, "hookSpecificOutput": denied}

    def _stop(self, event: Any, stopped: RunStopped) -> dict[str, Any]:
        self._stopped[event["session_id"]] = stopped
        return {"continue_": False, "stopReason": str(stopped)}

    def _run(self, event: Any) -> Run:
        """Return the run of a hook. Starts it if it is new."""
        session, agent = event["session_id"], event.get("agent_id")
        run = self._runs.get((session, agent))
        if run is not None and not run.is_ended:
            return run
        if agent is not None:
            main = self._run({"session_id": session, "cwd": event.get("cwd")})
            run = main.start_agent(event.get("agent_type"), agent_id=agent)
        else:
            name = "claude"
            run = Run.start(self.attachment, name, session_id=session, cwd=event.get("cwd"))
        self._runs.add((session, agent), run, is_owner=True)
        return run

    def _record_response(self, message: Any, run: Run) -> None:
        if message.parent_tool_use_id is not None:
            return
        usage = message.usage or {}
        texts = [getattr(block, "text", None) for block in message.content]
        thoughts = [getattr(block, "thinking", None) for block in message.content]
        thinking = "\n".join(thought for thought in thoughts if thought)
        # The SDK sends a message for each block of a response, with the same id.
        run.after_model(
            model=message.model,
            response=message.message_id,
            text="\n".join(text for text in texts if text),
            thinking=thinking or None,
            input_tokens=usage.get("input_tokens") or 0,
            output_tokens=usage.get("output_tokens") or 0,
            cache_read_tokens=usage.get("cache_read_input_tokens") or 0,
            cache_write_tokens=usage.get("cache_creation_input_tokens") or 0,
        )


def _output(response: Any) -> str:
    """Return the text of a tool's response."""
    if isinstance(response, str):
        return response
    if isinstance(response, dict) and isinstance(response.get("stdout"), str):
        return "\n".join(text for text in (response["stdout"], response.get("stderr")) if text)
    return json.dumps(response, default=str)
