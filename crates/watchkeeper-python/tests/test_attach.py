"""`attach` without a framework."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import watchkeeper
from watchkeeper._attach._run import Run

if TYPE_CHECKING:
    from watchkeeper._attach._decision import Act


def test_other_objects_are_rejected() -> None:
    with pytest.raises(TypeError, match="cannot attach to dict; use an Agency of Agency Swarm"):
        watchkeeper.attach({})


@pytest.mark.parametrize("fields", [{"act": "halt"}, {"severity": "urgent"}])
def test_unknown_words_are_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        watchkeeper.attach(None, **fields)


@pytest.mark.parametrize("name", ["monitor", "on_action"])
def test_arguments_of_another_type_are_rejected(name: str) -> None:
    fields: dict[str, Any] = {name: "policy.toml"}
    with pytest.raises(TypeError, match=f"{name} must be a .*, not str"):
        watchkeeper.attach(None, **fields)


def test_no_framework_is_imported() -> None:
    script = """
import sys
import watchkeeper
watchkeeper.attach, watchkeeper.Monitor
names = {"agents", "agency_swarm", "langchain", "langchain_core", "langgraph", "claude_agent_sdk"}
assert not names & set(sys.modules), names & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def repeat(run: Run, n: int = 4) -> None:
    """Record identical calls."""
    run.prompt("List the files.")
    for i in range(n):
        run.after_model(model="fake", response=f"r{i}")
        run.before_tool("list_files", {"folder": "src"}, f"c{i}")
        run.after_tool(f"c{i}", "a.py")


# One detector for each action.
POLICY = """\
version = 1

[detectors.repeated_call]
kind = "repeat-tool-call"
levels = [{ at = 3, severity = "medium", action = "nudge" }]

[detectors.failures]
kind = "error-loop"
of = "failure"
levels = [{ at = 3, severity = "medium", action = "stop" }]

[detectors.repeated_message]
kind = "repeat-text"
of = "message"
levels = [{ at = 3, severity = "high", action = "observe" }]
"""


@pytest.mark.parametrize("act", ["observe", "nudge", "stop"])
def test_the_policy_chooses_the_reaction_to_each_detector(act: Act) -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(policy_text=POLICY, on_finding=findings.append) as monitor:
        attachment = watchkeeper.Attachment(monitor, act)

        repeating = Run.start(attachment, "repeating")
        repeat(repeating, 3)
        repeating.before_model()
        nudge = repeating.before_tool("list_files", {"folder": "src"}, "last")
        assert (nudge is not None) == (act != "observe")

        talking = Run.start(attachment, "talking")
        for i in range(3):
            talking.after_model(model="fake", response=f"r{i}", text="I am done with this file.")
        talking.before_model()
        assert talking.before_tool("list_files", {}, "c0") is None

        failing = Run.start(attachment, "failing")
        for i in range(3):
            failing.before_tool("read_file", {"path": f"{i}.py"}, f"c{i}")
            failing.after_tool(f"c{i}", "the disk is broken", ok=False)
        if act == "stop":
            with pytest.raises(watchkeeper.RunStopped) as stopped:
                failing.before_model()
            assert stopped.value.finding is not None
            assert stopped.value.finding.action == "stop"
        else:
            failing.before_model()
            text = failing.before_tool("read_file", {"path": "2.py"}, "last")
            assert (text is not None) == (act == "nudge")

        assert monitor.flush(10)
    reported = [f for f in findings if f.status == "open" and f.kind != "attach"]
    assert {f.detector: (f.action, f.to_dict()["action"]) for f in reported} == {
        "repeated_call": ("nudge", "nudge"),
        "repeated_message": ("observe", "observe"),
        "failures": ("stop", "stop"),
    }


LADDER = """\
version = 1
extends = ["builtin:default"]

[detectors.repeated_call]
levels = [
    { at = 3, severity = "low" },
    { at = 4, severity = "medium", action = "nudge" },
    { at = 8, severity = "high", action = "stop" },
]
"""


def loop(run: Run, n: int) -> int:
    """Make `n` identical calls like an agent. Return the number of calls that ran."""
    n_ran = 0
    for i in range(n):
        run.before_model()
        run.after_model(model="fake", response=f"r{i}")
        if run.before_tool("list_files", {"folder": "src"}, f"c{i}") is None:
            n_ran += 1
            run.after_tool(f"c{i}", "src/sum.py and src/test_sum.py")
    return n_ran


def test_refused_calls_keep_the_finding_open_and_are_no_finding_of_their_own() -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(on_finding=findings.append) as monitor:
        run = Run.start(watchkeeper.Attachment(monitor, "nudge"), "coder")
        run.prompt("List the files.")
        assert loop(run, 12) == 4
        assert monitor.flush(10)
        found = [(f.detector, f.severity, f.status) for f in findings if f.kind != "attach"]
        assert found == [("repeated_call", s, "open") for s in ("low", "medium", "high")]


def test_a_run_stops_if_its_calls_continue_after_nudges() -> None:
    with watchkeeper.Monitor(policy_text=LADDER, on_finding=lambda _: None) as monitor:
        attachment = watchkeeper.Attachment(monitor, "stop")
        run = Run.start(attachment, "coder")
        run.prompt("List the files.")
        with pytest.raises(watchkeeper.RunStopped) as stopped:
            loop(run, 20)
        assert stopped.value.finding is not None
        assert stopped.value.finding.count == 8
        assert [action.action for action in attachment.actions] == ["nudge"] * 4 + ["stop"]


def test_a_callback_that_blocks_does_not_delay_a_decision() -> None:
    released = threading.Event()
    with watchkeeper.Monitor(on_finding=lambda _: released.wait(60)) as monitor:
        run = Run.start(watchkeeper.Attachment(monitor, "stop"), "coder")
        repeat(run)
        with pytest.raises(watchkeeper.RunStopped) as stopped:
            run.before_model()
        assert not released.is_set()
        assert stopped.value.finding is not None
        assert stopped.value.finding.session == run.session_id
        assert run.is_ended
        released.set()


def test_a_decision_waits_for_the_findings_of_the_recorded_events() -> None:
    with watchkeeper.Monitor(on_finding=lambda _: None) as monitor:
        for _ in range(50):
            run = Run.start(watchkeeper.Attachment(monitor, "stop"), "coder")
            repeat(run)
            with pytest.raises(watchkeeper.RunStopped):
                run.before_model()


def test_a_stopped_session_ends_all_of_its_agents() -> None:
    with watchkeeper.Monitor(on_finding=lambda _: None) as monitor:
        attachment = watchkeeper.Attachment(monitor, "stop")
        boss = Run.start(attachment, "boss")
        helper = boss.start_agent("helper")
        repeat(helper)
        with pytest.raises(watchkeeper.RunStopped):
            helper.before_model()
        text = boss.before_tool("list_files", {}, "c")
        assert text is not None
        assert "watchkeeper stopped this run" in text
        with pytest.raises(watchkeeper.RunStopped):
            boss.before_model()
        assert [action.agent for action in attachment.actions] == ["helper-1"]


def test_without_a_monitor_the_first_event_starts_one_for_all_attachments() -> None:
    script = """
import watchkeeper
from watchkeeper._attach._run import Run
attachments = [watchkeeper.Attachment(), watchkeeper.Attachment()]
assert attachments[0]._monitor is None
run = Run.start(attachments[0], "coder")
assert attachments[0].monitor is attachments[1].monitor
assert attachments[0].monitor.is_running
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("start", ['Run.start(attachment, "child")', 'parent.start_agent("child")'])
def test_without_a_monitor_a_forked_process_starts_its_own(start: str) -> None:
    script = f"""
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
import watchkeeper
from watchkeeper._attach._run import Run
attachment = watchkeeper.Attachment(act="stop")
parent = Run.start(attachment, "parent")
child = os.fork()
if child == 0:
    run = {start}
    for i in range(6):
        run.before_tool("list_files", {{"folder": "src"}}, f"c{{i}}")
        run.after_tool(f"c{{i}}", "a.py")
    try:
        run.before_model()
    except watchkeeper.RunStopped:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert attachment.monitor.is_running
assert attachment.monitor.counts.dropped == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_monitor_that_is_not_running_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    monitor = watchkeeper.Monitor(on_finding=lambda _: None)
    attachment = watchkeeper.Attachment(monitor, "stop")
    run = Run.start(attachment, "first")
    repeat(run)
    run.before_model()
    run.end()
    Run.start(attachment, "second").prompt("List the files.")
    (record,) = caplog.records
    assert "the monitor is not running: session first-" in record.message
    assert record.exc_info is None
    with monitor:
        repeat(Run.start(attachment, "third"))
        assert monitor.flush(10)
        assert monitor.counts.findings > 0
    Run.start(attachment, "fourth")
    assert "session fourth-" in caplog.records[-1].message
