"""The check of recorded sessions."""

from __future__ import annotations

import os

from watchkeeper._watchkeeper import check_recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable
    from typing import Any, Literal

    from watchkeeper._watchkeeper import Finding

__all__ = ["Report", "check"]


class Report:
    """The result of a check of recorded sessions.

    `findings` are the findings of all sessions, the most severe first. `sessions` has a
    dictionary for each session: its totals of events, calls, tokens and dollars, and its
    findings. `skipped` has a dictionary for each file that was not read to its end, with
    the `file` and the `reason`. `totals` are the totals of all sessions.
    """

    findings: tuple[Finding, ...]
    sessions: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    totals: dict[str, Any]

    def __init__(self, json: dict[str, Any], findings: Iterable[Finding]) -> None:
        self._json = json
        self.findings = tuple(findings)
        self.sessions = json["sessions"]
        self.skipped = json.get("skipped_files", [])
        self.totals = json["totals"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as `watchkeeper check --format json` writes it."""
        return self._json

    def to_dicts(self, table: Literal["findings", "sessions"] = "findings") -> list[dict[str, Any]]:
        """Return the rows of a table, for `pandas.DataFrame` or `polars.DataFrame`.

        Each row has the same keys, with text, numbers or `None`. Times are text in RFC
        3339 and UTC.
        """
        if table == "findings":
            return [
                _finding_row(session, finding)
                for session in self.sessions
                for finding in session["findings"]
            ]
        if table == "sessions":
            return [_session_row(session) for session in self.sessions]
        message = f"unknown table {table!r}; use findings or sessions"
        raise ValueError(message)

    def __repr__(self) -> str:
        return f"<Report, {len(self.findings)} findings in {len(self.sessions)} sessions>"


def check(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    policy: str | os.PathLike[str] | None = None,
    *,
    policy_text: str | None = None,
    source: str | None = None,
    since: float | datetime.datetime | None = None,
    until: float | datetime.datetime | None = None,
    min_severity: Literal["low", "medium", "high"] | None = None,
) -> Report:
    """Check recorded sessions, like the command `watchkeeper check`.

    `paths` are session files and folders; by default, the session folders of all known
    agents on this machine. `policy` and `policy_text` are as for `Monitor`. `source` is the
    kind of all files; by default, each file is recognized from its content. The report has
    the sessions and findings that overlap the period from `since` to `until`, and the
    findings of at least `min_severity`.

    Raises `PolicyError` if the policy cannot be read or is invalid, `FileNotFoundError` if
    none of the paths exists, and `ValueError` if `source` or `min_severity` is unknown.
    """
    if policy is not None and policy_text is not None:
        message = "set either policy or policy_text"
        raise TypeError(message)
    if paths is None:
        selected = []
    elif isinstance(paths, (str, os.PathLike)):
        selected = [os.fspath(paths)]
    else:
        selected = [os.fspath(path) for path in paths]
        if not selected:
            return Report({"sessions": [], "totals": {}}, ())
    json, findings = check_recorded(
        selected,
        policy,
        policy_text,
        source=source,
        since=since,
        until=until,
        min_severity=min_severity,
    )
    return Report(json, findings)


def _finding_row(session: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    first = next((it for it in finding["evidence"] if it["file"] is not None), None)
    return {
        "id": finding["id"],
        "at": finding["at"],
        "ended_at": finding["ended_at"],
        "severity": finding["severity"],
        "status": finding["status"],
        "detector": finding["detector"],
        "kind": finding["kind"],
        "class": finding["class"],
        "count": finding["count"],
        "message": finding["message"],
        "session": finding["session"],
        "agent": finding["agent"],
        "source": session["source"],
        "model": session["model"],
        "cwd": session["cwd"],
        "tokens": finding["tokens"],
        "cost_usd": finding["cost_usd"],
        "file": first and first["file"],
        "line": first and first["line"],
        "fingerprint": finding["fingerprint"],
    }


def _session_row(session: dict[str, Any]) -> dict[str, Any]:
    tokens = session["tokens"]
    severities = [finding["severity"] for finding in session["findings"]]
    return {
        "session": session["session"],
        "source": session["source"],
        "model": session["model"],
        "cwd": session["cwd"],
        "file": next(iter(session["files"]), None),
        "started_at": session["started_at"],
        "ended_at": session["ended_at"],
        "events": session["events"],
        "tool_calls": session["tool_calls"],
        "failed_results": session["failed_results"],
        "model_calls": session["model_calls"],
        "input_tokens": tokens["input"],
        "cache_read_tokens": tokens["cache_read"],
        "cache_write_tokens": tokens["cache_write"],
        "output_tokens": tokens["output"],
        "cost_usd": session["cost_usd"],
        "low": severities.count("low"),
        "medium": severities.count("medium"),
        "high": severities.count("high"),
        "skipped_lines": session["skipped_lines"],
    }
