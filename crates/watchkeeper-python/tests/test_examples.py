"""The examples, with a server that answers like a model."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fake_model import FakeModel

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("example", "framework", "last"),
    [
        ("agency", "agency_swarm", "answer: I cannot find the file."),
        ("agents_sdk", "agents", "stopped: watchkeeper stopped this run: "),
        ("claude_agent", "claude_agent_sdk", "stopped: watchkeeper stopped this run: "),
        ("langchain_agent", "langchain_openai", "answer: I cannot find the file."),
        ("langgraph_graph", "langchain_openai", "stopped: watchkeeper stopped this run: "),
    ],
)
def test_the_example_acts_on_a_loop(
    example: str, framework: str, last: str, tmp_path: Path
) -> None:
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed; see requirements-integrations.txt")
    with FakeModel() as model:
        environment = {
            **os.environ,
            "ANTHROPIC_API_KEY": "none",
            "ANTHROPIC_BASE_URL": model.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CONFIG_DIR": str(tmp_path),
            "DISABLE_TELEMETRY": "1",
            "HOME": str(tmp_path),
            "IS_SANDBOX": "1",
            "LANGSMITH_TRACING": "false",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "MODEL": "fake-bash" if example == "claude_agent" else "fake-loop",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{model.url}/v1",
        }
        run = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{example}.py")],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        n_requests = len(model.requests)
    # Two threads print, so that lines can be joined.
    assert "found: " in run.stdout
    assert last in run.stdout
    if last.startswith("stopped"):
        assert n_requests <= 6
    else:
        assert run.stdout.count("runs: ") <= 5
