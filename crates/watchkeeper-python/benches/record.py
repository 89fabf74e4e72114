"""Measures what an agent waits for, beside other ways to record a tool call.

    python benches/record.py [--quick]

Prints one table. All sides run in turn in one process, so that the ratios hold on a busy
machine. Needs `opentelemetry-sdk` for one of the rows. A build with `--release` is needed
for the goals.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import watchkeeper

# The text of the arguments has about 1 KB.
ARGUMENTS = {
    "file_path": "/home/dev/shop/src/orders/service.py",
    "old_string": "    def total(self):\n        return sum(item.price for item in self.items)\n"
    * 6,
    "new_string": "    def total(self) -> Money:\n        return Money.sum(self.items)\n" * 8,
    "replace_all": False,
    "max_matches": 20,
}
# The number of calls between two waits for the monitor.
N_CALLS = 1_000

POLICY = """\
version = 1
extends = ["builtin:default"]
[monitor]
check_interval = "1h"
[sinks.console]
enabled = false
"""


def median_ns(call: Callable[[], object], n_calls: int = N_CALLS) -> float:
    """Returns the median time of a call, beyond that of an empty loop."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(n_calls):
        before = clock()
        call()
        times.append(clock() - before)
    floor = []
    for _ in range(n_calls):
        before = clock()
        floor.append(clock() - before)
    return statistics.median(times) - statistics.median(floor)


class Recorder:
    """A call to measure, and the work between two rounds of it."""

    def __init__(
        self, name: str, call: Callable[[], object], settle: Callable[[], object] | None = None
    ) -> None:
        self.name = name
        self.call = call
        self.settle = settle or (lambda: None)
        self.medians: list[float] = []

    def run(self) -> None:
        self.medians.append(median_ns(self.call))
        self.settle()

    @property
    def ns(self) -> float:
        return statistics.median(self.medians)


def watchkeeper_recorders(monitor: watchkeeper.Monitor) -> list[Recorder]:
    session = monitor.session("bench")
    kept: list[object] = []
    text = json.dumps(ARGUMENTS)

    def whole_call() -> None:
        with session.tool_call("Edit", ARGUMENTS) as call:
            call.succeed("1 replacement")

    def settle() -> None:
        kept.clear()
        if not monitor.flush(60):
            sys.exit("the monitor did not handle the events")

    return [
        Recorder(
            "tool_call, a dict", lambda: kept.append(session.tool_call("Edit", ARGUMENTS)), settle
        ),
        Recorder(
            "tool_call, a string", lambda: kept.append(session.tool_call("Edit", text)), settle
        ),
        Recorder("tool_call and its result, in a `with`", whole_call, settle),
    ]


def logging_recorder(folder: Path) -> Recorder:
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(folder / "bench.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return Recorder("logging, a line in a file", lambda: logger.info("Edit %s", ARGUMENTS))


def otel_recorder() -> Recorder | None:
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import (
            BatchSpanProcessor,
            SpanExporter,
            SpanExportResult,
        )
    except ImportError:
        return None

    class Discard(SpanExporter):
        def export(self, _: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    tracer = provider.get_tracer("bench")
    attributes = {f"gen_ai.tool.call.arguments.{name}": it for name, it in ARGUMENTS.items()}

    def span() -> None:
        with tracer.start_as_current_span("execute_tool Edit", attributes=attributes):
            pass

    return Recorder("opentelemetry, a span", span, provider.force_flush)


def import_ms(module: str, n_runs: int) -> float:
    """Returns the median time of an import, beyond that of an empty program."""

    def run(program: str) -> float:
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return (time.perf_counter() - before) * 1e3

    pairs = [(run(module), run("pass")) for _ in range(n_runs)]
    return statistics.median(a - b for a, b in pairs)


def n_threads() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return threading.active_count()
    return int(status.read_text().partition("Threads:")[2].split()[0])


def stops_ms(n_runs: int) -> list[float]:
    """Returns the times of stops of a monitor that waits for an hour."""
    times = []
    for _ in range(n_runs):
        monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda _: None)
        monitor.start()
        monitor.session("s").prompt("p")
        monitor.flush()
        before = time.perf_counter()
        monitor.stop()
        times.append((time.perf_counter() - before) * 1e3)
    return sorted(times)


def record_from_threads(n_each: int, queue_capacity: int) -> tuple[int, watchkeeper.Counts]:
    """Records from 100 threads at once. Returns the number of events, and the counts."""
    with watchkeeper.Monitor(
        policy_text=POLICY, on_finding=lambda _: None, queue_capacity=queue_capacity
    ) as monitor:
        barrier = threading.Barrier(100)

        def record(n: int) -> None:
            session = monitor.session(f"s{n}")
            barrier.wait()
            for _ in range(n_each):
                with session.tool_call("Edit", ARGUMENTS) as call:
                    call.succeed("1 replacement")

        threads = [threading.Thread(target=record, args=[n]) for n in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monitor.flush(60)
        return 100 * (1 + 2 * n_each), monitor.counts


def show(name: str, value: str, goal: str = "", *, is_met: bool = True) -> None:
    print(f"{name:<42} {value:>12}  {goal}{'' if is_met else '  (missed)'}")


def main() -> None:
    logging.getLogger("watchkeeper").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, without the goals")
    quick = parser.parse_args().quick
    n_rounds, n_imports, n_stops = (3, 3, 20) if quick else (25, 21, 1_000)

    print(f"Python {sys.version.split()[0]}, arguments of {len(json.dumps(ARGUMENTS))} bytes")
    with (
        tempfile.TemporaryDirectory() as folder,
        watchkeeper.Monitor(
            policy_text=POLICY, on_finding=lambda _: None, queue_capacity=4 * N_CALLS
        ) as monitor,
    ):
        own = watchkeeper_recorders(monitor)
        others = [logging_recorder(Path(folder))]
        span = otel_recorder()
        if span is not None:
            others.append(span)
        for _ in range(n_rounds):
            for recorder in (*own, *others):
                recorder.run()
        n_dropped = monitor.counts.dropped
    call = own[0].ns
    show(own[0].name, f"{call:,.0f} ns", "at most 1,000 ns", is_met=call <= 1_000)
    for recorder in own[1:]:
        show(recorder.name, f"{recorder.ns:,.0f} ns")
    for recorder, at_most in zip(others, (1 / 20, 1 / 5), strict=False):
        goal = f"{recorder.ns / call:.1f} times tool_call; at least {1 / at_most:.0f}"
        show(recorder.name, f"{recorder.ns:,.0f} ns", goal, is_met=call <= at_most * recorder.ns)
    show("events dropped", f"{n_dropped}", "0", is_met=n_dropped == 0)

    package = import_ms("import watchkeeper", n_imports)
    show("import watchkeeper", f"{package:.1f} ms", "at most 30 ms", is_met=package <= 30)
    names = import_ms("from watchkeeper import Monitor", n_imports)
    show("from watchkeeper import Monitor", f"{names:.1f} ms", "at most 30 ms", is_met=names <= 30)

    before = n_threads()
    monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda _: None)
    monitor.start()
    running = n_threads() - before
    monitor.stop()
    show("threads of a monitor with a callback", f"{running}", "2", is_met=running == 2)
    times = stops_ms(n_stops)
    p99 = times[int(len(times) * 0.99)]
    show(f"stop, p99 of {n_stops}", f"{p99:.1f} ms", "at most 20 ms", is_met=p99 <= 20)
    after = n_threads() - before
    show(f"threads after {n_stops} starts and stops", f"{after}", "0", is_met=after == 0)

    for queue_capacity in (1_024, 1 << 16):
        n_events, counts = record_from_threads(10 if quick else 200, queue_capacity)
        n_missing = n_events - counts.events - counts.dropped
        name = f"100 threads, a queue of {queue_capacity:,}"
        value = f"{n_missing} missing"
        goal = f"0; {counts.dropped:,} of {n_events:,} dropped and counted"
        show(name, value, goal, is_met=n_missing == 0)


if __name__ == "__main__":
    main()
