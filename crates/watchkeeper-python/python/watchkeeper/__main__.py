"""The commands of the package: `python -m watchkeeper`."""

# ruff: noqa: T201 - the commands print

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# The exit codes of `watchkeeper check`.
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
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    commands.add_parser("demo", help="show a session over its limit, and a loop")
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options.paths, options.policy, as_json=options.json)
    if options.command == "demo":
        from watchkeeper import demo

        return demo.main()
    print(f"watchkeeper {__version__}\n")
    parser.print_help()
    return 0


def _check(paths: list[str], policy: str | None, *, as_json: bool) -> int:
    import watchkeeper

    try:
        report = watchkeeper.check(paths or None, policy)
    except (watchkeeper.PolicyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _ERROR
    if as_json:
        print(json.dumps(report.to_dict()))
        return _FINDINGS if report.findings else 0
    for finding in report.findings:
        line = f"{finding.severity.upper():6} {finding.session}: {finding.message}"
        print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))
    print(f"{len(report.findings)} findings in {len(report.sessions)} sessions")
    return _FINDINGS if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
