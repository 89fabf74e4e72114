import logging
import threading

import pytest

import watchkeeper
from recording import record_failing_calls


def test_exceptions_in_a_callback_are_logged_and_counted(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(finding: watchkeeper.Finding) -> None:
        message = f"no desk for {finding.severity}"
        raise LookupError(message)

    with watchkeeper.Monitor(policy_text=policy, on_finding=refuse) as monitor:
        record_failing_calls(monitor.session("s"))
        assert monitor.flush()
        assert monitor.is_running
        assert monitor.counts.callback_errors == 2
        assert monitor.counts.lost == 2
    records = [it for it in caplog.records if it.name == "watchkeeper.callback"]
    assert [it.message for it in records] == ["a callback raised an exception"] * 2
    assert records[0].exc_info is not None
    assert str(records[0].exc_info[1]) == "no desk for medium"


def test_a_callback_that_exits_ends_nothing(policy: str) -> None:
    def leave(_: watchkeeper.Finding) -> None:
        raise SystemExit(3)

    with watchkeeper.Monitor(policy_text=policy, on_finding=leave) as monitor:
        record_failing_calls(monitor.session("s"))
        assert monitor.flush()
        assert monitor.counts.callback_errors == 2


def test_callbacks_run_on_a_thread_of_the_monitor(policy: str) -> None:
    threads: set[int] = set()
    with watchkeeper.Monitor(
        policy_text=policy, on_finding=lambda _: threads.add(threading.get_ident())
    ) as monitor:
        record_failing_calls(monitor.session("s"))
        assert monitor.flush()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_callback_may_use_the_monitor(policy: str) -> None:
    results: list[object] = []

    def use(finding: watchkeeper.Finding) -> None:
        monitor.session("other").prompt(finding.message)
        results.append((monitor.is_running, monitor.flush(20), monitor.counts.findings))

    with watchkeeper.Monitor(policy_text=policy, on_finding=use) as monitor:
        record_failing_calls(monitor.session("s"), 3)
        assert monitor.flush()
    # The monitor cannot wait for the callback that waits.
    assert results == [(True, False, 1)]


def test_a_callback_may_stop_the_monitor(policy: str) -> None:
    monitor = watchkeeper.Monitor(policy_text=policy, on_finding=lambda _: monitor.stop())
    monitor.start()
    record_failing_calls(monitor.session("s"))
    assert monitor.stop()
    assert not monitor.is_running


def test_a_stop_does_not_wait_for_a_callback_that_blocks(policy: str) -> None:
    blocked = threading.Event()
    text = f'{policy}\n[monitor]\nshutdown_timeout = "50ms"\n'
    monitor = watchkeeper.Monitor(policy_text=text, on_finding=lambda _: blocked.wait(20))
    monitor.start()
    record_failing_calls(monitor.session("s"))
    assert not monitor.flush(0.05)
    assert not monitor.stop()
    assert not monitor.is_running
    assert monitor.counts.lost == 2
    blocked.set()


def test_messages_of_the_monitor_go_to_logging(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="watchkeeper")
    with watchkeeper.Monitor(policy_text=policy, queue_capacity=1) as monitor:
        session = monitor.session("s")
        while monitor.counts.dropped == 0:
            session.prompt("p")
        assert monitor.flush()
    records = {(it.levelname, it.name, it.message.split(" dropped=")[0]) for it in caplog.records}
    assert ("WARNING", "watchkeeper.monitor", "dropped recorded events") in records
    assert any(it.message.startswith("starting the monitor") for it in caplog.records)


def test_work_without_trouble_is_not_logged(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="watchkeeper")
    with watchkeeper.Monitor(policy_text=policy, on_finding=lambda _: None) as monitor:
        record_failing_calls(monitor.session("s"))
    assert caplog.records == []
