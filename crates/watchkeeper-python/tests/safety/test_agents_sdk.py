"""`SafeSessionHook` in the OpenAI Agents SDK, with a server that answers like a model."""

import asyncio
from typing import Any

import pytest

from background import Watch, settle
from fake_model import FakeModel, Step, call
from frameworks import client, load
from watchkeeper import RunStopped
from watchkeeper.safety import CombinedHook, SafeSession, SafeSessionHook, TimeoutConfig

agents = load("agents")

pytestmark = pytest.mark.filterwarnings("default")

READS = [call("read_file", path=f"{n}.txt") for n in range(60)]


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def read_file(path: str) -> str:
    return f"text of {path}"


def run(session: SafeSession, script: str, model: FakeModel, tool: Any = read_file) -> str:
    agents.set_default_openai_client(client(model))
    hooks = CombinedHook([agents.AgentHooks(), SafeSessionHook(session)])
    tools = [agents.function_tool(tool)]
    agent = agents.Agent(name="coder", instructions="", tools=tools, model=script, hooks=hooks)
    result = asyncio.run(agents.Runner.run(agent, "Read the files.", max_turns=100))
    return str(result.final_output)


def test_a_loop_is_found_by_real_names_and_arguments(watch: Watch) -> None:
    script = [call("read_file", path="a.txt")] * 12 + [Step("Done.")]
    monitor, events = watch()
    with FakeModel({"loop": script}) as model:
        assert run(monitor.session, "loop", model) == "Done."
    settle(monitor)
    [event] = events.all
    assert event.message == "Same tool called 5+ times in a row"
    assert event.data["tool"] == "read_file"
    metrics = monitor.session.metrics
    assert {name for name, _, _ in metrics.tool_calls} == {"read_file"}
    assert metrics.tool_calls[0][1] == {"path": "a.txt"}
    assert (metrics.total_tool_calls, metrics.reasoning_steps) == (12, 13)


def test_honest_work_is_no_event(watch: Watch) -> None:
    monitor, events = watch()
    with FakeModel({"work": [*READS, Step("Done.")]}) as model:
        assert run(monitor.session, "work", model) == "Done."
    settle(monitor)
    assert events.all == []
    assert monitor.session.metrics.total_tool_calls == 60


def test_a_session_over_its_limit_makes_no_further_request(watch: Watch) -> None:
    config = TimeoutConfig(max_session_duration=0.3)
    monitor, events = watch(config=config, auto_terminate=True)
    session: SafeSession = monitor.session

    def wait(path: str) -> str:
        events.wait_for(3)
        return path

    script = [call("wait", path=f"{n}.txt") for n in range(20)]
    with FakeModel({"slow": [*script, Step("Done.")]}) as model:
        with pytest.raises(RunStopped, match="Session timeout exceeded"):
            run(session, "slow", model, wait)
        assert len(model.requests) == 1
    assert session.status == "terminated"
