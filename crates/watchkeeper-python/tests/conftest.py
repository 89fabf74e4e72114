import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# A finding for each third failing call in a row, without sinks or routes.
POLICY = """\
version = 1

[detectors.errors]
kind = "error-loop"
of = "failure"
levels = [{ at = 3, severity = "medium" }, { at = 5, severity = "high" }]
"""


@pytest.fixture
def policy() -> str:
    return POLICY


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in another interpreter, which must end within 20 seconds."""

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", program, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path
        )

    return run
