import json
import subprocess
import sys
from pathlib import Path

import pytest

import watchkeeper
from test_check import write_session
from watchkeeper.__main__ import main


def test_the_commands_are_printed() -> None:
    command = [sys.executable, "-W", "error", "-m", "watchkeeper"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"watchkeeper {watchkeeper.__version__}\n")
    assert "check" in done.stdout
    assert "demo" in done.stdout


def test_recorded_sessions_are_checked(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(tmp_path / "bad.jsonl", 6)
    file = tmp_path / "policy.toml"
    file.write_text(policy)
    assert main(["check", str(tmp_path / "bad.jsonl"), "--policy", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("HIGH   bad: ")
    assert lines[-1] == "1 findings in 1 sessions"
    assert main(["check", str(tmp_path / "bad.jsonl"), "--policy", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["totals"]["sessions"] == 1
    (tmp_path / "empty").mkdir()
    assert main(["check", str(tmp_path / "empty")]) == 2
    assert "no session" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "missing.jsonl")]) == 2
    assert "missing.jsonl" in capsys.readouterr().err


def test_the_kind_of_all_files_can_be_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(tmp_path / "good.jsonl", 1)
    path = str(tmp_path / "good.jsonl")
    assert main(["check", path, "--source", "ndjson"]) == 0
    assert main(["check", path, "--source", "codex"]) == 2
    assert main(["check", path, "--source", "pigeon"]) == 2
    assert "error: unknown source kind `pigeon`; known kinds: " in capsys.readouterr().err
