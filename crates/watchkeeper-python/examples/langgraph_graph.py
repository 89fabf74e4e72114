"""Stop a graph of LangGraph that repeats itself.

With the server of the tests instead of a model:

    python tests/fake_model.py 8123 &
    OPENAI_BASE_URL=http://127.0.0.1:8123/v1 OPENAI_API_KEY=none MODEL=fake-loop \\
        python examples/langgraph_graph.py
"""

import os

from langchain.chat_models import init_chat_model
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import watchkeeper
from watchkeeper.langchain import WatchkeeperCallbackHandler


def list_files(folder: str) -> str:
    """List the files of a folder."""
    return f"{folder}/sum.py"


model = init_chat_model(os.environ.get("MODEL", "gpt-5"), model_provider="openai")
model = model.bind_tools([list_files])


def call_model(state: MessagesState) -> dict:
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("model", call_model)
builder.add_node("tools", ToolNode([list_files]))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile()

with watchkeeper.Monitor(on_finding=lambda finding: print(f"found: {finding.message}")) as monitor:
    handler = WatchkeeperCallbackHandler(monitor, act="stop")
    question = {"role": "user", "content": "Where is the file `total.py`?"}
    config = {"callbacks": [handler], "recursion_limit": 60}
    try:
        state = graph.invoke({"messages": [question]}, config)
        print(f"answer: {state['messages'][-1].text}")
    except watchkeeper.RunStopped as stopped:
        print(f"stopped: {stopped}")
