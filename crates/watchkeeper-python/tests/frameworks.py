"""Parts of the tests with agent frameworks."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper

if TYPE_CHECKING:
    from typing_extensions import Self

    from fake_model import FakeModel
    from watchkeeper._attach._decision import Act


def load(name: str, minimum: tuple[int, int] = (3, 10)) -> Any:
    """Import a framework, or skip the tests of the module."""
    if sys.version_info < minimum:
        version = ".".join(map(str, minimum))
        pytest.skip(f"{name} needs Python {version}", allow_module_level=True)
    # The frameworks warn about themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = f"{name} is not installed; see requirements-integrations.txt ({error})"
            pytest.skip(reason, allow_module_level=True)


def client(model: FakeModel) -> Any:
    """Return a client of the model that leaves no connection open."""
    httpx, openai = load("httpx"), load("openai")
    limits = httpx.Limits(max_keepalive_connections=0)
    http_client = httpx.AsyncClient(limits=limits)
    return openai.AsyncOpenAI(base_url=f"{model.url}/v1", http_client=http_client)


class Files:
    """The files that the tools of a test agent work on, and the calls that ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.sum = "return a - b"

    def list_files(self, folder: str) -> str:
        self.ran.append("list_files")
        return f"{folder}/sum.py\n{folder}/test_sum.py"

    def read_file(self, path: str) -> str:
        self.ran.append("read_file")
        return f"{path}: {self.sum}"

    def run_tests(self, target: str) -> str:
        self.ran.append("run_tests")
        return f"{target}: " + ("1 passed" if "+" in self.sum else "1 failed: 2 + 2 is not 0")

    def edit_file(self, path: str, text: str) -> str:
        self.ran.append("edit_file")
        self.sum = text
        return f"wrote {path}"


class Watched:
    """A monitor, and the findings that a test is about."""

    def __init__(self, policy: str | None = None) -> None:
        self.findings: list[watchkeeper.Finding] = []
        self.monitor = watchkeeper.Monitor(policy_text=policy, on_finding=self.findings.append)

    def __enter__(self) -> Self:
        self.monitor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.stop()

    def found(self) -> set[str]:
        """Return the detectors of the findings of at least medium severity."""
        assert self.monitor.flush(10)
        return {f.detector for f in self.findings if f.severity != "low"}

    def reported(self) -> list[str]:
        """Return the texts of the interventions that the sinks got."""
        assert self.monitor.flush(10)
        return [f.message for f in self.findings if f.detector == "watchkeeper-attach"]


# Repeated calls may be answered, also with `act="stop"`.
NUDGING_POLICY = """\
version = 1

[detectors.repeated_call]
kind = "repeat-tool-call"
levels = [{ at = 4, severity = "medium", action = "nudge" }]
"""


def check_act(
    act: Act, watched: Watched, attachment: watchkeeper.Attachment, files: Files, n_requests: int
) -> None:
    """Check a run of 12 identical calls."""
    n_ran = len(files.ran)
    assert "repeated_call" in watched.found()
    if act == "observe":
        assert (n_ran, n_requests, list(attachment.actions)) == (12, 13, [])
        assert not watched.reported()
        return
    assert n_ran <= 5
    assert {action.action for action in attachment.actions} == {act}
    assert watched.reported()[0] == attachment.actions[0].text
    if act == "nudge":
        assert n_requests == 13
        assert len(attachment.actions) == 12 - n_ran
        assert len(watched.reported()) == 1
    else:
        # No request after the result of the last call.
        assert n_requests == n_ran
        assert len(attachment.actions) == 1
