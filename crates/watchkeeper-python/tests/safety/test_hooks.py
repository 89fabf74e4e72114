import asyncio
import types
from collections.abc import Coroutine
from typing import Any

import pytest

from background import Watch, settle
from watchkeeper import RunStopped
from watchkeeper.safety import CombinedHook, SafeSession, SafeSessionHook

AGENT = types.SimpleNamespace(name="coder")


class FunctionTool:
    """A tool as in the SDK: one class for all tools."""

    def __init__(self, name: str) -> None:
        self.name = name


def context(call_id: str, arguments: str) -> Any:
    return types.SimpleNamespace(tool_call_id=call_id, tool_arguments=arguments)


def run(*coroutines: Coroutine[Any, Any, None]) -> None:
    async def run_all() -> None:
        for coroutine in coroutines:
            await coroutine

    asyncio.run(run_all())


def test_a_call_has_the_name_of_the_tool_and_its_arguments() -> None:
    session = SafeSession()
    hook, tool = SafeSessionHook(session), FunctionTool("read_file")
    call = context("c1", '{"path": "a"}')
    run(hook.on_tool_start(call, AGENT, tool), hook.on_tool_end(call, AGENT, tool, "text"))
    [(name, args, _)] = session.metrics.tool_calls
    assert (name, args) == ("read_file", {"path": "a"})


def test_a_tool_without_a_name_has_that_of_its_class() -> None:
    session = SafeSession()
    hook = SafeSessionHook(session)
    run(hook.on_tool_end(None, None, types.SimpleNamespace(), "text"))
    assert session.metrics.tool_calls[0][:2] == ("SimpleNamespace", {})


def test_five_different_tools_are_no_loop(watch: Watch) -> None:
    monitor, events = watch()
    hook = SafeSessionHook(monitor.session)
    for name in ("read", "write", "search", "run", "plan"):
        tool, call = FunctionTool(name), context(name, "{}")
        run(hook.on_tool_start(call, AGENT, tool), hook.on_tool_end(call, AGENT, tool, "ok"))
    settle(monitor)
    assert events.all == []


def test_equal_calls_with_new_results_are_no_loop(watch: Watch) -> None:
    monitor, events = watch()
    hook, tool = SafeSessionHook(monitor.session), FunctionTool("read")
    for n, word in enumerate(["compile", "link", "test", "package", "sign", "upload", "announce"]):
        call = context(f"c{n}", '{"path": "log"}')
        result = f"the release is at the step that we call {word}, and it goes on"
        run(hook.on_tool_start(call, AGENT, tool), hook.on_tool_end(call, AGENT, tool, result))
    settle(monitor)
    assert events.all == []


def test_handoffs_and_model_calls_are_counted() -> None:
    session = SafeSession()
    hook = SafeSessionHook(session)
    run(hook.on_llm_start(None, AGENT, None, []), hook.on_handoff(None, AGENT, "planner"))
    assert (session.metrics.reasoning_steps, session.metrics.handoff_count) == (1, 1)


def test_a_turn_lasts_until_the_first_agent_ends(watch: Watch) -> None:
    monitor, _ = watch()
    turns: list[str] = []
    session: SafeSession = monitor.session
    session.begin_turn = lambda _prompt="": turns.append("begin")  # type: ignore[assignment, method-assign]
    session.end_turn = lambda: turns.append("end")  # type: ignore[method-assign]
    hook, tool, call = SafeSessionHook(session), FunctionTool("ask"), context("c1", "{}")
    other = types.SimpleNamespace(name="reviewer")
    run(
        hook.on_start(None, AGENT),
        hook.on_tool_start(call, AGENT, tool),
        # The tool runs another agent.
        hook.on_start(None, other),
        hook.on_end(None, other, "fine"),
        hook.on_tool_end(call, AGENT, tool, "fine"),
        hook.on_handoff(None, other, AGENT),
        hook.on_start(None, other),
        hook.on_end(None, other, "done"),
    )
    assert turns == ["begin", "end"]


def test_a_call_whose_run_has_failed_is_forgotten() -> None:
    session = SafeSession()
    hook, tool, call = SafeSessionHook(session), FunctionTool("run"), context("c1", "{}")
    run(hook.on_tool_start(call, AGENT, tool), hook.on_llm_start(None, AGENT, None, []))
    assert session.open_tool_calls == {}
    assert session.metrics.tool_calls == []


def test_a_terminated_session_ends_the_run() -> None:
    session = SafeSession()
    hook = SafeSessionHook(session)
    session.terminate("over the limit")
    with pytest.raises(RunStopped, match="over the limit"):
        run(hook.on_llm_start(None, AGENT, None, []))
    with pytest.raises(RunStopped, match="over the limit"):
        run(hook.on_tool_start(context("c1", "{}"), AGENT, FunctionTool("run")))


def test_combined_hooks_are_called_in_turn() -> None:
    called: list[str] = []

    class Hook:
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_start(self, context: Any, agent: Any) -> None:  # noqa: ARG002
            called.append(self.name)

    session = SafeSession()
    hook = CombinedHook([Hook("first"), SafeSessionHook(session), Hook("second")])
    run(
        hook.on_start(None, AGENT),
        hook.on_llm_start(None, AGENT, None, []),
        hook.on_llm_end(None, AGENT, None),
        hook.on_handoff(None, AGENT, "planner"),
        hook.on_tool_start(None, AGENT, FunctionTool("read")),
        hook.on_tool_end(None, AGENT, FunctionTool("read"), "text"),
        hook.on_end(None, AGENT, "done"),
    )
    assert called == ["first", "second"]
    assert session.metrics.reasoning_steps == 1
    assert session.metrics.total_tool_calls == 1
