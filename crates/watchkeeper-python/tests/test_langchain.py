"""`watchkeeper.langchain` with agents of LangChain and graphs of LangGraph."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from fake_model import LIST, FakeModel, Step, call, loop
from frameworks import NUDGING_POLICY, Files, Watched, check_act, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchkeeper._attach._decision import Act

langchain_agents = load("langchain.agents")
langchain_openai = load("langchain_openai")
tools = load("langchain_core.tools")
graph = load("langgraph.graph")
prebuilt = load("langgraph.prebuilt")
wk = load("watchkeeper.langchain")

pytestmark = pytest.mark.filterwarnings("default")
ACTS: list[Act] = ["observe", "nudge", "stop"]
PROMPT = {"messages": [{"role": "user", "content": "List the files."}]}
LIMIT: dict[str, Any] = {"recursion_limit": 60}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture
def files() -> Files:
    return Files()


def make_model(model: FakeModel, script: str = "fake-loop", **fields: Any) -> Any:
    url = f"{model.url}/v1"
    return langchain_openai.ChatOpenAI(model=script, base_url=url, api_key="none", **fields)


def make_tools(files: Files) -> list[Any]:
    names = ("list_files", "read_file", "run_tests", "edit_file")
    functions = [getattr(files, name) for name in names]
    return [
        tools.StructuredTool.from_function(function, description="A tool.")
        for function in functions
    ]


def make_agent(
    files: Files,
    model: FakeModel,
    middleware: Any,
    script: str = "fake-loop",
    extra: Sequence[Any] = (),
) -> Any:
    return langchain_agents.create_agent(
        make_model(model, script), [*make_tools(files), *extra], middleware=[middleware]
    )


def respond(agent: Any, form: str, config: dict[str, Any] = LIMIT) -> str:
    if form == "invoke":
        state = agent.invoke(PROMPT, config)
    elif form == "ainvoke":
        state = asyncio.run(agent.ainvoke(PROMPT, config))
    else:
        state = list(agent.stream(PROMPT, config, stream_mode="values"))[-1]
    return str(state["messages"][-1].text)


@pytest.mark.parametrize("form", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("act", ACTS)
def test_a_loop_of_an_agent_is_found(act: Act, form: str, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        middleware = wk.WatchkeeperMiddleware(watched.monitor, act)
        agent = make_agent(files, model, middleware)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                respond(agent, form)
        else:
            assert respond(agent, form) == "I cannot find the file."
        check_act(act, watched, middleware.attachment, files, len(model.requests))


def test_the_policy_chooses_a_weaker_reaction(files: Files) -> None:
    with FakeModel() as model, Watched(NUDGING_POLICY) as watched:
        middleware = wk.WatchkeeperMiddleware(watched.monitor, "stop")
        agent = make_agent(files, model, middleware)
        assert respond(agent, "invoke") == "I cannot find the file."
        check_act("nudge", watched, middleware.attachment, files, len(model.requests))


@pytest.mark.parametrize("act", ACTS)
def test_honest_work_of_an_agent_runs_unchanged(act: Act, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        middleware = wk.WatchkeeperMiddleware(watched.monitor, act)
        agent = make_agent(files, model, middleware, "fake-work")
        assert respond(agent, "invoke") == "The sum is correct now."
        assert files.ran == ["list_files", "read_file", "run_tests", "edit_file", "run_tests"]
        assert (watched.found(), list(middleware.attachment.actions)) == (set(), [])


def test_an_agent_that_a_tool_calls_is_a_sub_agent(files: Files) -> None:
    scripts = {"boss": [call("helper", text="go"), Step("The helper has finished.")]}
    with FakeModel(scripts) as model, Watched() as watched:
        middleware = wk.WatchkeeperMiddleware(watched.monitor, "nudge", name="helper")
        inner = make_agent(files, model, middleware)

        def helper(text: str) -> str:
            return respond(inner, "invoke") + text

        tool = tools.StructuredTool.from_function(helper, description="Helps.")
        boss = make_agent(Files(), model, wk.WatchkeeperMiddleware(watched.monitor), "boss", [tool])
        assert respond(boss, "invoke") == "The helper has finished."
        assert "repeated_call" in watched.found()
        assert {f.agent for f in watched.findings if f.detector == "repeated_call"} == {"helper-1"}


def test_a_run_with_an_exception_and_the_use_of_the_model_are_recorded(files: Files) -> None:
    policy = """
        version = 1
        [detectors.tokens]
        kind = "token-burn"
        max_tokens = 3000
        window = "1h"
    """

    def list_files(folder: str) -> str:
        raise FileNotFoundError(folder)

    files.list_files = list_files  # type: ignore[method-assign]
    findings: list[watchkeeper.Finding] = []
    with FakeModel() as model:
        monitor = watchkeeper.Monitor(policy_text=policy, on_finding=findings.append)
        with monitor:
            middleware = wk.WatchkeeperMiddleware(monitor)
            agent = make_agent(files, model, middleware)
            with pytest.raises(FileNotFoundError):
                respond(agent, "invoke")
            agent = make_agent(Files(), model, middleware)
            respond(agent, "invoke")
            assert monitor.flush(10)
    assert "tokens" in {f.detector for f in findings}


def make_graph(files: Files, model: FakeModel, script: str = "fake-loop", **wrappers: Any) -> Any:
    nodes = make_tools(files)
    bound = make_model(model, script).bind_tools(nodes)

    # Before Python 3.11, LangGraph passes callbacks on in async methods only by `config`.
    # It passes `config` only to a parameter without an annotation or with its own type.
    def call_model(state, config):  # type: ignore[no-untyped-def]
        return {"messages": [bound.invoke(state["messages"], config)]}

    builder = graph.StateGraph(graph.MessagesState)
    builder.add_node("model", call_model)
    builder.add_node("tools", prebuilt.ToolNode(nodes, **wrappers))
    builder.add_edge(graph.START, "model")
    builder.add_conditional_edges("model", prebuilt.tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


@pytest.mark.parametrize("form", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("act", ["observe", "stop"])
def test_a_loop_of_a_graph_is_found(act: Act, form: str, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        handler = wk.WatchkeeperCallbackHandler(watched.monitor, act)
        config = {**LIMIT, "callbacks": [handler]}
        compiled = make_graph(files, model)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                respond(compiled, form, config)
        else:
            assert respond(compiled, form, config) == "I cannot find the file."
        check_act(act, watched, handler.attachment, files, len(model.requests))


def test_honest_work_of_a_graph_gives_no_finding(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        handler = wk.WatchkeeperCallbackHandler(watched.monitor, "stop")
        config = {**LIMIT, "callbacks": [handler]}
        assert respond(make_graph(files, model, "fake-work"), "invoke", config) == (
            "The sum is correct now."
        )
        assert (watched.found(), list(handler.attachment.actions)) == (set(), [])


@pytest.mark.parametrize("form", ["invoke", "ainvoke", "stream"])
def test_the_node_of_the_tools_answers_calls(
    form: str, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeModel() as model, Watched() as watched:
        handler = wk.WatchkeeperCallbackHandler(watched.monitor, "nudge")
        wrappers = {
            "wrap_tool_call": handler.wrap_tool_call,
            "awrap_tool_call": handler.awrap_tool_call,
        }
        compiled = make_graph(files, model, **wrappers)
        config = {**LIMIT, "callbacks": [handler]}
        assert respond(compiled, form, config) == "I cannot find the file."
        check_act("nudge", watched, handler.attachment, files, len(model.requests))
    assert "nudge has no effect" not in caplog.text


def test_a_callback_handler_alone_reports_that_it_cannot_nudge(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeModel() as model, Watched() as watched:
        handler = wk.WatchkeeperCallbackHandler(watched.monitor, "nudge")
        config = {**LIMIT, "callbacks": [handler]}
        assert respond(make_graph(files, model), "invoke", config) == "I cannot find the file."
        assert (len(files.ran), list(handler.attachment.actions)) == (12, [])
        assert "repeated_call" in watched.found()
    assert caplog.text.count("nudge has no effect on calls of list_files") == 1


def test_runs_without_an_end_are_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchkeeper._attach._runs._MAX_RUNS", 1)
    with FakeModel({"short": loop(LIST, 1)}) as model, Watched() as watched:
        middleware = wk.WatchkeeperMiddleware(watched.monitor)
        for _ in range(3):
            respond(make_agent(files, model, middleware, "short"), "invoke")
        assert len(middleware._runs._runs) <= 1
