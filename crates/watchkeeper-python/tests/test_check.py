import json
import os
import sys
from pathlib import Path

import pytest

import watchkeeper


def write_session(path: Path, n_calls: int) -> None:
    def line(second: int, event: str, **fields: object) -> str:
        at = f"2025-06-01T12:00:{second:02}Z"
        return json.dumps({"at": at, "session": path.stem, "event": event, **fields})

    lines = [line(0, "session_start", cwd="/srv/shop", model="gpt-5")]
    for n in range(n_calls):
        arguments = {"command": "make"}
        lines.append(line(2 * n, "tool_call", id=f"c{n}", tool="Bash", arguments=arguments))
        lines.append(line(2 * n + 1, "tool_result", id=f"c{n}", ok=False, output="no rule"))
    path.write_text("\n".join(lines) + "\n")


def test_a_folder_is_checked(tmp_path: Path, policy: str) -> None:
    write_session(tmp_path / "good.jsonl", 1)
    write_session(tmp_path / "bad.jsonl", 6)
    report = watchkeeper.check(tmp_path, policy_text=policy)
    assert [finding.session for finding in report.findings] == ["bad"]
    assert [it["session"] for it in report.sessions] == ["bad", "good"]
    assert report.totals["tool_calls"] == 7
    assert report.skipped == []
    assert report.to_dict()["totals"] == report.totals
    assert repr(report) == "<Report, 1 findings in 2 sessions>"


def test_the_tables_have_one_type_in_each_column(tmp_path: Path, policy: str) -> None:
    write_session(tmp_path / "a.jsonl", 6)
    report = watchkeeper.check([tmp_path / "a.jsonl"], policy_text=policy)
    (finding,) = report.to_dicts()
    assert finding["severity"] == "high"
    assert finding["at"].startswith("2025-06-01T12:00:")
    assert finding["file"].endswith("a.jsonl")
    (session,) = report.to_dicts("sessions")
    assert (session["cwd"], session["failed_results"], session["high"]) == ("/srv/shop", 6, 1)
    for row in (finding, session):
        assert all(value is None or isinstance(value, (str, int, float)) for value in row.values())
    with pytest.raises(ValueError, match="unknown table"):
        report.to_dicts("other")  # type: ignore[arg-type]


def test_the_report_can_be_limited(tmp_path: Path, policy: str) -> None:
    write_session(tmp_path / "a.jsonl", 3)
    path = tmp_path / "a.jsonl"
    assert len(watchkeeper.check(path, policy_text=policy).findings) == 1
    assert not watchkeeper.check(path, policy_text=policy, min_severity="high").findings
    assert not watchkeeper.check(path, policy_text=policy, since=1.8e9).sessions


def test_no_path_is_a_report_without_sessions(policy: str) -> None:
    report = watchkeeper.check([], policy_text=policy)
    assert (report.findings, report.sessions, report.skipped) == ((), [], [])
    assert report.totals["tool_calls"] == 0


def test_files_that_are_not_read_are_in_the_report(
    tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_session(tmp_path / "a.jsonl", 3)
    missing = tmp_path / "missing.jsonl"
    report = watchkeeper.check([tmp_path / "a.jsonl", missing], policy_text=policy)
    assert [(it["file"], it["reason"]) for it in report.skipped] == [
        (str(missing), "does not exist")
    ]
    assert repr(report) == "<Report, 1 findings in 1 sessions, 1 files not read to their end>"
    assert "1 files were not read to their end, the first is" in caplog.text
    assert "missing.jsonl': does not exist" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        watchkeeper.check(missing, policy_text=policy)


def test_lines_that_are_not_read_are_in_the_report(
    tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ndjson"
    write_session(path, 3)
    lines = path.read_text().splitlines()
    lines[1:1] = ["{", '{"at": "2025-06-01T12:00:00Z", "session": "a"}']
    path.write_text("\n".join(lines) + "\n")
    other = tmp_path / "b.ndjson"
    other.write_text('{"session": "b", "event": "prompt", "text": "p"}\n')
    report = watchkeeper.check([path, other], policy_text=policy, source="ndjson")
    assert [(it["file"], it["line"]) for it in report.skipped] == [
        (str(other), None),
        (str(other), 1),
        (str(path), 2),
        (str(path), 3),
    ]
    assert [it["reason"] for it in report.skipped[1::2]] == [
        "no `at` that is an RFC 3339 time",
        "no `event`",
    ]
    assert repr(report) == (
        "<Report, 1 findings in 1 sessions, 1 files not read to their end, 3 lines skipped>"
    )
    assert "3 lines were skipped, one of them is line 1 of" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_files_that_could_be_read_forever_are_skipped(tmp_path: Path, policy: str) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    report = watchkeeper.check([pipe, "/dev/zero"], policy_text=policy)
    reasons = {it["file"]: it["reason"] for it in report.skipped}
    assert "no program writes to this pipe" in reasons[str(pipe)]
    assert "it is a device" in reasons["/dev/zero"]
    for path, reason in ((pipe, "it is a named pipe"), ("/dev/zero", "it is a device")):
        with pytest.raises(watchkeeper.PolicyError, match=reason):
            watchkeeper.check(tmp_path, path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")
def test_the_files_of_the_kernel_are_skipped(policy: str) -> None:
    report = watchkeeper.check("/proc", policy_text=policy)
    assert [it["reason"] for it in report.skipped] == [
        "cannot read the folder: it belongs to the kernel"
    ]


def test_invalid_options_are_errors(tmp_path: Path) -> None:
    with pytest.raises(watchkeeper.PolicyError) as caught:
        watchkeeper.check(tmp_path, policy_text="version = 7")
    assert caught.value.diagnostics[0].line == 1
    with pytest.raises(ValueError, match="unknown source kind"):
        watchkeeper.check(tmp_path, source="pigeon")
    with pytest.raises(ValueError, match="unknown severity"):
        watchkeeper.check(tmp_path, min_severity="fatal")  # type: ignore[arg-type]


def test_a_policy_with_a_secret_needs_no_secret(tmp_path: Path, policy: str) -> None:
    write_session(tmp_path / "a.jsonl", 3)
    text = policy + '\n[sinks.desk]\nkind = "webhook"\nurl = { secret = "desk" }\n'
    text += '[secrets]\ndesk = { env = "WATCHKEEPER_NO_SUCH_VARIABLE" }\n'
    assert watchkeeper.check(tmp_path, policy_text=text).findings
