"""The monitor, with the parts that belong to the interpreter."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from time import monotonic, sleep

from watchkeeper._arguments import INTEGER, MAPPING, PATH, TEXT, require
from watchkeeper._callback import Callback
from watchkeeper._watchkeeper import MonitorCore, close_gate, stop_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import datetime
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from watchkeeper._watchkeeper import Counts, Deliveries, Finding, Session

__all__ = ["Monitor", "core_of"]

# The longest time in seconds that the exit waits for interrupted callbacks.
_INTERRUPTION_TIMEOUT = 0.5
# The longest time in seconds that a fork waits for the monitor to handle the recorded events.
_FORK_TIMEOUT = 0.1
# The longest time in seconds that a stop waits for a thread without findings to end.
_JOIN_TIMEOUT = 1.0
# The queue is allocated at the start: 200 bytes for each event.
_MAX_QUEUE_CAPACITY = 1 << 20


class Monitor:
    """Watches the agents of this process.

    `policy` is a policy file, or the name of a built-in policy such as `builtin:default`.
    `policy_text` is the text of a policy. Without both, the built-in policy applies.

    `on_finding` is called for each finding: when it opens, when its severity rises, and
    when it is resolved. The function runs on a thread of the monitor, never on a thread of
    the agent, and may block. An exception is logged and counted. With `loop`, the function
    runs in this event loop, and may be a coroutine function. `async with` sets the loop of
    a coroutine function.

    `queue_capacity` is the number of recorded events that may wait, 1,024 by default and
    1,048,576 at most. Further events are dropped and counted.

    A process that `os.fork` creates does not have the threads of the monitor. It drops
    and counts its events, and logs this once. With `restart_after_fork`, it starts a new
    monitor, which the sessions record to.

    A monitor that still runs at the exit of the interpreter is stopped.
    """

    def __init__(
        self,
        policy: str | os.PathLike[str] | None = None,
        *,
        policy_text: str | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        queue_capacity: int | None = None,
        restart_after_fork: bool = False,
    ) -> None:
        if policy is not None and policy_text is not None:
            message = "set either policy or policy_text"
            raise TypeError(message)
        require(PATH, policy=policy)
        require(TEXT, policy_text=policy_text)
        require(INTEGER, queue_capacity=queue_capacity)
        _require_function(on_finding)
        if queue_capacity is not None and not 1 <= queue_capacity <= _MAX_QUEUE_CAPACITY:
            message = f"queue_capacity must be from 1 to {_MAX_QUEUE_CAPACITY:,}"
            raise ValueError(message)
        self._core = MonitorCore(policy, policy_text=policy_text, queue_capacity=queue_capacity)
        self._callback: Callback | None = None
        if on_finding is not None:
            self._callback = Callback(on_finding, loop, self._core.callback_failed)
        self._restart_after_fork = restart_after_fork
        # The findings of the present run, and the thread that calls `on_finding`.
        self._deliveries: Deliveries | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load the policy and start the monitor. Does nothing if it is running.

        Raises `PolicyError` if the policy cannot be read or is invalid, and `TypeError` if
        `on_finding` is a coroutine function without a loop.
        """
        self._start(is_after_fork=False)

    def stop(self) -> bool:
        """Handle the recorded events, deliver their findings, and stop the monitor.

        Takes no longer than `shutdown_timeout` of the policy. Returns whether everything
        was delivered by then. A callback that calls this method only requests the stop.
        """
        is_complete = self._core.stop()
        _running.pop(id(self), None)
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return is_complete
        # Another thread can be starting the monitor, and has not started this one yet.
        if is_complete and thread.is_alive():
            thread.join(_JOIN_TIMEOUT)
        return is_complete

    @property
    def is_running(self) -> bool:
        """Whether the thread of the monitor is running."""
        return self._core.is_running

    @property
    def counts(self) -> Counts:
        """The counts since the last start."""
        return self._core.counts()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until the recorded events are handled and their findings delivered.

        Waits `timeout` seconds at most. Returns whether everything was delivered by then.
        """
        return self._core.flush(timeout)

    def session(
        self,
        id: str,
        agent: str | None = None,
        *,
        cwd: str | os.PathLike[str] | None = None,
        model: str | None = None,
        version: str | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        started_at: float | datetime.datetime | None = None,
    ) -> Session:
        """Record the start of a session, and return the handle for its events.

        `agent` is the id of a sub-agent, `cwd` the folder that the agent works in, `model`
        the model, `version` the version of the agent, `parent` the session that this one
        was forked from. Findings have the `labels`. `started_at` is a time in the past.

        Raises `RuntimeError` if the monitor was never started.
        """
        if not self._core.has_started:
            message = "the monitor is not started"
            raise RuntimeError(message)
        require(TEXT, is_optional=False, id=id)
        require(TEXT, agent=agent, model=model, version=version, parent=parent)
        require(PATH, cwd=cwd)
        require(MAPPING, labels=labels)
        return self._core.session(
            id,
            agent=agent,
            cwd=cwd,
            model=model,
            version=version,
            parent=parent,
            labels=labels,
            started_at=started_at,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        import asyncio

        loop = asyncio.get_running_loop()
        if self._callback is not None:
            self._callback.enter(loop)
        # Reading the policy can take a while.
        start = loop.run_in_executor(None, self.start)
        try:
            await asyncio.shield(start)
        except asyncio.CancelledError:
            # The thread of the executor continues, also if this wait is cancelled again.
            await asyncio.shield(self._stop_after(start, loop))
            raise
        except BaseException:
            if self._callback is not None:
                self._callback.leave()
            raise
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        await self._stop_in_executor(loop)

    async def _stop_after(
        self, start: asyncio.Future[None], loop: asyncio.AbstractEventLoop
    ) -> None:
        import asyncio

        await asyncio.wait([start])
        if start.exception() is None:
            await self._stop_in_executor(loop)
        elif self._callback is not None:
            self._callback.leave()

    async def _stop_in_executor(self, loop: asyncio.AbstractEventLoop) -> None:
        await loop.run_in_executor(None, self.stop)
        if self._callback is not None:
            await self._callback.finish(loop)
            self._callback.leave()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<Monitor, {state}>"

    def _start(self, *, is_after_fork: bool) -> None:
        callback = self._callback
        if callback is not None:
            callback.require_loop()
        deliveries = self._core.start(callback is not None, is_after_fork)
        if deliveries is None:
            return
        _running[id(self)] = self
        _register_fork_hook()
        self._deliveries = self._thread = None
        if callback is not None:
            # The thread is one of Python, because the interpreter can end such a thread.
            thread = threading.Thread(
                target=self._deliver, args=(deliveries, callback), name="watchkeeper", daemon=True
            )
            self._deliveries, self._thread = deliveries, thread
            try:
                thread.start()
            except BaseException:
                self.stop()
                raise

    def _deliver(self, deliveries: Deliveries, callback: Callback) -> None:
        """Call `on_finding` for each finding of a run, on a thread of the monitor."""
        process = os.getpid()
        for finding in deliveries:
            raised = None
            try:
                callback(finding)
            except BaseException as exception:  # noqa: BLE001 - the callback may raise any
                raised = exception
            if os.getpid() != process:
                self._end_forked_process(raised)
            if isinstance(raised, SystemExit) and _is_exiting.is_set():
                return
            if raised is not None:
                deliveries.fail(raised)

    def _end_forked_process(self, raised: BaseException | None) -> None:
        """End a process that a callback has forked, and that has no other code to run."""
        code = 0
        try:
            if isinstance(raised, SystemExit):
                code = raised.code if isinstance(raised.code, int) else int(raised.code is not None)
            elif raised is not None:
                code = 1
                self._core.callback_failed(raised)
            for monitor in list(_running.values()):
                monitor.stop()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _interrupt_callback(self) -> None:
        """Raise `SystemExit` in the callback that is running, if there is one."""
        if self._thread is None or self._thread.ident is None or not self._thread.is_alive():
            return
        import ctypes

        thread = ctypes.c_ulong(self._thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SystemExit))

    def _after_fork(self) -> None:
        """Forget the threads of the parent process."""
        if self._deliveries is not None:
            self._deliveries.abandon()
        self._core.abandon()
        self._deliveries = self._thread = None
        if self._callback is not None:
            self._callback.abandon()
        if self._restart_after_fork:
            self._start(is_after_fork=True)


def _require_function(on_finding: Any) -> None:
    if on_finding is not None and not callable(on_finding):
        message = f"on_finding must be a function, not {type(on_finding).__name__}"
        raise TypeError(message)


def core_of(monitor: Monitor) -> MonitorCore:
    """Return the native part of a monitor, for the other modules of this package."""
    return monitor._core


# The monitors by their `id`: a subclass need not be hashable. A monitor is kept until its
# stop, as its threads are.
_running: dict[int, Monitor] = {}
# Set while the interpreter exits.
_is_exiting = threading.Event()


def _stop_all() -> None:
    monitors = list(_running.values())
    try:
        stop_all([monitor._core for monitor in monitors])
    finally:
        # The threads of callbacks end by themselves, or else when the interpreter ends.
        _is_exiting.set()
        for monitor in monitors:
            monitor._interrupt_callback()
        deadline = monotonic() + _INTERRUPTION_TIMEOUT
        for monitor in monitors:
            if monitor._thread is not None:
                monitor._thread.join(max(0.0, deadline - monotonic()))
        while not close_gate() and monotonic() < deadline:
            sleep(0.001)


def _before_fork() -> None:
    """Let the threads of monitors come to rest.

    The forked process has none of them, but keeps each lock that one of them holds.
    """
    for monitor in list(_running.values()):
        monitor._core.wait_handled(_FORK_TIMEOUT)


def _after_fork_in_child() -> None:
    monitors = list(_running.values())
    _running.clear()
    for monitor in monitors:
        monitor._after_fork()


@functools.cache
def _register_fork_hook() -> None:
    """Register the hook once, after those of `logging` and `threading`, which renew their locks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


atexit.register(_stop_all)
