"""Answer the repeated calls of an agent of LangChain, so that it tries something else.

With the server of the tests instead of a model:

    python tests/fake_model.py 8123 &
    OPENAI_BASE_URL=http://127.0.0.1:8123/v1 OPENAI_API_KEY=none MODEL=fake-loop \\
        python examples/langchain_agent.py
"""

import os

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model

import watchkeeper
from watchkeeper.langchain import WatchkeeperMiddleware


def list_files(folder: str) -> str:
    """List the files of a folder."""
    print(f"runs: list_files {folder}")
    return f"{folder}/sum.py"


model = init_chat_model(os.environ.get("MODEL", "gpt-5"), model_provider="openai")
with watchkeeper.Monitor(on_finding=lambda finding: print(f"found: {finding.message}")) as monitor:
    middleware = WatchkeeperMiddleware(monitor, act="nudge", name="coder")
    agent = create_agent(model, [list_files], middleware=[middleware])
    question = {"role": "user", "content": "Where is the file `total.py`?"}
    state = agent.invoke({"messages": [question]}, {"recursion_limit": 60})
    print(f"answer: {state['messages'][-1].text}")
