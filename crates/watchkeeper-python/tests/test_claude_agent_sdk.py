"""`watchkeeper.claude_agent_sdk`, with the command line of the SDK and its types of hooks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from fake_model import FakeModel, Step, call, loop
from frameworks import NUDGING_POLICY, Watched, load

if TYPE_CHECKING:
    from pathlib import Path

    from watchkeeper._attach._decision import Act

sdk = load("claude_agent_sdk")
wk = load("watchkeeper.claude_agent_sdk")

pytestmark = pytest.mark.filterwarnings("default")
ACTS: list[Act] = ["observe", "nudge", "stop"]
MODEL = "claude-sonnet-4-5"
LIST = call("Bash", command="cat missing.txt; echo run >> log")


def run(prompt: str, options: Any, watcher: Any) -> list[Any]:
    async def main() -> list[Any]:
        return [message async for message in watcher.query(prompt=prompt, options=options)]

    return asyncio.run(main())


def make_options(model: FakeModel, tmp_path: Path, **fields: Any) -> Any:
    folder, config = tmp_path / "work", tmp_path / "config"
    folder.mkdir()
    config.mkdir()
    environment = {
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CONFIG_DIR": str(config),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "HOME": str(config),
        "IS_SANDBOX": "1",
    }
    return sdk.ClaudeAgentOptions(
        cwd=folder,
        env=environment,
        model=MODEL,
        permission_mode="bypassPermissions",
        setting_sources=[],
        **fields,
    )


def n_ran(options: Any) -> int:
    log = options.cwd / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("act", ACTS)
def test_a_loop_is_found(act: Act, tmp_path: Path) -> None:
    with FakeModel({MODEL: loop(LIST)}) as model, Watched() as watched:
        options = make_options(model, tmp_path)
        watcher = wk.Watcher(watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                run("List the files.", options, watcher)
        else:
            messages = run("List the files.", options, watcher)
            assert messages[-1].result == "I cannot find the file."
        found = watched.found()
        assert found & {"repeated_call", "repeated_error"}
        actions = [action.action for action in watcher.attachment.actions]
        # The command line may send other requests, for a title.
        n_requests = sum(bool(request.get("tools")) for request in model.requests)
        if act == "observe":
            assert (n_ran(options), n_requests, actions) == (12, 13, [])
        elif act == "nudge":
            assert n_ran(options) <= 5
            assert (n_requests, set(actions)) == (13, {"nudge"})
        else:
            assert n_ran(options) <= 5
            assert (n_requests, actions) == (n_ran(options), ["stop"])


def test_the_policy_chooses_a_weaker_reaction(tmp_path: Path) -> None:
    with FakeModel({MODEL: loop(LIST)}) as model, Watched(NUDGING_POLICY) as watched:
        options = make_options(model, tmp_path)
        watcher = wk.Watcher(watched.monitor, "stop")
        messages = run("List the files.", options, watcher)
        assert messages[-1].result == "I cannot find the file."
        assert n_ran(options) <= 5
        assert {action.action for action in watcher.attachment.actions} == {"nudge"}


@pytest.mark.parametrize("act", ACTS)
def test_honest_work_runs_unchanged(act: Act, tmp_path: Path) -> None:
    steps = [
        call("Bash", command="echo one > sum.txt"),
        call("Bash", command="cat sum.txt"),
        call("Bash", command="echo two > sum.txt"),
        call("Bash", command="cat sum.txt"),
        Step("Done."),
    ]
    with FakeModel({MODEL: steps}) as model, Watched() as watched:
        watcher = wk.Watcher(watched.monitor, act)
        messages = run("Count.", make_options(model, tmp_path), watcher)
        assert messages[-1].result == "Done."
        assert (watched.found(), list(watcher.attachment.actions)) == (set(), [])


def hook_event(name: str, **fields: Any) -> dict[str, Any]:
    return {"hook_event_name": name, "session_id": "s", "cwd": "/srv", **fields}


def test_hooks_of_the_program_come_first(tmp_path: Path) -> None:
    async def own(*_: Any) -> dict[str, Any]:
        return {}

    matcher = sdk.HookMatcher(matcher="Bash", hooks=[own])
    with FakeModel() as model:
        options = make_options(model, tmp_path, hooks={"PreToolUse": [matcher]})
    watched = wk.Watcher().options(options)
    assert watched.hooks["PreToolUse"][0] is matcher
    assert len(watched.hooks["PreToolUse"]) == 2
    assert options.hooks == {"PreToolUse": [matcher]}


def test_sub_agents_are_agents_of_the_session() -> None:
    with Watched() as watched:
        watcher = wk.Watcher(watched.monitor)
        (matcher,) = watcher.hooks()["PreToolUse"]
        (hook,) = matcher.hooks

        async def main() -> None:
            await hook(hook_event("UserPromptSubmit", prompt="go"), None, {})
            agent = {"agent_id": "a1", "agent_type": "helper"}
            await hook(hook_event("SubagentStart", **agent), None, {})
            for i in range(5):
                use = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": f"t{i}"}
                await hook(hook_event("PreToolUse", **use, **agent), None, {})
                response = {"stdout": "a.py", "stderr": ""}
                result = {**use, "tool_response": response}
                await hook(hook_event("PostToolUse", **result, **agent), None, {})
            await hook(hook_event("SubagentStop", **agent), None, {})
            await hook(hook_event("Stop"), None, {})

        asyncio.run(main())
        assert "repeated_call" in watched.found()
        found = {(f.session, f.agent) for f in watched.findings}
        assert found == {("s", "a1")}


def test_an_unknown_hook_input_does_not_break_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    watcher = wk.Watcher()
    (matcher,) = watcher.hooks()["PreToolUse"]
    assert asyncio.run(matcher.hooks[0]({}, None, {})) == {}
    assert "cannot record an event of an agent" in caplog.text
