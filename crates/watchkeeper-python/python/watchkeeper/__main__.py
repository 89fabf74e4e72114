"""The commands of the package: `python -m watchkeeper`."""

# ruff: noqa: T201 - the commands print

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# The exit codes of `check`: 2 also if a path was not read, or no session.
_FINDINGS = 1
_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code."""
    from watchkeeper import __version__

    parser = argparse.ArgumentParser(
        prog="python -m watchkeeper",
        description="Watches LLM agents in Python programs, and checks recorded sessions.",
    )
    parser.add_argument("--version", action="version", version=f"watchkeeper {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    check = commands.add_parser("check", help="check recorded sessions")
    check.add_argument("paths", nargs="*", metavar="PATH", help="session files and folders")
    check.add_argument("--policy", help="a policy file, or the name of a built-in policy")
    check.add_argument("--source", metavar="KIND", help="the kind of all files, such as ndjson")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    commands.add_parser("demo", help="show a session over its limit, and a loop")
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options)
    if options.command == "demo":
        from watchkeeper import demo

        return demo.main()
    print(f"watchkeeper {__version__}\n")
    parser.print_help()
    return 0


def _check(options: argparse.Namespace) -> int:
    import watchkeeper

    try:
        report = watchkeeper.check(options.paths or None, options.policy, source=options.source)
    except (watchkeeper.PolicyError, OSError, ValueError) as error:
        print(f"error: {str(error).removeprefix('error: ')}", file=sys.stderr)
        return _ERROR
    data = report.to_dict()
    if options.json:
        print(json.dumps(data))
    else:
        for finding in report.findings:
            line = f"{finding.severity.upper():6} {finding.session}: {finding.message}"
            print(_printable(line))
        print(f"{len(report.findings)} findings in {len(report.sessions)} sessions")
    notices = data.get("notices", [])
    for notice in notices:
        place = f"{notice['file']}: " if notice["file"] is not None else ""
        print(_printable(f"{notice['level']}: {place}{notice['text']}"), file=sys.stderr)
    if any(notice["level"] == "error" for notice in notices):
        return _ERROR
    return _FINDINGS if report.findings else 0


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _run() -> int:
    # A terminal may lack the characters of a message.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader, such as `head`, needs no more. Nothing is written at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(_run())
