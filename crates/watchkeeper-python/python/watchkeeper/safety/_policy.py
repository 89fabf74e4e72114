"""The policy of a background monitor."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchkeeper import Finding

    from .timeout_monitor import TimeoutConfig

__all__ = ["LIMITS", "SESSION_TIMEOUT", "SessionPolicy", "build"]

BUILTIN = "builtin:safe-session"
# The detectors of the built-in policy for each limit of `TimeoutConfig`.
SESSION_TIMEOUT = "session_timeout"
LIMITS = {
    SESSION_TIMEOUT: "max_session_duration",
    "turn_timeout": "turn_timeout",
    "tool_timeout": "tool_timeout",
}
# The bounds of the time by which the engine may be behind the clock, in seconds.
_SHORTEST_DELAY, _LONGEST_DELAY = 0.01, 1.0


@dataclass(frozen=True)
class SessionPolicy:
    """The text of a policy, and the levels of its limits.

    `percents` has the percent of a limit at which a finding has a severity, the lowest
    first.
    """

    text: str
    percents: dict[str, int]

    def is_passed(self, finding: Finding, share: float) -> bool:
        """Return whether a `share` of a limit reaches a higher level than that of a finding."""
        reached = [it for it, percent in self.percents.items() if percent <= 100 * share]
        return finding.severity in reached[:-1]


def build(
    config: TimeoutConfig,
    check_interval: float,
    policy: str | os.PathLike[str] | None,
    *,
    console: bool,
) -> SessionPolicy:
    """Return the built-in policy with the limits of `config`.

    `policy` is a policy to merge, whose sinks receive the findings. Without `console`, the
    console of the built-in policy is off.
    """
    extends = [BUILTIN]
    if policy is not None:
        name = os.fspath(policy)
        extends.append(name if name.startswith("builtin:") else str(Path(name).absolute()))
    percents = _percents(config)
    levels = ", ".join(
        f'{{ at = "{percent}%", severity = "{severity}" }}'
        for severity, percent in percents.items()
    )
    delay = min(max(check_interval, _SHORTEST_DELAY), _LONGEST_DELAY)
    lines = [
        "version = 1",
        f"extends = {json.dumps(extends)}",
        "[monitor]",
        f"check_interval = {_period(delay)}",
    ]
    for detector, name in LIMITS.items():
        lines.append(f"[detectors.{detector}]")
        limit = getattr(config, name)
        if limit is None or math.isinf(limit):
            lines.append("enabled = false")
        else:
            lines += [f"max = {_period(limit)}", f"levels = [{levels}]"]
    if not console:
        lines += ["[sinks.console]", "enabled = false"]
    return SessionPolicy("\n".join(lines) + "\n", percents)


def _percents(config: TimeoutConfig) -> dict[str, int]:
    shares = sorted((config.warning_threshold_75, config.warning_threshold_90))
    percents = {}
    for severity, share in zip(("low", "medium"), shares, strict=True):
        percent = math.ceil(round(share * 100, 6))
        # A warning at the limit is no warning, and two at once are one.
        if 0 < percent < 100:  # noqa: PLR2004
            percents[severity] = percent
    if percents.get("low") == percents.get("medium"):
        percents.pop("low", None)
    return {**percents, "high": 100}


def _period(seconds: float) -> str:
    return f'"{max(1, round(seconds * 1000))}ms"'
