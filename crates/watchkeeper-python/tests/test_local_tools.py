"""Tools of the OpenAI Agents SDK without a guardrail: shells, custom tools and editors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from frameworks import Watched, check_act, load

agents = load("agents")
responses = load("openai.types.responses")
items = load("agents.items")

POLICY = """\
version = 1

[detectors.repeated_call]
kind = "repeat-tool-call"
"""

if TYPE_CHECKING:
    from watchkeeper._attach._decision import Act

# Makes the call of a response by its number.
Call = Callable[[int], Any]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")


class Model(agents.Model):  # type: ignore[name-defined,misc]
    """Repeats a call 12 times, and finishes."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.inputs: list[Any] = []

    async def get_response(self, *_: Any, **arguments: Any) -> Any:
        self.inputs.append(arguments["input"])
        n = len(self.inputs)
        usage = agents.Usage(requests=1, input_tokens=100, output_tokens=5, total_tokens=105)
        if n <= 12:
            output = self.call(n)
        else:
            text = responses.ResponseOutputText(text="Done.", type="output_text", annotations=[])
            output = responses.ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        return items.ModelResponse(output=[output], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def local_shell(ran: list[Any]) -> tuple[Any, Call]:
    def execute(request: Any) -> str:
        ran.append(request.data.action.command)
        return "src/sum.py and src/test_sum.py"

    def call(n: int) -> Any:
        output_item = load("openai.types.responses.response_output_item")
        action = output_item.LocalShellCallAction(command=["ls", "src"], env={}, type="exec")
        return output_item.LocalShellCall(
            id=f"i{n}",
            call_id=f"c{n}",
            action=action,
            status="completed",
            type="local_shell_call",
        )

    return agents.LocalShellTool(executor=execute), call


def shell(ran: list[Any]) -> tuple[Any, Call]:
    async def execute(request: Any) -> Any:
        ran.append(request.data.action.commands)
        output = agents.ShellCommandOutput(stdout="src/sum.py and src/test_sum.py")
        return agents.ShellResult(output=[output])

    def call(n: int) -> Any:
        action = {"commands": ["ls src"]}
        fields = {"id": f"i{n}", "call_id": f"c{n}", "status": "completed"}
        return {"type": "shell_call", "action": action, **fields}

    return agents.ShellTool(executor=execute), call


def custom(ran: list[Any]) -> tuple[Any, Call]:
    async def invoke(_context: Any, text: str) -> str:
        ran.append(text)
        return "src/sum.py and src/test_sum.py"

    def call(n: int) -> Any:
        return responses.ResponseCustomToolCall(
            call_id=f"c{n}", input="list src", name="files", type="custom_tool_call"
        )

    return agents.CustomTool(name="files", description="", on_invoke_tool=invoke), call


def editor(ran: list[Any]) -> tuple[Any, Call]:
    class Editor:
        def create_file(self, operation: Any) -> Any:
            ran.append(operation.path)
            return agents.ApplyPatchResult(status="failed", output="the file exists already")

        update_file = delete_file = create_file

    def call(n: int) -> Any:
        operation = {"type": "create_file", "path": "a.py", "diff": "+one"}
        fields = {"id": f"i{n}", "call_id": f"c{n}", "status": "completed"}
        return {"type": "apply_patch_call", "operation": operation, **fields}

    return agents.ApplyPatchTool(editor=Editor()), call


@pytest.mark.parametrize("act", ["observe", "nudge", "stop"])
@pytest.mark.parametrize("make", [local_shell, shell, custom, editor])
def test_a_repeated_call_is_answered(
    make: Callable[[list[Any]], tuple[Any, Call]], act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    files: Any = SimpleNamespace(ran=[])
    tool, call = make(files.ran)
    model = Model(call)
    agent = agents.Agent(name="Coder", tools=[tool], model=model)
    with Watched(POLICY) as watched:
        watchkeeper.attach(agent, watched.monitor, act)
        # The tools are wrapped once, and the agent uses the latest attachment.
        attachment = watchkeeper.attach(agent, watched.monitor, act)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped):
                asyncio.run(agents.Runner.run(agent, "go", max_turns=40))
        else:
            result = asyncio.run(agents.Runner.run(agent, "go", max_turns=40))
            assert result.final_output == "Done."
        check_act(act, watched, attachment, files, len(model.inputs))
    if act == "nudge":
        assert "watchkeeper did not run this call" in str(model.inputs[-1])
    assert "nudge has no effect" not in caplog.text


def test_calls_with_other_commands_are_no_repetition() -> None:
    ran: list[Any] = []
    tool, call = shell(ran)

    def other(n: int) -> Any:
        return {**call(n), "action": {"commands": [f"cat {n}.py"]}}

    agent = agents.Agent(name="Coder", tools=[tool], model=Model(other))
    with Watched() as watched:
        watchkeeper.attach(agent, watched.monitor, "nudge")
        asyncio.run(agents.Runner.run(agent, "go", max_turns=40))
        assert "repeated_call" not in watched.found()
    assert len(ran) == 12


def test_a_tool_whose_calls_cannot_be_answered_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "watchkeeper.attach")
    tools = [agents.WebSearchTool(), agents.WebSearchTool()]
    acts: list[Act] = ["observe", "nudge", "stop"]
    for act in acts:
        watchkeeper.attach(agents.Agent(name=act, tools=tools), act=act)
    assert caplog.text.count("nudge has no effect on calls of web_search") == 1
