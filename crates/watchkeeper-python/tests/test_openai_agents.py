"""`attach` to agents of the OpenAI Agents SDK, with a server that answers like a model."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from fake_model import LIST, FakeModel, Step, call, loop
from frameworks import NUDGING_POLICY, Files, Watched, check_act, client, load

if TYPE_CHECKING:
    from watchkeeper._attach._decision import Act

agents = load("agents")

pytestmark = pytest.mark.filterwarnings("default")
ACTS: list[Act] = ["observe", "nudge", "stop"]


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture
def files() -> Files:
    return Files()


def make_agent(files: Files, script: str = "fake-loop", name: str = "Coder", **fields: Any) -> Any:
    names = ("list_files", "read_file", "run_tests", "edit_file")
    tools = [agents.function_tool(getattr(files, name)) for name in names]
    tools = [*tools, *fields.pop("tools", ())]
    return agents.Agent(name=name, instructions="", tools=tools, model=script, **fields)


def run(
    agent: Any,
    model: FakeModel,
    *,
    stream: bool = False,
    prompt: str = "List the files.",
    max_turns: int = 40,
) -> Any:
    agents.set_default_openai_client(client(model))

    async def main() -> Any:
        if not stream:
            return await agents.Runner.run(agent, prompt, max_turns=max_turns)
        result = agents.Runner.run_streamed(agent, prompt, max_turns=max_turns)
        async for _ in result.stream_events():
            pass
        return result

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("act", ACTS)
def test_a_loop_is_found_in_each_form(act: Act, stream: bool, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        attachment = watchkeeper.attach(agent, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped, match="watchkeeper stopped this run") as e:
                run(agent, model, stream=stream)
            assert e.value.finding is not None
            assert e.value.finding.detector == "repeated_call"
        else:
            result = run(agent, model, stream=stream)
            assert result.final_output == "I cannot find the file."
        check_act(act, watched, attachment, files, len(model.requests))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_responses_without_an_id_of_their_own_are_told_apart(stream: bool, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        # In a stream, the SDK gives all responses of this model the same id.
        agent.model = agents.OpenAIChatCompletionsModel("fake-loop", client(model))
        watchkeeper.attach(agent, watched.monitor, "stop")
        with pytest.raises(watchkeeper.RunStopped):
            run(agent, model, stream=stream)


def test_the_latest_attachment_of_an_agent_is_used(files: Files) -> None:
    agent = make_agent(files)
    with Watched() as first:
        watchkeeper.attach(agent, first.monitor)
    with FakeModel() as model, Watched() as watched:
        attachment = watchkeeper.attach(agent, watched.monitor, "stop")
        with pytest.raises(watchkeeper.RunStopped):
            run(agent, model)
        assert [action.action for action in attachment.actions] == ["stop"]


def test_the_policy_chooses_a_weaker_reaction(files: Files) -> None:
    with FakeModel() as model, Watched(NUDGING_POLICY) as watched:
        agent = make_agent(files)
        attachment = watchkeeper.attach(agent, watched.monitor, "stop")
        assert run(agent, model).final_output == "I cannot find the file."
        check_act("nudge", watched, attachment, files, len(model.requests))


@pytest.mark.parametrize("act", ACTS)
def test_honest_work_runs_unchanged(act: Act, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files, "fake-work")
        attachment = watchkeeper.attach(agent, watched.monitor, act)
        assert run(agent, model).final_output == "The sum is correct now."
        assert files.ran == ["list_files", "read_file", "run_tests", "edit_file", "run_tests"]
        assert (watched.found(), list(attachment.actions)) == (set(), [])


@pytest.mark.parametrize("act", ACTS)
def test_agents_as_tools_are_watched(act: Act, files: Files) -> None:
    scripts = {"boss": [call("helper", input="go"), Step("The helper has finished.")]}
    with FakeModel(scripts) as model, Watched() as watched:
        tool = make_agent(files).as_tool("helper", "Helps.", max_turns=40)
        boss = make_agent(files, "boss", "Boss", tools=[tool])
        attachment = watchkeeper.attach(boss, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                run(boss, model)
            assert model.n_requests("boss") == 1
        else:
            assert run(boss, model).final_output == "The helper has finished."
        check_act(act, watched, attachment, files, model.n_requests("fake-loop"))
        assert {f.agent for f in watched.findings if f.detector == "repeated_call"} == {"Coder-1"}


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "made later"])
@pytest.mark.parametrize("act", ACTS)
def test_agents_after_a_handoff_are_watched(act: Act, is_known: bool, files: Files) -> None:
    # The handoff is the first of the calls.
    scripts = {"desk": [call("transfer_to_coder")], "fake-loop": loop(LIST, 13)}
    with FakeModel(scripts) as model, Watched() as watched:
        made = []

        def make(*_: Any) -> Any:
            made.append(make_agent(files))
            return made[0]

        handoff = agents.Handoff(
            tool_name="transfer_to_coder",
            tool_description="",
            input_json_schema={"type": "object", "properties": {}},
            on_invoke_handoff=lambda *_: asyncio.sleep(0, make()),
            agent_name="Coder",
            strict_json_schema=False,
        )
        known = agents.handoff(make(), tool_name_override="transfer_to_coder")
        desk = make_agent(files, "desk", "Desk", handoffs=[known if is_known else handoff])
        attachment = watchkeeper.attach(desk, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                run(desk, model)
        else:
            run(desk, model)
        check_act(act, watched, attachment, files, model.n_requests("fake-loop"))


def test_a_tool_that_is_added_later_is_watched(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        tools, agent.tools = agent.tools, []
        attachment = watchkeeper.attach(agent, watched.monitor, "nudge")
        agent.tools = tools
        run(agent, model)
        check_act("nudge", watched, attachment, files, len(model.requests))


def test_a_clone_is_watched(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        attachment = watchkeeper.attach(agent, watched.monitor, "nudge")
        run(agent.clone(name="Clone"), model)
        check_act("nudge", watched, attachment, files, len(model.requests))


def test_hooks_and_guardrails_of_the_program_still_run(files: Files) -> None:
    events: list[str] = []

    class Hooks(agents.AgentHooks):  # type: ignore[misc, name-defined]
        extra = "kept"

        async def on_start(self, *_: Any) -> None:
            events.append("start")

        async def on_tool_start(self, *_: Any) -> None:
            events.append("tool_start")

        async def on_tool_end(self, *_: Any) -> None:
            events.append("tool_end")

        async def on_llm_start(self, *_: Any) -> None:
            events.append("llm_start")

        async def on_llm_end(self, *_: Any) -> None:
            events.append("llm_end")

        async def on_end(self, *_: Any) -> None:
            events.append("end")

    @agents.tool_input_guardrail  # type: ignore[untyped-decorator]
    def guardrail(_: Any) -> Any:
        events.append("guardrail")
        return agents.ToolGuardrailFunctionOutput.allow()

    with FakeModel({"short": loop(LIST, 1)}) as model, Watched() as watched:
        agent = make_agent(files, "short", hooks=Hooks())
        agent.tools[0].tool_input_guardrails = [guardrail]
        watchkeeper.attach(agent, watched.monitor)
        watchkeeper.attach(agent, watched.monitor)
        run(agent, model)
        assert agent.hooks.extra == "kept"
    assert events == [
        "start",
        "llm_start",
        "llm_end",
        "guardrail",
        "tool_start",
        "tool_end",
        "llm_start",
        "llm_end",
        "end",
    ]


def test_calls_that_another_guardrail_rejects_are_recorded(files: Files) -> None:
    @agents.tool_input_guardrail  # type: ignore[untyped-decorator]
    def reject(_: Any) -> Any:
        return agents.ToolGuardrailFunctionOutput.reject_content("not in this folder")

    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        agent.tools[0].tool_input_guardrails = [reject]
        watchkeeper.attach(agent, watched.monitor)
        run(agent, model)
        assert "denied_calls" in watched.found()
        assert files.ran == []


def test_failures_of_tools_are_recorded(files: Files) -> None:
    def list_files(folder: str) -> str:
        files.ran.append(folder)
        raise FileNotFoundError(folder)

    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        agent.tools[0] = agents.function_tool(list_files)
        attachment = watchkeeper.attach(agent, watched.monitor, "nudge")
        run(agent, model)
        assert "repeated_error" in watched.found()
        assert len(files.ran) <= 5
        finding = attachment.actions[0].finding
        assert finding is not None
        assert finding.detector == "repeated_error"


def test_each_run_is_a_session(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor)

        agents.set_default_openai_client(client(model))

        async def main() -> Any:
            runs = [agents.Runner.run(agent, "go", max_turns=40) for _ in range(2)]
            await asyncio.gather(*runs)
            await agents.Runner.run(agent, "go", max_turns=40)

        asyncio.run(main())
        watched.found()
        sessions = {f.session for f in watched.findings if f.detector == "repeated_call"}
        assert len(sessions) == 3


def test_a_run_without_a_result_ends_its_session(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor)
        for _ in range(2):
            with pytest.raises(agents.MaxTurnsExceeded):
                run(agent, model, max_turns=6)
        gc.collect()
        watched.found()
        resolved = [f for f in watched.findings if f.status == "resolved"]
        assert any("the session ended" in f.message for f in resolved)


def test_an_agent_that_is_not_attached_is_not_watched(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        attached, other = make_agent(files), make_agent(files)
        other.tools = attached.tools
        watchkeeper.attach(attached, watched.monitor, "stop")
        run(other, model)
        assert watched.found() == set()
        assert len(files.ran) == 12


def test_on_action_is_called_and_its_exceptions_are_logged(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    def on_action(action: watchkeeper.Action) -> None:
        raise ValueError(action.action)

    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor, "stop", on_action=on_action)
        with pytest.raises(watchkeeper.RunStopped):
            run(agent, model)
    assert "on_action raised an exception" in caplog.text
    assert "ValueError: stop" in caplog.text


def test_a_stopped_monitor_does_not_break_the_agent(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor, "stop")
        watched.monitor.stop()
        assert run(agent, model).final_output == "I cannot find the file."


def test_nothing_is_printed_without_handlers_of_logging(
    files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor, "stop")
        with pytest.raises(watchkeeper.RunStopped):
            run(agent, model)
        watched.found()
    assert capfd.readouterr().err == ""


def test_severity_sets_the_lowest_level_of_an_intervention(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agent = make_agent(files)
        watchkeeper.attach(agent, watched.monitor, "stop", severity="high")
        with pytest.raises(watchkeeper.RunStopped) as e:
            run(agent, model)
        assert e.value.finding is not None
        assert (e.value.finding.severity, len(files.ran)) == ("high", 8)
