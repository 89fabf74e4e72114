"""The check of recorded sessions."""

from __future__ import annotations

import logging
import os

from watchkeeper._arguments import PATH, TEXT, require
from watchkeeper._watchkeeper import check_recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable
    from typing import Any, Literal

    from watchkeeper._watchkeeper import Finding

__all__ = ["Report", "check"]

_logger = logging.getLogger("watchkeeper.check")


class Report:
    """The result of a check of recorded sessions.

    `findings` are the findings of all sessions, the most severe first. `sessions` has a
    dictionary for each session: its totals of events, calls, tokens and dollars, and its
    findings. `skipped` has a dictionary for each file that was not read to its end, and for the
    first eight skipped lines of each session: the `file`, the `line`, which is `None` for a
    file, and the `reason`. `check` logs the files and the number of lines. `totals` are the
    totals of all sessions.
    """

    findings: tuple[Finding, ...]
    sessions: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    totals: dict[str, Any]

    def __init__(self, json: dict[str, Any], findings: Iterable[Finding]) -> None:
        self._json = json
        self.findings = tuple(findings)
        self.sessions = json["sessions"]
        files, names = json.get("skipped_files", []), ("file", "line", "reason")
        self.skipped = [{name: file.get(name) for name in names} for file in files]
        for part in (*files, *self.sessions):
            lines = part.get("first_skipped_lines", [])
            self.skipped.extend({name: line[name] for name in names} for line in lines)
        self.totals = json["totals"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as `watchkeeper check --format json` writes it.

        The dictionary shares its content with `sessions`, `skipped` and `totals`.
        """
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
        n_files, n_lines = len(self._skipped_files()), self.totals["skipped_lines"]
        skipped = f", {n_files} files not read to their end" if n_files else ""
        skipped += f", {n_lines} lines skipped" if n_lines else ""
        return f"<Report, {len(self.findings)} findings in {len(self.sessions)} sessions{skipped}>"

    def _skipped_files(self) -> list[dict[str, Any]]:
        return [it for it in self.skipped if it["line"] is None]


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
    require(PATH, policy=policy)
    require(TEXT, policy_text=policy_text, source=source, min_severity=min_severity)
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    json, findings = check_recorded(
        None if paths is None else [os.fspath(path) for path in paths],
        policy,
        policy_text,
        source=source,
        since=since,
        until=until,
        min_severity=min_severity,
    )
    report = Report(json, findings)
    files = report._skipped_files()
    if files:
        _logger.warning(
            "%s files were not read to their end, the first is %r: %s; see `Report.skipped`",
            len(files),
            files[0]["file"],
            files[0]["reason"],
        )
    lines = report.skipped[len(files) :]
    if lines:
        _logger.warning(
            "%s lines were skipped, one of them is line %s of %r: %s; see `Report.skipped`",
            report.totals["skipped_lines"],
            lines[0]["line"],
            lines[0]["file"],
            lines[0]["reason"],
        )
    return report


_FINDING_COLUMNS = (
    "id",
    "at",
    "ended_at",
    "severity",
    "status",
    "detector",
    "kind",
    "class",
    "count",
    "message",
    "session",
    "agent",
    "tokens",
    "cost_usd",
    "fingerprint",
)
_AGENT_COLUMNS = ("source", "model", "cwd")
_SESSION_COLUMNS = (
    "session",
    *_AGENT_COLUMNS,
    "started_at",
    "ended_at",
    "events",
    "tool_calls",
    "failed_results",
    "model_calls",
    "cost_usd",
    "skipped_lines",
)
_TOKEN_COLUMNS = ("input", "cache_read", "cache_write", "output")
_SEVERITIES = ("low", "medium", "high")


def _finding_row(session: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    in_files = (it for it in finding["evidence"] if it["file"] is not None)
    location: dict[str, Any] = next(in_files, {})
    return {
        **{name: finding[name] for name in _FINDING_COLUMNS},
        **{name: session[name] for name in _AGENT_COLUMNS},
        "file": location.get("file"),
        "line": location.get("line"),
    }


def _session_row(session: dict[str, Any]) -> dict[str, Any]:
    severities = [finding["severity"] for finding in session["findings"]]
    return {
        **{name: session[name] for name in _SESSION_COLUMNS},
        **{f"{name}_tokens": session["tokens"][name] for name in _TOKEN_COLUMNS},
        **{severity: severities.count(severity) for severity in _SEVERITIES},
        "file": next(iter(session["files"]), None),
    }
