"""`attach` to an agency of Agency Swarm, with a server that answers like a model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from fake_model import LIST, FakeModel, Step, call, loop
from frameworks import Files, Watched, check_act, client, load

if TYPE_CHECKING:
    from watchkeeper._attach._decision import Act

agency_swarm = load("agency_swarm", (3, 12))
agents = load("agents")

pytestmark = pytest.mark.filterwarnings("default")
ACTS: list[Act] = ["observe", "nudge", "stop"]
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files() -> Files:
    return Files()


def make_agent(files: Files, script: str = "fake-loop", name: str = "Coder") -> Any:
    names = ("list_files", "read_file", "run_tests", "edit_file")
    tools = [agency_swarm.function_tool(getattr(files, name)) for name in names]
    return agency_swarm.Agent(
        name=name, description=f"{name}.", instructions="", tools=tools, model=script
    )


def make_agency(files: Files, script: str = "fake-loop") -> Any:
    return agency_swarm.Agency(make_agent(files, script), name="Sum")


def respond(agency: Any, model: FakeModel, form: str) -> tuple[Any, list[Any]]:
    """Run an agency. Returns the final output, and the events of a stream."""
    events = []

    async def plain() -> Any:
        return await agency.get_response("List the files.")

    async def stream() -> Any:
        stream = agency.get_response_stream("List the files.")
        async for event in stream:
            events.append(event)  # noqa: PERF401 - keeps the events before an exception
        return stream.final_result

    agents.set_default_openai_client(client(model))
    if form == "sync":
        result = agency.get_response_sync("List the files.")
    else:
        result = asyncio.run(plain() if form == "plain" else stream())
    return result.final_output, events


@pytest.mark.parametrize("form", ["plain", "sync", "stream"])
@pytest.mark.parametrize("act", ACTS)
def test_a_loop_is_found_in_each_form(act: Act, form: str, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agency = make_agency(files)
        attachment = watchkeeper.attach(agency, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped, match="watchkeeper stopped this run"):
                respond(agency, model, form)
        else:
            assert respond(agency, model, form)[0] == "I cannot find the file."
        check_act(act, watched, attachment, files, len(model.requests))


@pytest.mark.parametrize("form", ["plain", "stream"])
@pytest.mark.parametrize("act", ACTS)
def test_honest_work_runs_unchanged(act: Act, form: str, files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agency = make_agency(files, "fake-work")
        attachment = watchkeeper.attach(agency, watched.monitor, act)
        assert respond(agency, model, form)[0] == "The sum is correct now."
        assert files.ran == ["list_files", "read_file", "run_tests", "edit_file", "run_tests"]
        assert (watched.found(), list(attachment.actions)) == (set(), [])


def test_a_stopped_stream_shows_the_text(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agency = make_agency(files)
        watchkeeper.attach(agency, watched.monitor, "stop")
        events = []

        async def stream() -> Any:
            async for event in agency.get_response_stream("List the files."):
                events.append(event)  # noqa: PERF401 - keeps the events before an exception

        agents.set_default_openai_client(client(model))
        with pytest.raises(watchkeeper.RunStopped) as e:
            asyncio.run(stream())
        assert events[-1]["type"] == "error"
        assert events[-1]["content"] == str(e.value)


@pytest.mark.parametrize("form", ["plain", "stream"])
@pytest.mark.parametrize("act", ACTS)
def test_agents_that_get_messages_are_watched(act: Act, form: str, files: Files) -> None:
    message = {"recipient_agent": "Coder", "message": "go", "additional_instructions": ""}
    scripts = {"boss": [call("send_message", **message), Step("The helper has finished.")]}
    with FakeModel(scripts) as model, Watched() as watched:
        boss, coder = make_agent(files, "boss", "Boss"), make_agent(files)
        agency = agency_swarm.Agency(boss, communication_flows=[(boss, coder)], name="Sum")
        attachment = watchkeeper.attach(agency, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                respond(agency, model, form)
            assert model.n_requests("boss") == 1
        else:
            assert respond(agency, model, form)[0] == "The helper has finished."
        check_act(act, watched, attachment, files, model.n_requests("fake-loop"))
        assert {f.agent for f in watched.findings if f.detector == "repeated_call"} == {"Coder-1"}


def test_the_same_message_again_and_again_is_found(files: Files) -> None:
    message = {"recipient_agent": "Coder", "message": "go", "additional_instructions": ""}
    scripts = {"boss": loop(call("send_message", **message))}
    with FakeModel(scripts) as model, Watched() as watched:
        boss, coder = make_agent(files, "boss", "Boss"), make_agent(files, "fake-done")
        agency = agency_swarm.Agency(boss, communication_flows=[(boss, coder)], name="Sum")
        watchkeeper.attach(agency, watched.monitor, "nudge")
        respond(agency, model, "plain")
        assert watched.found()
        assert model.n_requests("fake-done") <= 5


def test_an_agent_that_the_agency_gets_later_is_watched(files: Files) -> None:
    with FakeModel() as model, Watched() as watched:
        agency = make_agency(files, "fake-done")
        attachment = watchkeeper.attach(agency, watched.monitor, "nudge")
        late = agency_swarm.Agency(make_agent(files, name="Late"), name="Other")
        agency.agents["Late"] = late.agents["Late"]
        respond(agency, model, "plain")
        respond(late, model, "plain")
        check_act("nudge", watched, attachment, files, model.n_requests("fake-loop"))


@pytest.mark.parametrize("form", ["get_response", "get_response_stream"])
@pytest.mark.parametrize("act", ACTS)
def test_the_web_server_is_watched(
    act: Act, form: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = load("fastapi.testclient")
    with FakeModel() as model, Watched() as watched:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{model.url}/v1")
        agents.set_default_openai_client(client(model))
        agency = make_agency(files)
        attachment = watchkeeper.attach(agency, watched.monitor, act)
        fastapi = load("agency_swarm.integrations.fastapi")
        helpers = load("agency_swarm.agency.helpers")
        app = fastapi.run_fastapi(
            agencies=helpers.build_fastapi_agencies(agency), app_token_env="", return_app=True
        )
        web = testing.TestClient(app, raise_server_exceptions=False)
        answer = web.post(f"/Sum/{form}", json={"message": "List the files."})
        text = answer.text
        check_act(act, watched, attachment, files, len(model.requests))
        if act == "stop" and form == "get_response_stream":
            assert json.dumps(attachment.actions[0].text)[1:-1] in text
        elif act == "stop":
            assert answer.status_code == 409
            assert answer.json() == {"detail": attachment.actions[0].text}
        else:
            assert "I cannot find the file." in text


# The program that the terminal starts: it sends one message, as a person would.
TERMINAL = """#!{python}
import json, os, urllib.request
config = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
options = config["provider"]["agency-swarm"]["options"]
request = urllib.request.Request(
    f"{{options['baseURL']}}/{{options['agency']}}/get_response_stream",
    data=json.dumps({{"message": "List the files."}}).encode(),
    headers={{"content-type": "application/json"}},
)
with urllib.request.urlopen(request, timeout=60) as response:
    print(response.read().decode())
"""
PROGRAM = """
import json, sys
sys.path.insert(0, {here!r})
from frameworks import Files, Watched
import watchkeeper
from test_agency_swarm import make_agency
files = Files()
with Watched() as watched:
    agency = make_agency(files)
    attachment = watchkeeper.attach(agency, watched.monitor, {act!r})
    agency.terminal_demo(reload={reload!r})
    found = sorted(watched.found())
    actions = [action.action for action in attachment.actions]
    if files.ran:
        result = {{"ran": len(files.ran), "found": found, "actions": actions}}
        print("RESULT", json.dumps(result), flush=True)
"""


@pytest.mark.parametrize("reload", [False, True], ids=["once", "reload"])
@pytest.mark.parametrize("act", ACTS)
def test_the_terminal_is_watched(act: Act, reload: bool, tmp_path: Path) -> None:
    terminal, program = tmp_path / "terminal", tmp_path / "program.py"
    terminal.write_text(TERMINAL.format(python=sys.executable))
    terminal.chmod(0o700)
    program.write_text(PROGRAM.format(here=str(HERE), act=act, reload=reload))
    with FakeModel() as model:
        environment = {
            **os.environ,
            "AGENTSWARM_BIN": str(terminal),
            "OPENAI_BASE_URL": f"{model.url}/v1",
        }
        run = subprocess.run(
            [sys.executable, str(program)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
        result = json.loads(lines[0].removeprefix("RESULT "))
        n_requests = len(model.requests)
    assert "repeated_call" in result["found"]
    n_ran = result["ran"]
    if act == "observe":
        assert (n_ran, n_requests, result["actions"]) == (12, 13, [])
    elif act == "nudge":
        assert n_ran <= 5
        assert (n_requests, set(result["actions"])) == (13, {"nudge"})
    else:
        assert n_ran <= 5
        assert (n_requests, result["actions"]) == (n_ran, ["stop"])
        assert "watchkeeper stopped this run" in run.stdout


def test_conversations_of_several_turns(files: Files) -> None:
    scripts = {"short": loop(LIST, 2)}
    with FakeModel(scripts) as model, Watched() as watched:
        agency = make_agency(files, "short")
        attachment = watchkeeper.attach(agency, watched.monitor, "stop")
        for _ in range(4):
            respond(agency, model, "plain")
        assert (watched.found(), list(attachment.actions)) == (set(), [])
