import time
import types

import pytest

from watchkeeper.safety import (
    RunawayDetector,
    RunawayPattern,
    SafeSession,
    SessionMetrics,
    TimeoutConfig,
    TimeoutMonitor,
)


def timeout_monitor(age: float, **limits: float) -> TimeoutMonitor:
    session = SafeSession(metrics=SessionMetrics(started_at=time.time() - age))
    return TimeoutMonitor(session, TimeoutConfig(max_session_duration=100, **limits))


def test_the_defaults_of_the_limits() -> None:
    config = TimeoutConfig()
    assert (config.max_session_duration, config.turn_timeout, config.tool_timeout) == (
        1800,
        300,
        120,
    )
    assert (config.warning_threshold_75, config.warning_threshold_90) == (0.75, 0.90)


@pytest.mark.parametrize("limit", [-1, -0.001, float("nan")])
@pytest.mark.parametrize("name", ["max_session_duration", "turn_timeout", "tool_timeout"])
def test_a_limit_is_not_negative(name: str, limit: float) -> None:
    message = f"{name} must be a number of seconds from 0, not {limit!r}"
    with pytest.raises(ValueError, match=message):
        TimeoutConfig(**{name: limit})
    config = TimeoutConfig()
    with pytest.raises(ValueError, match=message):
        setattr(config, name, limit)


def test_a_warning_is_given_once_and_a_timeout_each_time() -> None:
    assert timeout_monitor(50).check_timeout() is None
    monitor = timeout_monitor(75)
    assert monitor.check_timeout() == "WARNING: Session at 75% of timeout (75s / 100s)"
    assert monitor.check_timeout() is None
    assert monitor.warnings_sent == ["75%"]
    monitor.reset_warnings()
    assert monitor.check_timeout() is not None
    monitor = timeout_monitor(90)
    assert monitor.check_timeout() == "WARNING: Session at 90% of timeout (90s / 100s)"
    assert monitor.check_timeout() is None
    monitor = timeout_monitor(150)
    for _ in range(2):
        message = "TIMEOUT: Session exceeded maximum duration (150s / 100s)"
        assert monitor.check_timeout() == message
    assert monitor.get_time_remaining() == pytest.approx(-50, abs=2)
    assert monitor.session.status == "initializing"


def test_the_values_of_the_patterns() -> None:
    values = {pattern.name: pattern.value for pattern in RunawayPattern}
    assert values == {
        "INFINITE_TOOL_LOOP": "infinite_tool_loop",
        "EXCESSIVE_REASONING": "excessive_reasoning",
        "ESCALATION_SPIRAL": "escalation_spiral",
    }


def test_equal_calls_are_a_loop() -> None:
    session = SafeSession()
    detector = RunawayDetector(session)
    for _ in range(4):
        session.record_tool_call("Bash", {"command": "make"})
    assert detector.detect_pattern() is None
    assert RunawayDetector(session, 4).detect_pattern() is RunawayPattern.INFINITE_TOOL_LOOP
    session.record_tool_call("Bash", {"command": "make"})
    assert detector.detect_pattern() is RunawayPattern.INFINITE_TOOL_LOOP
    session.record_tool_call("Bash", {"command": "make install"})
    assert detector.detect_pattern() is None
    assert detector.get_pattern_details() == {
        "total_tool_calls": 6,
        "recent_tool_pattern": ["Bash"] * 5,
        "reasoning_steps": 0,
        "handoff_count": 0,
        "thresholds": {"same_tool": 5, "reasoning": 50, "handoffs": 10},
    }


def test_steps_and_handoffs_count_without_progress() -> None:
    session = SafeSession()
    detector = RunawayDetector(session)
    session.metrics.reasoning_steps = 50
    session.metrics.handoff_count = 10
    assert detector.detect_pattern() is None
    session.metrics.reasoning_steps = 51
    assert detector.detect_pattern() is RunawayPattern.EXCESSIVE_REASONING
    session.record_tool_call("Read", {"path": "a"})
    assert detector.detect_pattern() is None
    session.metrics.handoff_count += 11
    assert detector.detect_pattern() is RunawayPattern.ESCALATION_SPIRAL


def test_any_object_with_metrics_is_checked() -> None:
    metrics = types.SimpleNamespace(tool_calls=[], reasoning_steps=51, handoff_count=0)
    session = types.SimpleNamespace(metrics=metrics)
    pattern = RunawayDetector(session).detect_pattern()  # type: ignore[arg-type]
    assert pattern is RunawayPattern.EXCESSIVE_REASONING


def test_each_pattern_has_a_message() -> None:
    detector = RunawayDetector(SafeSession(), 3, 20, 4)
    messages = [detector.get_detection_message(pattern) for pattern in (*RunawayPattern, None)]
    assert messages == [
        "Same tool called 3+ times in a row",
        "More than 20 reasoning steps without progress",
        "More than 4 agent handoffs detected",
        "No runaway pattern detected",
    ]
