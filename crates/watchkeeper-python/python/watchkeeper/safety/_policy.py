"""The policy of a background monitor."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .timeout_monitor import TimeoutConfig

BUILTIN = "builtin:safe-session"
# The detectors of the built-in policy for each limit of `TimeoutConfig`.
SESSION_TIMEOUT = "session_timeout"
LIMITS = {
    SESSION_TIMEOUT: "max_session_duration",
    "turn_timeout": "turn_timeout",
    "tool_timeout": "tool_timeout",
}
# The time by which the engine may be behind the clock, in seconds.
_LONGEST_DELAY = 1.0
_SHORTEST_DELAY = 0.01


@dataclass(frozen=True)
class Policy:
    """The text of a policy, and the percent of a limit for each severity."""

    text: str
    percents: dict[str, int]


def build(
    config: TimeoutConfig,
    check_interval: float,
    policy: str | os.PathLike[str] | None,
    *,
    prints: bool,
) -> Policy:
    """Return the built-in policy with the limits of `config`.

    `policy` is a policy to merge, whose sinks receive the findings. Unless it `prints`, the
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
    if not prints:
        lines += ["[sinks.console]", "enabled = false"]
    return Policy("\n".join(lines) + "\n", percents)


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
