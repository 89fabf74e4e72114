"""Fork, and the end of the interpreter."""

import os
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]

SETUP = """
import logging, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
import watchkeeper
POLICY = '''
version = 1
[detectors.errors]
kind = "error-loop"
of = "failure"
levels = [{ at = 3, severity = "medium" }]
'''
def fail(session, n_calls=3):
    for _ in range(n_calls):
        session.tool_call("Bash", {"command": "make"}).fail("no rule")
def never_end():
    while True:
        try:
            time.sleep(0.001)
        except BaseException:
            pass
"""


def test_a_running_monitor_delivers_its_findings_at_exit(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: print(it.severity))
monitor.start()
fail(monitor.session("s"))
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "medium\n", "")


def test_a_monitor_without_a_reference_runs_until_the_exit(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
import gc
session = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: print(it.severity))
session.start()
session = session.session("s")
gc.collect()
fail(session)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "medium\n", "")


@pytest.mark.parametrize(
    "callback",
    [
        "threading.Event().wait()",
        "time.sleep(1000)",
        "[time.sleep(0.0001) for _ in iter(int, 1)]",
        "[None for _ in iter(int, 1)]",
        "[monitor.flush(1) for _ in iter(int, 1)]",
        "[monitor.session('t').prompt('p') for _ in iter(int, 1)]",
        "never_end()",
    ],
)
def test_the_process_exits_while_a_callback_runs(run_python: Run, callback: str) -> None:
    done = run_python(
        SETUP
        + f"""
logging.disable()
text = POLICY + '[monitor]\\nshutdown_timeout = "100ms"'
monitor = watchkeeper.Monitor(policy_text=text, on_finding=lambda _: {callback})
monitor.start()
fail(monitor.session("s"))
assert not monitor.flush(0.1)
print("end")
sys.exit(7)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "end\n", "")


def test_blocked_monitors_stop_at_the_same_time(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
import atexit
logging.disable()
text = POLICY + '[monitor]\\nshutdown_timeout = "1s"'
def show():
    print(time.monotonic() - before < 5)
atexit.register(show)
monitors = [
    watchkeeper.Monitor(policy_text=text, on_finding=lambda _: never_end()) for _ in range(10)
]
for monitor in monitors:
    monitor.start()
    fail(monitor.session("s"))
    assert not monitor.flush(0.01)
before = time.monotonic()
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.skipif(not hasattr(os, "kill"), reason="the system has no signals")
@pytest.mark.parametrize(
    "wait",
    ["monitor.flush(60)", "monitor.stop()", "watchkeeper.check(f'/dev/fd/{os.pipe()[0]}')"],
)
def test_ctrl_c_interrupts_a_wait(run_python: Run, wait: str) -> None:
    done = run_python(
        SETUP
        + f"""
import signal
def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()
text = POLICY + '[monitor]\\nshutdown_timeout = "60s"'
monitor = watchkeeper.Monitor(policy_text=text, on_finding=interrupt)
monitor.start()
try:
    fail(monitor.session("s"))
    {wait}
    print("not interrupted")
    threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
os._exit(3)
"""
    )
    assert (done.returncode, done.stdout) == (3, "interrupted\n"), done.stderr


def test_the_process_exits_by_an_exception(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
with watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: print(it.severity)) as monitor:
    fail(monitor.session("s"))
    raise SystemExit(5)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "medium\n", "")


def test_daemon_threads_may_record_until_the_exit(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
logging.disable()
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: None)
monitor.start()
session = monitor.session("s")
started = threading.Event()
def record():
    while True:
        fail(session, 1)
        started.set()
for _ in range(4):
    threading.Thread(target=record, daemon=True).start()
started.wait()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@needs_fork
def test_a_forked_process_drops_events_and_logs_this_once(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: print(it.severity))
monitor.start()
session = monitor.session("s")
pid = os.fork()
if pid == 0:
    assert not monitor.is_running
    fail(session)
    fail(monitor.session("t"))
    assert (monitor.counts.events, monitor.counts.dropped) == (0, 12), monitor.counts
    assert monitor.stop()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert monitor.is_running
fail(session)
"""
    )
    assert (done.returncode, done.stdout) == (0, "medium\n"), done.stderr
    assert done.stderr.count("watchkeeper.monitor WARNING") == 1
    assert "does not run in this forked process" in done.stderr


@needs_fork
def test_a_monitor_restarts_after_a_fork(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
def show(finding):
    print(os.getpid() == parent, finding.severity, finding.labels["team"], flush=True)
parent = os.getpid()
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=show, restart_after_fork=True)
monitor.start()
session = monitor.session("s", labels={"team": "search"})
pid = os.fork()
if pid == 0:
    assert monitor.is_running
    fail(session)
    assert monitor.stop()
    assert monitor.counts.dropped == 0
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
fail(session)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "False medium search\nTrue medium search\n"


@needs_fork
def test_a_fork_while_threads_record_does_not_hang(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
logging.disable()
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: None, queue_capacity=8)
monitor.start()
session = monitor.session("s")
ended = threading.Event()
def record():
    while not ended.is_set():
        fail(session, 1)
threads = [threading.Thread(target=record) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        fail(session)
        with watchkeeper.Monitor(policy_text=POLICY) as other:
            fail(other.session("s"))
        os._exit(0 if other.counts.events == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
ended.set()
for thread in threads:
    thread.join()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_fork
@pytest.mark.parametrize("restart_after_fork", ["False", "True"])
def test_a_callback_may_fork(run_python: Run, restart_after_fork: str) -> None:
    done = run_python(
        SETUP
        + f"""
logging.disable()
parent, codes = os.getpid(), []
def fork(finding):
    if os.getpid() != parent:
        print("restarted")
        return
    pid = os.fork()
    if pid == 0:
        print("child")
        fail(session)
        if end == "_exit":
            sys.stdout.flush()
            os._exit(0 if monitor.is_running == {restart_after_fork} else 1)
        if end == "exit":
            sys.exit(3)
    else:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
for end in ("_exit", "exit", "return"):
    monitor = watchkeeper.Monitor(
        policy_text=POLICY, on_finding=fork, restart_after_fork={restart_after_fork}
    )
    with monitor:
        session = monitor.session("s")
        fail(session)
        assert monitor.flush(15)
assert codes == [0, 3, 0], codes
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("child") == 3
    # `os._exit` does not wait for the monitor.
    assert done.stdout.count("restarted") >= (2 if restart_after_fork == "True" else 0)


@needs_fork
def test_a_restart_after_a_fork_logs_nothing_in_the_hook(run_python: Run) -> None:
    done = run_python(
        """
import watchkeeper
watchkeeper.Monitor
import logging, os, threading
class Held(logging.Handler):
    def emit(self, record):
        if record.name == "app":
            holding.set()
            released.wait()
holding, released = threading.Event(), threading.Event()
logging.basicConfig(level=logging.DEBUG, handlers=[Held()])
monitor = watchkeeper.Monitor(policy_text="version = 1", restart_after_fork=True)
monitor.start()
thread = threading.Thread(target=logging.getLogger("app").warning, args=("held",))
thread.start()
holding.wait()
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
pid = os.fork()
if pid == 0:
    os._exit(0 if monitor.is_running else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
released.set()
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_fork
def test_a_fork_waits_until_the_recorded_events_are_handled(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
# The hooks run in reverse order, this one after that of the monitor.
os.register_at_fork(before=lambda: print(monitor.counts.events, flush=True))
monitor = watchkeeper.Monitor(policy_text=POLICY)
monitor.start()
session = monitor.session("s")
fail(session, 20)
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "41\n", "")


@needs_fork
def test_a_process_of_multiprocessing_ends(run_python: Run) -> None:
    done = run_python(
        SETUP
        + """
import multiprocessing
logging.disable()
def work(n):
    fail(session)
    return n
monitor = watchkeeper.Monitor(policy_text=POLICY, on_finding=lambda it: None)
monitor.start()
session = monitor.session("s")
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(8)) == list(range(8))
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_loads_no_native_module(run_python: Run) -> None:
    done = run_python(
        "import sys, watchkeeper, threading\n"
        "print('watchkeeper._watchkeeper' in sys.modules, threading.active_count())\n"
        "assert 'Monitor' in dir(watchkeeper)\n"
        "watchkeeper.Monitor\n"
        "print('watchkeeper._watchkeeper' in sys.modules, 'asyncio' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("False 1\nTrue False\n", "")
