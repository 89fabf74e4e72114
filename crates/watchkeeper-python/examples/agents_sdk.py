"""Stop an agent of the OpenAI Agents SDK that repeats itself.

With the server of the tests instead of a model:

    python tests/fake_model.py 8123 &
    OPENAI_BASE_URL=http://127.0.0.1:8123/v1 OPENAI_API_KEY=none MODEL=fake-loop \\
        OPENAI_AGENTS_DISABLE_TRACING=1 python examples/agents_sdk.py
"""

import os

from agents import Agent, Runner, function_tool

import watchkeeper


@function_tool
def list_files(folder: str) -> str:
    """List the files of a folder."""
    return f"{folder}/sum.py"


agent = Agent(
    name="Coder",
    instructions="You answer questions about files.",
    tools=[list_files],
    model=os.environ.get("MODEL", "gpt-5"),
)
with watchkeeper.Monitor(on_finding=lambda finding: print(f"found: {finding.message}")) as monitor:
    watchkeeper.attach(agent, monitor, act="stop")
    try:
        result = Runner.run_sync(agent, "Where is the file `total.py`?", max_turns=30)
        print(f"answer: {result.final_output}")
    except watchkeeper.RunStopped as stopped:
        print(f"stopped: {stopped}")
