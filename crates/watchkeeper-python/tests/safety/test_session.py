import copy
import pickle
import time
from typing import Any

import pytest

from watchkeeper import RunStopped
from watchkeeper.safety import RunawayDetector, RunawayPattern, SafeSession, SessionMetrics


def test_a_new_session_is_empty() -> None:
    session = SafeSession()
    assert session.session_id != SafeSession().session_id
    assert session.metrics.tool_calls == []
    numbers = session.metrics
    assert (numbers.reasoning_steps, numbers.handoff_count) == (0, 0)
    assert (numbers.memory_peak, numbers.disk_used) == (0, 0)
    assert numbers.started_at == pytest.approx(time.time(), abs=5)
    assert (session.stop_requested, session.status) == (False, "initializing")
    assert not session.is_active()


def test_an_agent_makes_the_session_active() -> None:
    session, agent = SafeSession(), object()
    session.set_agent(agent)
    assert session._agent is agent
    assert session.is_active()
    session.request_stop("enough")
    assert not session.is_active()
    assert (session.stop_requested, session.status) == (True, "stopping")
    assert session.stop_reason == "enough"


def test_calls_have_a_name_arguments_and_a_time() -> None:
    session = SafeSession()
    session.record_tool_call("Read", {"path": "a"})
    session.metrics.record_tool_call("Bash", {"command": "ls"})
    names = [(name, args) for name, args, _ in session.metrics.tool_calls]
    assert names == [("Read", {"path": "a"}), ("Bash", {"command": "ls"})]
    first, second = (at for _, _, at in session.metrics.tool_calls)
    assert first <= second


def test_arguments_of_any_kind_are_recorded() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

        def __repr__(self) -> str:
            raise RuntimeError

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    session = SafeSession()
    hostile = Hostile()
    for _ in range(5):
        session.record_tool_call("Read", {"path": hostile})
    assert RunawayDetector(session).detect_pattern() is None
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    for _ in range(5):
        session.record_tool_call("Read", cycle)
    assert RunawayDetector(session).detect_pattern() is RunawayPattern.INFINITE_TOOL_LOOP


def test_the_latest_calls_are_kept() -> None:
    metrics = SessionMetrics()
    for n in range(10_500):
        metrics.record_tool_call("Read", {"path": n})
    assert metrics.total_tool_calls == 10_500
    assert len(metrics.tool_calls) <= 10_000
    assert metrics.tool_calls[-1][1] == {"path": 10_499}


def test_steps_and_handoffs_count_from_the_latest_progress() -> None:
    metrics = SessionMetrics()
    for _ in range(3):
        metrics.increment_reasoning_steps()
        metrics.record_handoff("planner", "coder")
    assert (metrics.steps_since_progress, metrics.handoffs_since_progress) == (3, 3)
    metrics.record_tool_call("Read", {"path": "a"})
    assert (metrics.steps_since_progress, metrics.handoffs_since_progress) == (0, 0)
    metrics.increment_reasoning_steps()
    metrics.record_tool_call("Read", {"path": "a"})
    assert metrics.steps_since_progress == 1
    assert (metrics.reasoning_steps, metrics.handoff_count) == (4, 3)


def test_the_duration_does_not_depend_on_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = SessionMetrics(started_at=time.time() - 50)
    real = time.time
    for step in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda step=step: real() + step)
        assert metrics.get_duration() == pytest.approx(50, abs=2)


def test_a_session_is_terminated_once(capsys: pytest.CaptureFixture[str]) -> None:
    session = SafeSession()
    session.terminate("over the limit")
    session.terminate("again")
    out = capsys.readouterr().out
    assert out.count("TERMINATING SESSION") == 1
    assert "over the limit" in out
    assert session.session_id in out
    assert (session.status, session.stop_requested) == ("terminated", True)
    assert session.stop_reason == "over the limit"


def test_a_stopped_session_stops_a_loop() -> None:
    session = SafeSession()
    session.raise_if_stopped()
    session.terminate("over the limit")
    with pytest.raises(RunStopped, match="over the limit"):
        session.raise_if_stopped()


def test_a_session_can_be_copied_and_pickled() -> None:
    session = SafeSession(metrics=SessionMetrics(started_at=time.time() - 50))
    session.record_tool_call("Read", {"path": "a"})
    for other in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
        assert other == session
        assert other.metrics.get_duration() == pytest.approx(50, abs=2)
        other.record_tool_call("Read", {"path": "b"})
    assert len(session.metrics.tool_calls) == 1


def test_a_call_that_is_abandoned_is_not_counted() -> None:
    session = SafeSession()
    session.abandon_tool_call(session.begin_tool_call("Bash", {}))
    call = session.begin_tool_call("Bash", {})
    session.end_tool_call(call)
    session.end_tool_call(call)
    session.end_tool_call("unknown")
    assert session.metrics.total_tool_calls == 1


@pytest.mark.parametrize("started_at", [float("nan"), float("inf"), -1e300, 10**400, None, "now"])
def test_an_impossible_start_is_the_present(started_at: float) -> None:
    session = SafeSession(metrics=SessionMetrics(started_at=started_at))
    assert session.get_duration() == pytest.approx(0, abs=5)
