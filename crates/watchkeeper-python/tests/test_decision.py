"""Decisions about the next step, without a framework and without a monitor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pytest

from watchkeeper._attach._decision import Act, Decisions, Result, Severity, Verdict
from watchkeeper._calls import call_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LIST = ("list_files", '{"folder": "src"}')
READ = ("read_file", '{"path": "a.py"}')


@dataclass(frozen=True)
class Found:
    severity: Severity = "medium"
    class_: str = "runaway"
    agent: str | None = None
    message: str = "the same call 4 times"
    action: Literal["observe", "nudge", "ask", "deny", "stop"] | None = None


def decide(act: Act, severity: Severity = "medium") -> Decisions[Found]:
    return Decisions(act, severity)


def before_tool(  # noqa: PLR0917
    decisions: Decisions[Found],
    findings: Iterable[Found],
    agent: str | None,
    tool: str,
    arguments: object,
    call_id: str = "c",
) -> Verdict[Found]:
    return decisions.before_tool(findings, agent, tool, arguments, call_id)


def actions(
    decisions: Decisions[Found],
    calls: Sequence[tuple[str, str]],
    findings: Iterable[Found] = (),
    agent: str | None = None,
) -> list[str]:
    return [before_tool(decisions, findings, agent, *call).action for call in calls]


def test_observe_runs_everything() -> None:
    decisions = decide("observe")
    assert decisions.before_model([Found("high")]).action == "run"
    assert actions(decisions, [LIST] * 3, [Found("high")]) == ["run"] * 3
    assert decisions.stopped is None


def test_stop_ends_the_session_at_the_first_finding() -> None:
    decisions = decide("stop")
    assert decisions.before_model([Found("low")]).action == "run"
    verdict = decisions.before_model([Found("low"), Found(message="too late")])
    assert (verdict.action, verdict.finding) == ("stop", Found(message="too late"))
    assert verdict.text == "watchkeeper stopped this run: too late"


def test_stop_is_final() -> None:
    decisions = decide("stop")
    first = before_tool(decisions, [Found()], None, *LIST)
    assert first.action == "stop"
    assert decisions.before_model([]) == first
    assert before_tool(decisions, [], "helper", *READ) == first
    assert decisions.stopped == first


def test_stop_uses_the_most_severe_finding() -> None:
    findings = [Found(message="a"), Found("high", message="b"), Found("high", message="c")]
    assert decide("stop").before_model(findings).text.endswith("b")


@pytest.mark.parametrize("class_", ["budget", "timeout"])
def test_stop_acts_on_every_class(class_: str) -> None:
    assert decide("stop").before_model([Found(class_=class_)]).action == "stop"


def test_nudge_refuses_a_call_that_was_made_before() -> None:
    decisions = decide("nudge")
    assert actions(decisions, [LIST, LIST]) == ["run", "run"]
    verdict = before_tool(decisions, [Found()], None, *LIST)
    assert verdict.action == "nudge"
    assert "the same call 4 times" in verdict.text


def test_nudge_runs_other_calls_and_models() -> None:
    decisions = decide("nudge")
    actions(decisions, [LIST])
    assert actions(decisions, [READ], [Found()]) == ["run"]
    assert decisions.before_model([Found("high")]).action == "run"


def test_nudge_refuses_the_call_after_the_finding_is_resolved() -> None:
    decisions = decide("nudge")
    actions(decisions, [LIST, LIST])
    first = before_tool(decisions, [Found()], None, *LIST)
    assert before_tool(decisions, [], None, *LIST) == first


def test_nudge_keeps_the_text_when_its_own_refusals_are_found() -> None:
    decisions = decide("nudge")
    actions(decisions, [LIST, LIST])
    first = before_tool(decisions, [Found()], None, *LIST)
    assert before_tool(decisions, [Found("high", message="denied")], None, *LIST) == first


def test_nudge_runs_the_call_again_after_a_new_one() -> None:
    decisions = decide("nudge")
    edit = ("edit_file", '{"path": "a.py", "text": "1"}')
    assert actions(decisions, [LIST, LIST, LIST, edit, LIST, LIST], [Found()]) == [
        "run",
        "nudge",
        "nudge",
        "run",
        "run",
        "nudge",
    ]


def test_nudge_refuses_both_calls_of_a_cycle() -> None:
    decisions = decide("nudge")
    actions(decisions, [LIST, READ, LIST, READ])
    assert actions(decisions, [LIST, READ, LIST], [Found()]) == ["nudge"] * 3


@pytest.mark.parametrize(
    "finding",
    [Found("low"), Found(class_="budget"), Found(class_="timeout"), Found(agent="other")],
)
def test_nudge_ignores_findings_about_something_else(finding: Found) -> None:
    decisions = decide("nudge")
    assert actions(decisions, [LIST, LIST], [finding], agent="helper") == ["run", "run"]


def test_a_refused_call_has_the_result_of_the_equal_call_before() -> None:
    decisions = decide("nudge")
    for i, (tool, output, ok) in enumerate(
        [(LIST, "a.py", True), (READ, "no such file", False), (LIST, "a.py b.py", True)]
    ):
        before_tool(decisions, [], None, *tool, f"c{i}")
        decisions.after_tool(None, f"c{i}", Result(output, ok))
    assert before_tool(decisions, [Found()], None, *LIST).result == Result("a.py b.py")
    assert before_tool(decisions, [Found()], None, *READ).result == Result("no such file", ok=False)
    # A refused call has no result of its own.
    decisions.after_tool(None, "c", Result("the text of the refusal"))
    assert before_tool(decisions, [Found()], None, *LIST).result == Result("a.py b.py")


def test_the_result_of_a_call_that_did_not_end_is_unknown() -> None:
    decisions = decide("nudge")
    before_tool(decisions, [], None, *LIST, "c1")
    assert before_tool(decisions, [Found()], None, *LIST, "c2").result == Result()
    decisions.after_tool(None, "c1", None)
    assert before_tool(decisions, [Found()], None, *LIST, "c3").result == Result()


def test_only_the_results_since_the_latest_new_call_are_kept() -> None:
    decisions = decide("nudge")
    for i in range(100):
        before_tool(decisions, [], None, "read", {"path": i}, f"c{i}")
        decisions.after_tool(None, f"c{i}", Result("text"))
    assert len(decisions._agents[None].results) == 1
    for i in range(100):
        before_tool(decisions, [], None, "read", {"path": i}, f"d{i}")
        decisions.after_tool(None, f"d{i}", Result("text"))
    assert len(decisions._agents[None].results) == 32
    assert not decisions._agents[None].running


def test_nudge_reads_the_findings_of_repeated_calls_only() -> None:
    n_reads = 0

    class Findings:
        def __iter__(self) -> Iterator[Found]:
            nonlocal n_reads
            n_reads += 1
            return iter(())

    findings, decisions = Findings(), decide("nudge")
    for i in range(10):
        decisions.before_tool(findings, None, "read", {"path": i}, "c")
    decisions.before_model(findings)
    assert n_reads == 0
    decisions.before_tool(findings, None, "read", {"path": 9}, "c")
    assert n_reads == 1


def test_nudge_keeps_the_calls_of_agents_apart() -> None:
    decisions = decide("nudge")
    actions(decisions, [LIST], agent="first")
    assert actions(decisions, [LIST], [Found(agent="second")], agent="second") == ["run"]


@pytest.mark.parametrize(
    ("act", "suggested", "expected"),
    [
        ("observe", "observe", "run"),
        ("observe", "nudge", "run"),
        ("observe", "stop", "run"),
        ("nudge", "observe", "run"),
        ("nudge", "nudge", "nudge"),
        ("nudge", "stop", "nudge"),
        ("nudge", None, "nudge"),
        ("stop", "observe", "run"),
        ("stop", "nudge", "nudge"),
        ("stop", "stop", "stop"),
        ("stop", None, "stop"),
    ],
)
def test_the_action_of_the_policy_applies_up_to_act(
    act: Act, suggested: Act | None, expected: str
) -> None:
    decisions = decide(act)
    actions(decisions, [LIST])
    found = Found(action=suggested)
    assert before_tool(decisions, [found], None, *LIST).action == expected
    assert decisions.before_model([found]).action == ("stop" if expected == "stop" else "run")


@pytest.mark.parametrize("found", [Found("low"), Found(class_="budget")])
def test_an_action_of_the_policy_applies_to_each_severity_and_class(found: Found) -> None:
    decisions = decide("stop", "high")
    actions(decisions, [LIST])
    nudging, stopping = replace(found, action="nudge"), replace(found, action="stop")
    verdict = before_tool(decisions, [nudging], None, *LIST)
    assert verdict.action == "nudge"
    assert ("will not change" in verdict.text) == (found.class_ == "runaway")
    assert decisions.before_model([nudging, stopping]).finding == stopping


def test_each_finding_has_its_own_reaction() -> None:
    decisions = decide("stop")
    actions(decisions, [LIST])
    observed, nudging = Found("high", action="observe"), Found("low", action="nudge")
    assert before_tool(decisions, [observed, nudging], None, *LIST).finding == nudging
    assert before_tool(decisions, [observed, Found()], None, *LIST).finding == Found()


@pytest.mark.parametrize("action", ["ask", "deny"])
def test_what_a_program_cannot_do_becomes_a_nudge(action: Literal["ask", "deny"]) -> None:
    decisions = decide("stop")
    actions(decisions, [LIST])
    finding = Found("high", action=action)
    assert decisions.before_model([finding]).action == "run"
    assert before_tool(decisions, [finding], None, *LIST).action == "nudge"


def test_severity_sets_the_lowest_level() -> None:
    assert decide("stop", "high").before_model([Found("medium")]).action == "run"
    assert decide("stop", "low").before_model([Found("low")]).action == "stop"


def test_unknown_words_are_rejected() -> None:
    with pytest.raises(ValueError, match="unknown act 'halt'; use observe, nudge or stop"):
        decide("halt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown severity 'urgent'"):
        decide("stop", "urgent")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('{"a": 1}', {"a": 1}),
        ('{"a": {"b": 1, "c": [2]}}', {"a": {"c": [2], "b": 1}}),
        ("not json", "not json"),
        (None, None),
    ],
)
def test_identical_calls_have_the_same_key(one: object, other: object) -> None:
    assert call_key("t", one) == call_key("t", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": true}'),
        ("x", "y"),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_different_calls_have_different_keys(one: object, other: object) -> None:
    assert call_key("t", one) != call_key("t", other)
    assert call_key("t", one) != call_key("u", one)
