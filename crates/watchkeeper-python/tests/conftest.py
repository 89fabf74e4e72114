import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from background import Watch

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
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.stop()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in another interpreter, which must end within 30 seconds."""

    def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **variables},
        )

    return run
