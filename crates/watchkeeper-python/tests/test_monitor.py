import threading
import time
from pathlib import Path
from typing import Any

import pytest

import watchkeeper
from recording import record_failing_calls, wait_until


def test_repeated_failing_calls_are_a_finding() -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(on_finding=findings.append) as monitor:
        assert monitor.is_running
        record_failing_calls(monitor.session("s", labels={"team": "search"}))
        assert monitor.flush()
    assert not monitor.is_running
    assert findings
    assert findings[0].session == "s"
    assert findings[0].status == "open"
    assert findings[0].labels["team"] == "search"
    assert monitor.counts.events == 14
    assert monitor.counts.dropped == 0


def test_all_events_are_handled(policy: str) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session(
            "s", cwd="/srv/shop", model="m", version="1", parent="p", labels={}, started_at=1e9
        )
        session.prompt("p")
        session.prompt("p", synthetic=True, at=1e9 + 1)
        session.message("m")
        session.message("m", delta=True)
        session.thinking()
        response = session.model_call("m", input_tokens=10, output_tokens=2, cost_usd=0.1)
        session.tool_call("Read", {"path": "a.md"}, "c1", response=response).succeed("text")
        session.tool_call("Bash", "make").exit(2, "error")
        session.tool_call("Bash", "make").cancel("declined")
        identity = session.tool_call("Bash", None).detach()
        session.tool_result(identity, "out", exit_code=0)
        session.handoff("reviewer")
        session.waiting()
        session.resumed()
        session.waiting("permission")
        session.resumed("permission")
        session.compaction(100_000, 20_000)
        session.error("overloaded", retry=1)
        helper = session.agent("helper")
        helper.end()
        session.turn_end()
        session.end("done")
        assert monitor.flush()
        assert (helper.id, helper.agent_id, session.agent_id) == ("s", "helper", None)
        assert monitor.counts.events == 26
        assert monitor.counts.dropped == 0


def test_a_second_start_does_nothing(policy: str) -> None:
    monitor = watchkeeper.Monitor(policy_text=policy)
    assert not monitor.is_running
    monitor.start()
    monitor.start()
    assert monitor.is_running
    assert monitor.stop()
    assert monitor.stop()
    assert not monitor.is_running


def test_a_session_needs_a_started_monitor() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        watchkeeper.Monitor().session("s")


def test_events_after_the_stop_are_dropped_and_counted(policy: str) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session("s")
    session.prompt("p")
    session.tool_call("Bash", {}).succeed()
    assert (monitor.counts.events, monitor.counts.dropped) == (1, 3)


def test_a_session_records_to_the_monitor_after_a_restart(policy: str) -> None:
    findings: list[watchkeeper.Finding] = []
    monitor = watchkeeper.Monitor(policy_text=policy, on_finding=findings.append)
    monitor.start()
    session = monitor.session("s", labels={"team": "search"})
    monitor.stop()
    monitor.start()
    record_failing_calls(session)
    assert monitor.stop()
    assert [finding.severity for finding in findings] == ["medium", "high"]
    assert findings[0].labels == {"team": "search"}


def test_a_full_queue_drops_events_at_once_and_counts_them(policy: str) -> None:
    blocked = threading.Event()
    with watchkeeper.Monitor(
        policy_text=policy, on_finding=lambda _: blocked.wait(20), queue_capacity=2
    ) as monitor:
        session = monitor.session("s")
        before = time.perf_counter()
        for _ in range(20_000):
            session.prompt("p")
        assert time.perf_counter() - before < 10
        blocked.set()
        assert monitor.flush(20)
        counts = monitor.counts
        assert counts.dropped > 0
        assert counts.events + counts.dropped == 20_001


def test_threads_lose_no_event_that_is_not_counted(policy: str) -> None:
    n_threads, n_calls = 100, 50

    def record(session: watchkeeper.Session) -> None:
        for n in range(n_calls):
            with session.tool_call("Read", {"path": f"{n}.md"}) as call:
                call.succeed("text")

    with watchkeeper.Monitor(policy_text=policy) as monitor:
        sessions = [monitor.session(f"s{n}") for n in range(n_threads)]
        threads = [threading.Thread(target=record, args=[session]) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monitor.flush(20)
        counts = monitor.counts
    assert counts.events + counts.dropped == n_threads * (2 * n_calls + 1)


def test_an_exception_in_a_block_fails_the_call_and_passes_on(policy: str) -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(policy_text=policy, on_finding=findings.append) as monitor:
        session = monitor.session("s")
        for _ in range(3):
            with pytest.raises(ValueError, match="bad"), session.tool_call("Add", {"n": "bad"}):
                int("bad")
        assert monitor.flush()
    assert len(findings) == 1


def test_an_interruption_is_not_a_failure_of_the_tool(policy: str) -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(policy_text=policy, on_finding=findings.append) as monitor:
        session = monitor.session("s")
        for _ in range(6):
            with (
                pytest.raises(KeyboardInterrupt),
                session.tool_call("Connect", {"port": 0}),
            ):
                raise KeyboardInterrupt
            # Without a result.
            session.tool_call("Connect", {"port": 0})
        assert monitor.flush()
        assert monitor.counts.events == 25
    assert findings == []


def test_only_the_first_result_of_a_call_counts(policy: str) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        with monitor.session("s").tool_call("Bash", {}) as call:
            call.succeed()
            call.fail()
            call.exit(1)
            call.cancel("timeout")
        assert monitor.flush()
        assert monitor.counts.events == 3


def test_unknown_words_are_errors(policy: str) -> None:
    with watchkeeper.Monitor(policy_text=policy) as monitor:
        session = monitor.session("s")
        with pytest.raises(ValueError, match='unknown cause "bored"'):
            session.tool_result("c", cause="bored")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="use permission or person"):
            session.waiting("rain")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not a time in seconds"):
            session.turn_end(at=float("nan"))
        with pytest.raises(TypeError, match="either policy or policy_text"):
            watchkeeper.Monitor("a.toml", policy_text="")


def test_a_stop_ends_all_threads(policy: str) -> None:
    def n_threads() -> int:
        try:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
        except OSError:
            pytest.skip("the system has no /proc")
        return int(status.partition("Threads:")[2].split()[0])

    before = n_threads()
    for _ in range(50):
        monitor = watchkeeper.Monitor(policy_text=policy, on_finding=lambda _: None)
        monitor.start()
        # A thread that has ended is counted for a moment.
        wait_until(lambda: n_threads() <= before + 2)
        assert monitor.stop()
    wait_until(lambda: n_threads() <= before)


@pytest.mark.parametrize("capacity", [0, -1, 2**20 + 1, 2**60])
def test_a_queue_has_a_bounded_size(capacity: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 1,048,576"):
        watchkeeper.Monitor(queue_capacity=capacity)


def test_a_monitor_need_not_be_hashable(policy: str) -> None:
    class Equal(watchkeeper.Monitor):  # noqa: PLW1641
        def __eq__(self, other: object) -> bool:
            return True

    with Equal(policy_text=policy) as first, Equal(policy_text=policy) as second:
        assert first.is_running
        assert second.is_running


@pytest.mark.parametrize("native", [watchkeeper.Session, watchkeeper.ToolCall])
def test_the_help_of_native_methods_names_the_types(native: type) -> None:
    methods = [name for name in vars(native) if not name.startswith("_")]
    types = ("`str`", "`bool`", "`int`", "any object", "a time", '`"person"`', '`"declined"`')
    for name in methods:
        assert any(it in (vars(native)[name].__doc__ or "") for it in types), name


@pytest.mark.parametrize(
    ("name", "value"),
    [("policy", 3), ("policy_text", b"version = 1"), ("queue_capacity", "1"), ("on_finding", 3)],
)
def test_an_error_about_a_type_names_the_argument(name: str, value: object) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=rf"^{name} must be .*, not {type(value).__name__}$"):
        watchkeeper.Monitor(**arguments)


@pytest.mark.parametrize("name", ["id", "agent", "cwd", "model", "version", "parent", "labels"])
def test_an_error_about_a_type_names_the_argument_of_a_session(name: str, policy: str) -> None:
    arguments: dict[str, Any] = {"id": "s", name: 3}
    message = rf"^{name} must be .*, not int$"
    with (
        watchkeeper.Monitor(policy_text=policy) as monitor,
        pytest.raises(TypeError, match=message),
    ):
        monitor.session(**arguments)
