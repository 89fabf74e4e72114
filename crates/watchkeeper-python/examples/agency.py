"""Answer the repeated calls of an agency of Agency Swarm, so that its agents try something else.

With the server of the tests instead of a model:

    python tests/fake_model.py 8123 &
    OPENAI_BASE_URL=http://127.0.0.1:8123/v1 OPENAI_API_KEY=none MODEL=fake-loop \\
        OPENAI_AGENTS_DISABLE_TRACING=1 python examples/agency.py

`agency.terminal_demo()` and `agency.run_fastapi()` are watched in the same way.
"""

import os

from agency_swarm import Agency, Agent, function_tool

import watchkeeper


@function_tool
def list_files(folder: str) -> str:
    """List the files of a folder."""
    print(f"runs: list_files {folder}")
    return f"{folder}/sum.py"


coder = Agent(
    name="Coder",
    instructions="You answer questions about files.",
    tools=[list_files],
    model=os.environ.get("MODEL", "gpt-5"),
)
agency = Agency(coder, name="Files")
with watchkeeper.Monitor(on_finding=lambda finding: print(f"found: {finding.message}")) as monitor:
    watchkeeper.attach(agency, monitor, act="nudge", on_action=lambda action: print(action.text))
    response = agency.get_response_sync("Where is the file `total.py`?")
    print(f"answer: {response.final_output}")
