"""Decisions about the next step of an agent.

This module uses no framework and no monitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
)

from watchkeeper._calls import call_key

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Act", "Decisions", "FindingLike", "Result", "Severity", "Verdict"]

Act: TypeAlias = Literal["observe", "nudge", "stop"]
Severity: TypeAlias = Literal["low", "medium", "high"]
# In ascending order.
_ACTS: tuple[Act, ...] = get_args(Act)
# The reactions to the actions of a policy. `ask` and `deny` need more than a program: a person who
# answers, or a hook that refuses any call.
_REACTIONS: dict[str, Act] = {
    "observe": "observe",
    "nudge": "nudge",
    "ask": "nudge",
    "deny": "nudge",
    "stop": "stop",
}
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# The classes of findings that a repeated call causes. A budget or a timeout is no reason
# to refuse a call.
_REPETITION = frozenset({"runaway", "error"})


class FindingLike(Protocol):
    """The fields of a finding that decisions use."""

    @property
    def severity(self) -> Severity:
        """The importance."""

    @property
    def action(self) -> Literal["observe", "nudge", "ask", "deny", "stop"] | None:
        """The reaction that the policy suggests."""

    @property
    def class_(self) -> str:
        """The category of the problem."""

    @property
    def agent(self) -> str | None:
        """The sub-agent; `None` for the main agent."""

    @property
    def message(self) -> str:
        """The description."""


@dataclass(frozen=True)
class Result:
    """The result of a tool call."""

    output: object = None
    ok: bool = True


F = TypeVar("F", bound=FindingLike)


@dataclass(frozen=True)
class Verdict(Generic[F]):
    """A decision about a model call or a tool call.

    `result` is the latest known result of a call that is equal to a refused one.
    """

    action: Literal["run", "nudge", "stop"]
    text: str = ""
    finding: F | None = None
    result: Result = Result()


# The largest number of results of one agent that are kept.
_MAX_RESULTS = 32

_RUN: Verdict[Any] = Verdict("run")


class _Calls(Generic[F]):
    """The calls of one agent."""

    def __init__(self) -> None:
        # By the hash of a call, the number of different calls at its last run.
        self.n_different: dict[int, int] = {}
        # The finding because of which a call was refused, by the hash of the call.
        self.refused: dict[int, F] = {}
        # The hashes of running calls, by their ids.
        self.running: dict[str, int] = {}
        # The results of the calls since the latest new call, by the hash of the call. Only
        # such calls can be refused.
        self.results: dict[int, Result] = {}

    def run(self, key: int, call_id: str) -> Verdict[F]:
        """Add a call that runs."""
        self.running[call_id] = key
        return _RUN


class Decisions(Generic[F]):
    """Decides for one session. Not safe for use from several threads at once.

    The reaction to a finding is the action that the policy suggests, but at most `act`. A
    finding without an action leads to `act` if it has at least `severity`; to `nudge` only
    if it is about repetition, too.

    With the reaction `nudge`, a call is refused while the agent has the open finding, if
    the agent has made the same call before and has run no new call since. A refused call
    stays refused until the agent runs a new call, although the finding may be resolved by
    then. So a test may run again after an edit, but not without one.

    With the reaction `stop`, the session ends at the finding. The decision is final.
    """

    def __init__(self, act: Act = "observe", severity: Severity = "medium") -> None:
        if act not in _ACTS:
            message = f"unknown act {act!r}; use observe, nudge or stop"
            raise ValueError(message)
        if severity not in _SEVERITIES:
            message = f"unknown severity {severity!r}; use low, medium or high"
            raise ValueError(message)
        self._act = act
        self._severity = severity
        self._stopped: Verdict[F] | None = None
        self._agents: dict[str | None, _Calls[F]] = {}

    @property
    def act(self) -> Act:
        """The strongest reaction."""
        return self._act

    @property
    def is_observing(self) -> bool:
        """Whether every decision is to run."""
        return self._act == "observe"

    @property
    def stopped(self) -> Verdict[F] | None:
        """The decision to stop, if there was one."""
        return self._stopped

    def before_model(self, findings: Iterable[F]) -> Verdict[F]:
        """Decide about a model call, given the open findings of the session."""
        if self._stopped is None and self._act == "stop":
            finding = self._worst(findings, "stop")
            if finding is not None:
                text = f"watchkeeper stopped this run: {finding.message}"
                self._stopped = Verdict("stop", text, finding)
        return self._stopped or _RUN

    def before_tool(
        self,
        findings: Iterable[F],
        agent: str | None,
        tool: str,
        arguments: object,
        call_id: str,
    ) -> Verdict[F]:
        """Decide about a tool call, given the open findings of the session.

        With `act="nudge"`, only a call that can be refused reads the findings.
        """
        verdict = self.before_model(findings)
        if verdict.action == "stop" or self._act == "observe":
            return verdict
        calls = self._agents.setdefault(agent, _Calls())
        key = hash(call_key(tool, arguments))
        last_run = calls.n_different.get(key)
        if last_run is None:
            calls.refused.clear()
            calls.results.clear()
            calls.n_different[key] = len(calls.n_different) + 1
            return calls.run(key, call_id)
        if last_run < len(calls.n_different):
            calls.n_different[key] = len(calls.n_different)
            return calls.run(key, call_id)
        finding = calls.refused.get(key)
        if finding is None:
            own = (finding for finding in findings if finding.agent == agent)
            finding = self._worst(own, "nudge")
        if finding is None:
            return calls.run(key, call_id)
        calls.refused[key] = finding
        reason = " The result will not change." if finding.class_ in _REPETITION else ""
        text = (
            f"watchkeeper did not run this call: {finding.message}.{reason} "
            "Try something different, or explain the problem and finish."
        )
        return Verdict("nudge", text, finding, calls.results.get(key, Result()))

    def after_tool(self, agent: str | None, call_id: str, result: Result | None) -> None:
        """Keep the result of a call; `None` if it does not come from the tool."""
        calls = self._agents.get(agent)
        key = calls.running.pop(call_id, None) if calls is not None else None
        if calls is None or key is None or result is None:
            return
        is_current = calls.n_different.get(key) == len(calls.n_different)
        if is_current and (key in calls.results or len(calls.results) < _MAX_RESULTS):
            calls.results[key] = result

    def end(self) -> None:
        """Forget the calls of a session that has ended."""
        self._agents.clear()

    def _reaction(self, finding: F) -> Act:
        """Return the reaction to a finding."""
        if finding.action is not None:
            return min(_REACTIONS[finding.action], self._act, key=_ACTS.index)
        if _SEVERITIES.index(finding.severity) < _SEVERITIES.index(self._severity):
            return "observe"
        if self._act == "nudge" and finding.class_ not in _REPETITION:
            return "observe"
        return self._act

    def _worst(self, findings: Iterable[F], reaction: Act) -> F | None:
        """Return the first of the most severe findings that lead to a reaction."""
        leading = (finding for finding in findings if self._reaction(finding) == reaction)
        return max(leading, key=lambda it: _SEVERITIES.index(it.severity), default=None)
