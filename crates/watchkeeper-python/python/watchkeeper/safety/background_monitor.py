"""A monitor beside a session."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any

from . import _events, _policy
from ._log import logger
from ._recorder import Recorder
from .monitor_event import EventType, MonitorEvent
from .timeout_monitor import TimeoutConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchkeeper import Finding, Monitor

__all__ = ["BackgroundMonitor", "EventType", "MonitorEvent"]

# The longest wait of `stop`, in seconds, after the findings are delivered.
_JOIN_TIMEOUT = 2.0


class BackgroundMonitor:
    """Watches a session, and calls `on_event` when a limit of `config` is reached.

    `session` is a `SafeSession`, or any object with `metrics`: its numbers are read every
    `check_interval` seconds. A timeout is reported within one `check_interval` of its
    moment. Each condition is one event for each of its levels: 75, 90 and 100% of a limit,
    or a pattern of `RunawayDetector`. `on_event` runs on a thread of the monitor, and may
    block. An exception in it is logged.

    With `auto_terminate`, `session.terminate` is called once, when the session is over its
    limit or runs away with `high` severity. While `on_event` blocks, only the limit
    terminates the session.

    A process that `os.fork` creates does not watch the session, unless it starts the monitor
    again.

    `policy` is a policy file whose sinks receive the findings too, and whose detectors run
    beside those of `builtin:safe-session`. With `console`, findings are also printed on
    standard error, and held while a full-screen program uses the terminal.
    """

    def __init__(
        self,
        session: Any,
        config: TimeoutConfig | None = None,
        check_interval: float = 5.0,
        auto_terminate: bool = False,  # noqa: FBT001, FBT002
        *,
        policy: str | os.PathLike[str] | None = None,
        console: bool = False,
    ) -> None:
        self.session = session
        self.config = TimeoutConfig() if config is None else config
        self.check_interval = check_interval
        self.auto_terminate = auto_terminate
        self.policy = policy
        self.console = console
        self.on_event: Callable[[MonitorEvent], object] | None = None
        self._session_id = str(getattr(session, "session_id", None) or uuid.uuid4())
        self._lock = threading.Lock()
        self._monitor: Monitor | None = None
        self._recorder: Recorder | None = None
        self._thread: threading.Thread | None = None
        self._stop_event = threading.Event()
        # The fingerprint and the severity of each open condition that was reported.
        self._reported: set[tuple[str, str]] = set()
        self._error: str | None = None
        self._has_terminated = False
        # The session was terminated because of its limit, which no event has reported yet.
        self._owes_limit = False

    @property
    def is_running(self) -> bool:
        """Whether the session is being watched."""
        monitor, thread = self._monitor, self._thread
        if monitor is None or thread is None:
            return False
        return thread.is_alive() and monitor.is_running

    @is_running.setter
    def is_running(self, _value: bool) -> None:
        """Do nothing: subclasses written for the original set this."""

    def start(self) -> None:
        """Start to watch the session. Does nothing if the monitor is running.

        Raises `PolicyError` if the policy is invalid.
        """
        with self._lock:
            if self.is_running:
                return
            self._shut_down()
            self._stop_event = threading.Event()
            self._open()
            self._thread = threading.Thread(
                target=self._monitor_loop, daemon=True, name="SafeSessionMonitor"
            )
            self._thread.start()
            _started[id(self)] = self

    def stop(self) -> bool:
        """Deliver the findings so far, and stop.

        Returns within two seconds, also if `on_event` blocks, and within four if reading the
        session does. Returns whether everything was delivered by then; `on_event` is not
        called again afterwards.
        """
        with self._lock:
            return self._shut_down()

    def _open(self) -> Recorder:
        """Start the engine, and record what the session has counted so far."""
        from watchkeeper import Monitor

        policy = _policy.build(self.config, self.check_interval, self.policy, console=self.console)
        events = _events.Events(self.session, self.config, policy.percents)

        def on_finding(finding: Finding) -> None:
            self._on_finding(finding, policy, events)

        self._monitor = Monitor(policy_text=policy.text, on_finding=on_finding)
        self._monitor.start()
        try:
            self._recorder = Recorder(self.session, self._session_id, self._monitor)
            self._recorder.attach()
        except BaseException:
            self._close()
            raise
        return self._recorder

    def _close(self) -> bool:
        """Stop the engine. Returns whether all findings were delivered."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.detach()
        monitor, self._monitor = self._monitor, None
        is_delivered = monitor.stop() if monitor is not None else True
        if is_delivered and recorder is not None and self._owes_limit:
            # The engine checks the time once in `check_interval`, and its stop does not wait.
            self._owes_limit = False
            limit = self.config.max_session_duration
            self._emit(_events.limit_exceeded(recorder.duration(), limit))
        return is_delivered

    def _shut_down(self) -> bool:
        self._stop_event.set()
        is_delivered = self._close()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT)
            is_delivered = is_delivered and not thread.is_alive()
        return is_delivered

    def _monitor_loop(self) -> None:
        """Read the numbers of the session, until the monitor stops."""
        # A subclass written for the original starts this thread itself, and has its own `stop`.
        stop_event, recorder = self._stop_event, self._recorder or self._open()
        interval = min(max(self.check_interval, 0.001), threading.TIMEOUT_MAX)
        while not stop_event.wait(interval):
            # Here too, because `on_event` may block the findings.
            self._terminate_if_over()
            self._read(recorder)
        if self._recorder is recorder:
            self._close()

    def _read(self, recorder: Recorder) -> None:
        """Read the session once. An error is reported once, until it changes."""
        try:
            recorder.read()
        except Exception as exception:  # noqa: BLE001 - in the code of the session
            error = str(exception)
        else:
            self._error = None
            return
        if error != self._error:
            self._error = error
            self._emit(_events.error(error))

    def _on_finding(
        self, finding: Finding, policy: _policy.SessionPolicy, events: _events.Events
    ) -> None:
        if finding.status == "resolved":
            self._reported = {it for it in self._reported if it[0] != finding.fingerprint}
            return
        level = finding.fingerprint, finding.severity
        if level in self._reported:
            # The monitor was stopped and started again.
            return
        self._reported.add(level)
        is_limit = finding.detector == _policy.SESSION_TIMEOUT
        if is_limit and policy.is_passed(finding, self._first_share()):
            return
        self._terminate_if_over()
        if finding.detector in _events.PATTERNS and finding.severity == "high":
            pattern = _events.PATTERNS[finding.detector]
            self._terminate(f"Runaway pattern detected: {pattern.value}")
        if is_limit and finding.severity == "high":
            self._owes_limit = False
        recorder = self._recorder
        self._emit(events.of(finding, recorder.duration() if recorder else None))

    def _first_share(self) -> float:
        """Return the share of its limit that the session had reached when it was first read."""
        recorder, limit = self._recorder, self.config.max_session_duration
        if recorder is None:
            return 0.0
        return recorder.first_age / limit if limit else float("inf")

    def _terminate_if_over(self) -> None:
        recorder, limit = self._recorder, self.config.max_session_duration
        if recorder is None or limit is None or recorder.duration() < limit:
            return
        if self.auto_terminate and not self._has_terminated:
            # Before the session is terminated, since its owner may stop the monitor then.
            self._owes_limit = True
            self._terminate("Session timeout exceeded")

    def _terminate(self, reason: str) -> None:
        """Terminate the session once."""
        if not self.auto_terminate or self._has_terminated:
            return
        self._has_terminated = True
        try:
            self.session.terminate(reason)
        except Exception:  # noqa: BLE001 - in the code of the session
            logger.exception("cannot terminate the session")

    def _emit(self, event: MonitorEvent) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("on_event has raised an exception")

    def _abandon(self) -> None:
        """Forget the threads and the locks, which a forked process does not have."""
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        if self._recorder is not None:
            self._recorder.detach()
        self._monitor = self._recorder = self._thread = None


# The monitors that were started.
_started: weakref.WeakValueDictionary[int, BackgroundMonitor] = weakref.WeakValueDictionary()


def _after_fork_in_child() -> None:
    for monitor in list(_started.values()):
        monitor._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
