"""`from_env` with an agency of Agency Swarm, and a server that answers like a model."""

import pytest

from background import Events, flush
from fake_model import FakeModel, Step, call
from frameworks import client, load
from watchkeeper.safety import from_env

agency_swarm = load("agency_swarm", (3, 12))
agents = load("agents")

pytestmark = pytest.mark.filterwarnings("default")


def read_file(path: str) -> str:
    """Read a file."""
    return f"text of {path}"


def test_a_loop_of_an_agency_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("USE_BACKGROUND_MONITOR", "true")
    events = Events()
    with FakeModel({"loop": [call("read_file", path="a.txt")] * 12 + [Step("Done.")]}) as model:
        agents.set_default_openai_client(client(model))
        tools = [agents.function_tool(read_file)]
        agent = agency_swarm.Agent(name="coder", instructions="", tools=tools, model="loop")
        agency = agency_swarm.Agency(agent)
        monitor = from_env(agency, on_event=events)
        assert monitor is not None
        try:
            assert agency.get_response_sync("Read the file.").final_output == "Done."
            flush(monitor)
        finally:
            monitor.stop()
    assert events.messages == ["Same tool called 5+ times in a row"]
    assert monitor.session.metrics.total_tool_calls == 12
