"""`attach` without a framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

import watchkeeper


def test_other_objects_are_rejected():
    with pytest.raises(TypeError, match="cannot attach to dict; use an Agency of Agency Swarm"):
        watchkeeper.attach({})


@pytest.mark.parametrize("fields", [{"act": "halt"}, {"severity": "urgent"}])
def test_unknown_words_are_rejected(fields):
    with pytest.raises(ValueError, match="unknown"):
        watchkeeper.attach(None, **fields)


def test_no_framework_is_imported():
    script = """
import sys
import watchkeeper
watchkeeper.attach, watchkeeper.Monitor
names = {"agents", "agency_swarm", "langchain", "langchain_core", "langgraph", "claude_agent_sdk"}
assert not names & set(sys.modules), names & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
