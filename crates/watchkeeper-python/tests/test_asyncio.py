import asyncio
import threading

import pytest

import watchkeeper
from recording import record_failing_calls


def test_a_coroutine_function_runs_in_the_loop(policy: str) -> None:
    findings: list[str] = []

    async def on_finding(finding: watchkeeper.Finding) -> None:
        await asyncio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        findings.append(finding.severity)

    async def main() -> watchkeeper.Counts:
        async with watchkeeper.Monitor(policy_text=policy, on_finding=on_finding) as monitor:
            record_failing_calls(monitor.session("s"))
        return monitor.counts

    counts = asyncio.run(main())
    assert findings == ["medium", "high"]
    assert counts.callback_errors == 0


def test_a_monitor_is_used_in_one_loop_after_the_other(policy: str) -> None:
    findings: list[str] = []

    async def on_finding(finding: watchkeeper.Finding) -> None:
        findings.append(finding.severity)

    monitor = watchkeeper.Monitor(policy_text=policy, on_finding=on_finding)

    async def main(session: str) -> watchkeeper.Counts:
        async with monitor:
            record_failing_calls(monitor.session(session))
        return monitor.counts

    assert [asyncio.run(main(session)).lost for session in ("a", "b")] == [0, 0]
    assert findings == ["medium", "high"] * 2


def test_an_awaitable_without_a_loop_is_an_error(policy: str) -> None:
    class Notify:
        async def __call__(self, _: watchkeeper.Finding) -> None:
            await asyncio.sleep(0)

    with watchkeeper.Monitor(policy_text=policy, on_finding=Notify()) as monitor:
        record_failing_calls(monitor.session("s"))
    assert (monitor.counts.callback_errors, monitor.counts.lost) == (2, 2)


def test_a_function_runs_in_the_given_loop(policy: str) -> None:
    threads: set[threading.Thread] = set()

    async def main() -> None:
        async with watchkeeper.Monitor(
            policy_text=policy,
            on_finding=lambda _: threads.add(threading.current_thread()),
            loop=asyncio.get_running_loop(),
        ) as monitor:
            record_failing_calls(monitor.session("s"))

    asyncio.run(main())
    assert threads == {threading.main_thread()}


def test_exceptions_in_the_loop_are_logged_and_counted(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(finding: watchkeeper.Finding) -> None:
        await asyncio.sleep(0)
        raise LookupError(finding.severity)

    def refuse_at_once(finding: watchkeeper.Finding) -> None:
        raise LookupError(finding.severity)

    async def main(on_finding: object, loop: asyncio.AbstractEventLoop | None) -> int:
        async with watchkeeper.Monitor(
            policy_text=policy,
            on_finding=on_finding,  # type: ignore[arg-type]
            loop=loop,
        ) as monitor:
            record_failing_calls(monitor.session("s"))
        return monitor.counts.callback_errors

    async def main_in_loop() -> int:
        return await main(refuse_at_once, asyncio.get_running_loop())

    assert asyncio.run(main(refuse, None)) == 2
    assert asyncio.run(main_in_loop()) == 2
    assert [it.name for it in caplog.records] == ["watchkeeper.callback"] * 4


def test_a_closed_loop_loses_findings_and_counts_them(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with watchkeeper.Monitor(policy_text=policy, on_finding=print, loop=loop) as monitor:
        record_failing_calls(monitor.session("s"))
        assert monitor.flush()
        assert (monitor.counts.callback_errors, monitor.counts.lost) == (2, 2)
    assert "Event loop is closed" in caplog.text


def test_a_cancelled_start_leaves_no_monitor(policy: str) -> None:
    entered, released = threading.Event(), threading.Event()

    class Slow(watchkeeper.Monitor):
        def start(self) -> None:
            entered.set()
            released.wait(20)
            super().start()

    async def enter(monitor: watchkeeper.Monitor) -> None:
        async with monitor:
            raise AssertionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monitor = Slow(policy_text=policy)
        task = asyncio.create_task(enter(monitor))
        await loop.run_in_executor(None, entered.wait, 20)
        task.cancel()
        loop.call_later(0.01, released.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        await loop.shutdown_default_executor()
        assert not monitor.is_running

    asyncio.run(main())


def test_a_coroutine_function_needs_a_loop(policy: str) -> None:
    async def on_finding(finding: watchkeeper.Finding) -> None: ...

    monitor = watchkeeper.Monitor(policy_text=policy, on_finding=on_finding)
    with pytest.raises(TypeError, match="needs a loop"):
        monitor.start()
    assert not monitor.is_running


def test_the_loop_runs_while_the_monitor_stops(policy: str) -> None:
    released = threading.Event()

    async def main() -> bool:
        async with watchkeeper.Monitor(
            policy_text=policy, on_finding=lambda _: released.wait(1.5)
        ) as monitor:
            record_failing_calls(monitor.session("s"), 3)
            # Runs once the block has ended, while the monitor waits for the callback.
            asyncio.get_running_loop().call_later(0.01, released.set)
        return released.is_set()

    assert asyncio.run(main())
