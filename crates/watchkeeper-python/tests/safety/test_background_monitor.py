import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from background import CHECK_INTERVAL, Events, Watch, settle
from recording import LONG, wait_until
from watchkeeper.safety import (
    BackgroundMonitor,
    EventType,
    MonitorEvent,
    SafeSession,
    SessionMetrics,
    TimeoutConfig,
)

Run = Callable[..., CompletedProcess[str]]


def old_session(age: float) -> SafeSession:
    return SafeSession(metrics=SessionMetrics(started_at=time.time() - age))


def n_threads() -> int:
    return sum(thread.name == "SafeSessionMonitor" for thread in threading.enumerate())


def test_attributes_are_those_of_the_arguments() -> None:
    session, config = SafeSession(), TimeoutConfig(max_session_duration=100)
    monitor = BackgroundMonitor(session, config, 2.5, auto_terminate=True)
    assert (monitor.session, monitor.config) == (session, config)
    assert (monitor.check_interval, monitor.auto_terminate) == (2.5, True)
    assert monitor.on_event is None
    assert monitor.is_running is False
    assert BackgroundMonitor(session, config).check_interval == 5.0


def test_a_session_over_its_limit_is_one_event(watch: Watch) -> None:
    config = TimeoutConfig(max_session_duration=100)
    monitor, events = watch(old_session(150), config)
    [event] = events.wait_for(1)
    settle(monitor)
    assert len(events.all) == 1
    assert event.event_type == EventType.TIMEOUT.value
    assert event.severity == "high"
    assert event.message.startswith("TIMEOUT: Session exceeded maximum duration (15")
    assert event.message.endswith("s / 100s)")
    assert event.data["elapsed"] == pytest.approx(150, abs=2)
    assert event.data["max_duration"] == 100
    assert event.detector == "session_timeout"
    assert event.session == monitor.session.session_id
    assert event.status == "open"
    assert event.time is not None
    assert (event.id, event.fingerprint) != (None, None)


@pytest.mark.parametrize(
    ("age", "severity", "message"),
    [
        (74, None, None),
        (77, "medium", "WARNING: Session at 75% of timeout"),
        (92, "medium", "WARNING: Session at 90% of timeout"),
        (102, "high", "TIMEOUT: Session exceeded maximum duration"),
    ],
)
def test_each_share_of_the_limit_has_its_message(
    watch: Watch, age: float, severity: str | None, message: str | None
) -> None:
    monitor, events = watch(old_session(age), TimeoutConfig(max_session_duration=100))
    settle(monitor)
    found = [(event.severity, event.message.split(" (")[0]) for event in events.all]
    assert found == ([(severity, message)] if message else [])


def test_each_level_is_one_event_as_time_passes(watch: Watch) -> None:
    monitor, events = watch(config=TimeoutConfig(max_session_duration=0.5))
    found = events.wait_for(3)
    settle(monitor)
    assert [event.severity for event in events.all] == ["medium", "medium", "high"]
    assert [event.message.split(" (")[0] for event in found] == [
        "WARNING: Session at 75% of timeout",
        "WARNING: Session at 90% of timeout",
        "TIMEOUT: Session exceeded maximum duration",
    ]


def test_the_thresholds_of_the_config_apply(watch: Watch) -> None:
    config = TimeoutConfig(
        max_session_duration=100, warning_threshold_75=0.5, warning_threshold_90=0.6
    )
    monitor, events = watch(old_session(55), config)
    settle(monitor)
    assert [message.split(" (")[0] for message in events.messages] == [
        "WARNING: Session at 50% of timeout"
    ]
    monitor, events = watch(old_session(65), config)
    settle(monitor)
    assert [message.split(" (")[0] for message in events.messages] == [
        "WARNING: Session at 60% of timeout"
    ]


def test_a_timeout_is_reported_within_one_interval(watch: Watch) -> None:
    started = time.monotonic()
    _, events = watch(config=TimeoutConfig(max_session_duration=0.5), check_interval=2)
    events.wait_for(3)
    assert time.monotonic() - started < 0.5 + 2


def test_a_turn_and_a_tool_call_have_limits(watch: Watch) -> None:
    config = TimeoutConfig(turn_timeout=0.3, tool_timeout=0.2)
    monitor, events = watch(config=config)
    session: SafeSession = monitor.session
    session.begin_turn("build it")
    session.begin_tool_call("Bash", {"command": "make"})
    events.wait_for(6)
    turn = [event for event in events.all if event.detector == "turn_timeout"]
    tool = [event for event in events.all if event.detector == "tool_timeout"]
    assert [event.severity for event in turn] == ["medium", "medium", "high"]
    assert [event.severity for event in tool] == ["medium", "medium", "high"]
    assert turn[2].message == "TIMEOUT: Turn exceeded maximum duration (0.300s / 0.3s)"
    assert tool[2].message == "TIMEOUT: Tool call Bash exceeded maximum duration (0.200s / 0.2s)"
    assert tool[2].data["tool"] == "Bash"


def test_a_session_without_turns_has_no_turn_limit(watch: Watch) -> None:
    monitor, events = watch(config=TimeoutConfig(turn_timeout=0.1))
    session: SafeSession = monitor.session
    session.metrics.increment_reasoning_steps()
    session.record_tool_call("Read", {"path": "a"})
    session.end_tool_call(session.begin_tool_call("Read", {"path": "b"}))
    settle(monitor, round(0.3 / CHECK_INTERVAL))
    assert events.all == []


def test_equal_calls_are_a_loop_and_one_event(watch: Watch) -> None:
    monitor, events = watch()
    for n_calls in range(1, 12):
        monitor.session.record_tool_call("Bash", {"command": "make"})
        if n_calls in (4, 5):
            settle(monitor)
            assert len(events.all) == n_calls - 4
    [event] = events.wait_for(1)
    settle(monitor)
    assert len(events.all) == 1
    assert (event.event_type, event.severity) == ("runaway", "high")
    assert event.message == "Same tool called 5+ times in a row"
    assert event.data["pattern"] == "infinite_tool_loop"
    assert event.data["tool"] == "Bash"
    assert event.data["details"]["thresholds"]["same_tool"] == 5


def test_calls_before_the_start_count(watch: Watch) -> None:
    session = SafeSession()
    for _ in range(6):
        session.metrics.record_tool_call("Bash", {})
    _, events = watch(session)
    [event] = events.wait_for(1)
    assert event.event_type == EventType.RUNAWAY.value


def test_different_tools_and_arguments_are_no_loop(watch: Watch) -> None:
    monitor, events = watch()
    for tool in ("Bash", "Read", "Write", "Edit", "Grep"):
        monitor.session.record_tool_call(tool, {})
    for n in range(20):
        monitor.session.record_tool_call("Read", {"path": f"{n}.txt"})
    settle(monitor)
    assert events.all == []


def test_calls_that_alternate_are_a_loop(watch: Watch) -> None:
    monitor, events = watch()
    for _ in range(6):
        monitor.session.record_tool_call("Read", {"path": "a"})
        monitor.session.record_tool_call("Bash", {"command": "make"})
    found = events.wait_for(2)
    assert [event.severity for event in found] == ["medium", "high"]
    assert found[1].data["pattern"] == "infinite_tool_loop"
    assert "2 calls of `Read` and `Bash`" in found[1].message


def test_a_new_result_ends_a_loop(watch: Watch) -> None:
    monitor, events = watch()
    session: SafeSession = monitor.session
    for output in ["3 errors", "3 errors", "3 errors", "2 errors", "1 error", "no error"] * 2:
        session.end_tool_call(session.begin_tool_call("Bash", {"command": "make"}), output)
    settle(monitor)
    assert events.all == []


def test_more_than_fifty_steps_without_progress_are_an_event(watch: Watch) -> None:
    monitor, events = watch()
    metrics = monitor.session.metrics
    for _ in range(50):
        metrics.increment_reasoning_steps()
    settle(monitor)
    assert events.all == []
    metrics.increment_reasoning_steps()
    [event] = events.wait_for(1)
    assert event.message == "More than 50 reasoning steps without progress"
    assert event.data["pattern"] == "excessive_reasoning"


def test_progress_resets_steps_and_handoffs(watch: Watch) -> None:
    monitor, events = watch()
    session: SafeSession = monitor.session
    for n in range(120):
        session.metrics.increment_reasoning_steps()
        if n % 10 == 0:
            session.metrics.record_handoff("planner", "coder")
            session.record_tool_call("Read", {"path": f"{n}.txt"})
    settle(monitor)
    assert events.all == []


def test_more_than_ten_handoffs_are_an_event(watch: Watch) -> None:
    monitor, events = watch()
    for _ in range(11):
        monitor.session.metrics.record_handoff("planner", "coder")
    [event] = events.wait_for(1)
    assert event.message == "More than 10 agent handoffs detected"
    assert event.data["pattern"] == "escalation_spiral"
    assert event.data["details"]["handoff_count"] == 11


def test_any_object_with_metrics_is_watched(watch: Watch) -> None:
    metrics = types.SimpleNamespace(
        tool_calls=[], reasoning_steps=0, handoff_count=0, started_at=time.time() - 150
    )
    session = types.SimpleNamespace(metrics=metrics)
    monitor, events = watch(session, TimeoutConfig(max_session_duration=100))
    assert events.wait_for(1)[0].event_type == "timeout"
    metrics.tool_calls += [("Bash", {"command": "make"}, time.time())] * 6
    assert events.wait_for(2)[1].event_type == "runaway"
    metrics.reasoning_steps = 51
    assert events.wait_for(3)[2].data["pattern"] == "excessive_reasoning"
    metrics.handoff_count = 11
    assert events.wait_for(4)[3].data["pattern"] == "escalation_spiral"
    settle(monitor)
    assert len(events.all) == 4


def test_numbers_that_the_program_sets_are_read(watch: Watch) -> None:
    monitor, events = watch(config=TimeoutConfig(max_session_duration=100))
    metrics = monitor.session.metrics
    metrics.tool_calls.extend([("Bash", {}, time.time())] * 6)
    assert events.wait_for(1)[0].event_type == "runaway"
    metrics.started_at = time.time() - 150
    assert events.wait_for(2)[1].event_type == "timeout"
    settle(monitor)
    assert len(events.all) == 2


def test_a_wall_clock_that_is_set_back_changes_nothing(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = old_session(150)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert session.get_duration() == pytest.approx(150, abs=2)
    monitor, events = watch(session, TimeoutConfig(max_session_duration=100))
    [event] = events.wait_for(1)
    assert event.message.startswith("TIMEOUT: Session exceeded maximum duration (15")
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    settle(monitor)
    assert len(events.all) == 1
    assert session.get_duration() == pytest.approx(150, abs=2)


def test_the_limit_is_reported_once_after_a_restart(watch: Watch) -> None:
    monitor, events = watch(old_session(150), TimeoutConfig(max_session_duration=100))
    events.wait_for(1)
    assert monitor.stop()
    monitor.start()
    settle(monitor)
    assert len(events.all) == 1


def test_a_session_is_terminated_once(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    session = old_session(150)
    config = TimeoutConfig(max_session_duration=100)
    monitor, events = watch(session, config, auto_terminate=True)
    events.wait_for(1)
    settle(monitor)
    assert (session.status, session.stop_requested) == ("terminated", True)
    assert session.stop_reason == "Session timeout exceeded"
    assert capsys.readouterr().out.count("TERMINATING") == 1


@pytest.mark.parametrize(
    ("record", "pattern"),
    [
        (
            lambda metrics: [metrics.record_tool_call("Bash", {}) for _ in range(6)],
            "infinite_tool_loop",
        ),
        (lambda metrics: setattr(metrics, "reasoning_steps", 51), "excessive_reasoning"),
        (lambda metrics: setattr(metrics, "handoff_count", 11), "escalation_spiral"),
    ],
)
def test_a_session_that_runs_away_is_terminated(
    watch: Watch, record: Callable[[SessionMetrics], object], pattern: str
) -> None:
    monitor, events = watch(auto_terminate=True)
    record(monitor.session.metrics)
    [event] = events.wait_for(1)
    assert event.data["pattern"] == pattern
    assert (monitor.session.status, monitor.session.stop_requested) == ("terminated", True)
    assert monitor.session.stop_reason == f"Runaway pattern detected: {pattern}"


def test_a_loop_is_terminated_at_the_latest_by_stop() -> None:
    session = SafeSession()
    monitor = BackgroundMonitor(session, check_interval=3600, auto_terminate=True)
    monitor.start()
    for _ in range(5):
        session.record_tool_call("Bash", {})
    assert monitor.stop()
    assert session.status == "terminated"


def test_a_cycle_terminates_the_session_only_with_high_severity(watch: Watch) -> None:
    monitor, events = watch(auto_terminate=True)

    def repeat(n_rounds: int) -> None:
        for _ in range(n_rounds):
            monitor.session.record_tool_call("Read", {"path": "a"})
            monitor.session.record_tool_call("Bash", {"command": "make"})

    repeat(3)
    assert events.wait_for(1)[0].severity == "medium"
    assert monitor.session.status == "initializing"
    repeat(3)
    assert events.wait_for(2)[1].severity == "high"
    assert monitor.session.status == "terminated"


def test_a_session_that_runs_away_is_not_terminated_by_default(watch: Watch) -> None:
    monitor, events = watch()
    for _ in range(6):
        monitor.session.record_tool_call("Bash", {})
    events.wait_for(1)
    assert monitor.session.stop_requested is False


def test_the_limit_of_a_terminated_session_is_reported_before_stop_returns() -> None:
    # The engine checks the time only once in `check_interval`.
    for check_interval in (0.05, 0.2):
        session, events = SafeSession(), Events()
        config = TimeoutConfig(max_session_duration=0.3)
        monitor = BackgroundMonitor(session, config, check_interval, auto_terminate=True)
        monitor.on_event = events
        monitor.start()
        wait_until(lambda session=session: session.stop_requested)  # type: ignore[misc]
        assert monitor.stop()
        severities = [event.severity for event in events.all]
        assert severities.count("high") == 1, events.messages


class Fragile:
    """A session whose metrics raise after the first readings."""

    def __init__(self) -> None:
        self._metrics = SessionMetrics(started_at=time.time() - 150)
        self.is_broken = False

    @property
    def metrics(self) -> SessionMetrics:
        if self.is_broken:
            message = "no metrics"
            raise RuntimeError(message)
        return self._metrics


def test_a_session_that_breaks_is_watched_and_stopped(watch: Watch) -> None:
    session = Fragile()
    # The session has no `terminate`.
    config = TimeoutConfig(max_session_duration=100)
    monitor, events = watch(session, config, auto_terminate=True)
    events.wait_for(1)
    session.is_broken = True
    wait_until(lambda: any(event.event_type == "error" for event in events.all))
    assert monitor.is_running
    assert monitor.stop()
    assert not monitor.is_running


def test_a_limit_of_zero_is_reported(watch: Watch) -> None:
    _, events = watch(old_session(1), TimeoutConfig(max_session_duration=0))
    assert "TIMEOUT" in events.wait_for(1)[0].message


def test_a_session_is_not_terminated_by_default(watch: Watch) -> None:
    session = old_session(150)
    _, events = watch(session, TimeoutConfig(max_session_duration=100))
    events.wait_for(1)
    assert (session.status, session.stop_requested) == ("initializing", False)


def test_a_blocked_callback_delays_neither_termination_nor_stop() -> None:
    session, release, entered = old_session(150), threading.Event(), threading.Event()
    config = TimeoutConfig(max_session_duration=100)
    monitor = BackgroundMonitor(session, config, check_interval=0.02, auto_terminate=True)
    n_entered = 0

    def block(_event: MonitorEvent) -> None:
        nonlocal n_entered
        n_entered += 1
        entered.set()
        release.wait()

    monitor.on_event = block
    for _ in range(6):
        session.record_tool_call("Bash", {})
    try:
        monitor.start()
        assert entered.wait(LONG)
        wait_until(lambda: session.status == "terminated")
        started = time.monotonic()
        assert monitor.stop() is False
        assert time.monotonic() - started < 3
        assert monitor.is_running is False
        assert n_threads() == 0
        monitor.start()
        assert monitor.is_running
        assert n_threads() == 1
    finally:
        release.set()
        monitor.stop()
    # Once in each run, since the first was stopped before the next event.
    assert n_entered <= 2


def test_an_error_in_the_callback_is_printed_without_a_configuration(run_python: Run) -> None:
    program = """
from watchkeeper.safety import BackgroundMonitor, SafeSession
session = SafeSession()
monitor = BackgroundMonitor(session, check_interval=0.02)
monitor.on_event = lambda event: event.no_such_name
monitor.start()
for _ in range(6):
    session.record_tool_call("Bash", {})
monitor.stop()
"""
    done = run_python(program)
    assert done.returncode == 0
    assert "no_such_name" in done.stderr


def test_an_error_in_the_callback_is_logged(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: MonitorEvent) -> None:
        events(event)
        message = "no disk"
        raise OSError(message)

    session = SafeSession()
    monitor, events = watch(session)
    monitor.on_event = fail
    for _ in range(6):
        session.record_tool_call("Bash", {})
    events.wait_for(1)
    session.record_tool_call("Read", {"path": "a"})
    for _ in range(6):
        session.record_tool_call("Write", {})
    events.wait_for(2)
    settle(monitor)
    assert monitor.is_running
    assert [record.name for record in caplog.records].count("watchkeeper.safety") == 2


def test_an_error_of_the_session_is_one_event(watch: Watch) -> None:
    class Metrics:
        is_broken = False

        @property
        def tool_calls(self) -> list[Any]:
            if self.is_broken:
                message = "no numbers"
                raise RuntimeError(message)
            return []

    session = types.SimpleNamespace(metrics=Metrics())
    monitor, events = watch(session)
    session.metrics.is_broken = True
    [event] = events.wait_for(1)
    settle(monitor)
    assert events.all == [event]
    assert (event.event_type, event.severity) == (EventType.ERROR.value, "low")
    assert event.message == "Check session error: no numbers"
    assert event.data == {"error": "no numbers"}
    assert monitor.is_running


def test_starting_twice_starts_one_thread(watch: Watch) -> None:
    monitor, _ = watch()
    monitor.start()
    monitor.start()
    assert n_threads() == 1
    assert monitor.stop() is True
    assert monitor.stop() is True
    assert n_threads() == 0


def test_stop_does_not_wait_for_the_interval() -> None:
    monitor = BackgroundMonitor(SafeSession(), TimeoutConfig(), check_interval=3600)
    monitor.start()
    started = time.monotonic()
    assert monitor.stop()
    assert time.monotonic() - started < LONG


def test_no_thread_remains_after_many_starts() -> None:
    before = threading.active_count()
    monitor = BackgroundMonitor(SafeSession(), TimeoutConfig())
    for _ in range(100):
        monitor.start()
        assert monitor.is_running
        assert monitor.stop()
        assert not monitor.is_running
    assert threading.active_count() == before
    assert monitor.session._observers == ()
    assert monitor.session.metrics._observers == ()


def test_is_running_is_false_once_a_thread_is_gone(watch: Watch) -> None:
    monitor, _ = watch()
    assert monitor.is_running
    assert monitor._monitor is not None
    monitor._monitor.stop()
    assert not monitor.is_running


def test_the_main_thread_continues_while_the_callback_blocks() -> None:
    session, entered, release = SafeSession(), threading.Event(), threading.Event()
    monitor = BackgroundMonitor(session, check_interval=0.02)

    def block(_event: MonitorEvent) -> None:
        entered.set()
        release.wait()

    monitor.on_event = block
    monitor.start()
    try:
        for _ in range(5):
            session.record_tool_call("Bash", {"command": "make"})
        assert entered.wait(LONG)
        for n in range(2_000):
            session.end_tool_call(session.begin_tool_call("Read", {"path": n}), "text")
        assert session.metrics.total_tool_calls == 2_005
    finally:
        release.set()
        monitor.stop()


def test_a_policy_of_the_program_adds_sinks_and_detectors(watch: Watch, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("version = 1\n[sinks.audit]\nkind = 'file'\npath = 'findings.jsonl'\n")
    monitor, events = watch(
        old_session(150), TimeoutConfig(max_session_duration=100), policy=policy
    )
    events.wait_for(1)
    assert monitor.stop()
    assert '"detector":"session_timeout"' in (tmp_path / "findings.jsonl").read_text()


def test_calls_from_many_threads_are_counted(watch: Watch) -> None:
    monitor, events = watch()
    session: SafeSession = monitor.session

    def work(thread_idx: int) -> None:
        for n in range(50):
            call = session.begin_tool_call("Read", {"path": f"{thread_idx}/{n}"})
            session.end_tool_call(call, f"text {thread_idx} {n}")

    threads = [threading.Thread(target=work, args=(idx,)) for idx in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(monitor)
    assert session.metrics.total_tool_calls == 400
    assert monitor._monitor is not None
    # The start, and a call and a result each; the ends of turns vary.
    assert monitor._monitor.counts.events >= 801
    assert monitor._monitor.counts.dropped == 0
    assert events.all == []


def test_a_subclass_may_stop_in_its_own_way() -> None:
    class Own(BackgroundMonitor):
        def stop(self) -> bool:
            self.is_running = False
            self._stop_event.set()
            assert self._thread is not None
            self._thread.join(timeout=2.0)
            return not self._thread.is_alive()

    monitor = Own(SafeSession(), TimeoutConfig())
    monitor.start()
    assert monitor.is_running
    assert monitor.stop()
    assert not monitor.is_running
    assert monitor.session._observers == ()
