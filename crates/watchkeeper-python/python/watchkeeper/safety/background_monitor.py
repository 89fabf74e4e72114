"""A monitor beside a session."""

from __future__ import annotations

import math
import os
import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any

from . import _policy
from ._recorder import Recorder
from ._terminal import logger
from .monitor_event import EventType, MonitorEvent
from .runaway_detector import RunawayDetector, RunawayPattern
from .timeout_monitor import TimeoutConfig, exceeded, warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchkeeper import Finding, Monitor

__all__ = ["BackgroundMonitor", "EventType", "MonitorEvent"]

# The longest wait of `stop`, in seconds, after the findings are delivered.
_JOIN_TIMEOUT = 2.0

_PATTERNS = {
    "infinite_tool_loop": RunawayPattern.INFINITE_TOOL_LOOP,
    "infinite_tool_cycle": RunawayPattern.INFINITE_TOOL_LOOP,
    "excessive_reasoning": RunawayPattern.EXCESSIVE_REASONING,
    "escalation_spiral": RunawayPattern.ESCALATION_SPIRAL,
}
_SUBJECTS = {"session_timeout": "Session", "turn_timeout": "Turn", "tool_timeout": "Tool call"}


class BackgroundMonitor:
    """Watches a session, and calls `on_event` when a limit of `config` is reached.

    `session` is a `SafeSession`, or any object with `metrics`: its numbers are read every
    `check_interval` seconds. A timeout is reported within one `check_interval` of its
    moment. Each condition is one event for each of its levels: 75, 90 and 100% of a limit,
    or a pattern of `RunawayDetector`. `on_event` runs on a thread of the monitor, and may
    block. An exception in it is logged.

    With `auto_terminate`, a session over its limit is terminated, once.

    A process that `os.fork` creates does not watch the session, unless it starts the monitor
    again.

    `policy` is a policy file whose sinks receive the findings too, and whose detectors run
    beside those of `builtin:safe-session`.
    """

    def __init__(
        self,
        session: Any,
        config: TimeoutConfig | None = None,
        check_interval: float = 5.0,
        auto_terminate: bool = False,  # noqa: FBT001, FBT002
        *,
        policy: str | os.PathLike[str] | None = None,
    ) -> None:
        self.session = session
        self.config = TimeoutConfig() if config is None else config
        self.check_interval = check_interval
        self.auto_terminate = auto_terminate
        self.policy = policy
        self.on_event: Callable[[MonitorEvent], object] | None = None
        self._prints = False
        self._session_id = str(getattr(session, "session_id", None) or uuid.uuid4())
        self._lock = threading.Lock()
        self._monitor: Monitor | None = None
        self._recorder: Recorder | None = None
        self._thread: threading.Thread | None = None
        self._stop_event = threading.Event()
        self._percents: dict[str, int] = {}
        # The fingerprint and the severity of each open condition that was reported.
        self._reported: set[tuple[str, str]] = set()
        self._error: str | None = None
        self._has_terminated = False
        self._has_reported_limit = False

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
            _started.add(self)

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

        built = _policy.build(self.config, self.check_interval, self.policy, prints=self._prints)
        self._percents = built.percents
        self._monitor = Monitor(policy_text=built.text, on_finding=self._on_finding)
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
        if is_delivered and recorder is not None and self._has_terminated:
            self._report_limit(recorder)
        return is_delivered

    def _report_limit(self, recorder: Recorder) -> None:
        """Report the limit that has terminated the session, unless the engine has reported it.

        The engine checks the time once in `check_interval`, and `stop` does not wait for it.
        """
        if self._has_reported_limit:
            return
        self._has_reported_limit = True
        elapsed, limit = recorder.duration(), self.config.max_session_duration
        data = {"elapsed": elapsed, "max_duration": limit}
        message = exceeded("Session", elapsed, limit)
        self._emit(MonitorEvent(EventType.TIMEOUT.value, message, "high", data))

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
        stop_event, recorder = self._stop_event, self._recorder or self._open()
        interval = min(max(self.check_interval, 0.001), threading.TIMEOUT_MAX)
        while not stop_event.wait(interval):
            # Here too, because `on_event` may block the findings.
            self._terminate_if_over()
            self._read(recorder)
        if self._recorder is recorder:
            # A subclass has its own `stop`.
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
        if error == self._error:
            return
        self._error = error
        message = f"Check session error: {error}"
        data = {"error": error}
        self._emit(MonitorEvent(EventType.ERROR.value, message, "low", data))

    def _on_finding(self, finding: Finding) -> None:
        if finding.status == "resolved":
            self._reported = {it for it in self._reported if it[0] != finding.fingerprint}
            return
        level = finding.fingerprint, finding.severity
        if level in self._reported:
            # The monitor was stopped and started again.
            return
        self._reported.add(level)
        if self._is_old_warning(finding):
            return
        self._terminate_if_over()
        self._emit(self._event(finding))

    def _is_old_warning(self, finding: Finding) -> bool:
        """Return whether the session had reached a higher level when it was first read."""
        recorder = self._recorder
        limit = self.config.max_session_duration
        if finding.detector != _policy.SESSION_TIMEOUT or recorder is None:
            return False
        percent = 100 * recorder.first_age / limit if limit else math.inf
        reached = [it for it in self._percents if self._percents[it] <= percent]
        return finding.severity in reached[:-1]

    def _terminate_if_over(self) -> None:
        recorder = self._recorder
        if not self.auto_terminate or self._has_terminated or recorder is None:
            return
        limit = self.config.max_session_duration
        if limit is None or recorder.duration() < limit:
            return
        self._has_terminated = True
        try:
            self.session.terminate("Session timeout exceeded")
        except Exception:  # noqa: BLE001 - in the code of the session
            logger.exception("cannot terminate the session")

    def _emit(self, event: MonitorEvent) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001 - logged
            logger.exception("on_event has raised an exception")

    def _event(self, finding: Finding) -> MonitorEvent:
        if finding.detector in _policy.LIMITS:
            return self._timeout(finding)
        if finding.detector in _PATTERNS:
            return self._runaway(finding)
        data = dict(finding.data)
        if finding.class_ == EventType.ERROR.value:
            data.setdefault("error", finding.message)
        return MonitorEvent(finding.class_, finding.message, finding.severity, data, finding)

    def _timeout(self, finding: Finding) -> MonitorEvent:
        limit = getattr(self.config, _policy.LIMITS[finding.detector])
        subject = _SUBJECTS[finding.detector]
        elapsed = float(finding.data["elapsed_seconds"])
        data = {"elapsed": elapsed, "max_duration": limit}
        recorder = self._recorder
        if finding.detector == _policy.SESSION_TIMEOUT and recorder is not None:
            elapsed = data["elapsed"] = recorder.duration()
        if "tool" in finding.data:
            data["tool"] = finding.data["tool"]
            subject += f" {data['tool']}"
        if finding.severity == "high":
            self._has_reported_limit |= finding.detector == _policy.SESSION_TIMEOUT
            severity, message = "high", exceeded(subject, elapsed, limit)
        else:
            percent = self._percents[finding.severity]
            severity, message = "medium", warning(subject, percent, elapsed, limit)
        return MonitorEvent(EventType.TIMEOUT.value, message, severity, data, finding)

    def _runaway(self, finding: Finding) -> MonitorEvent:
        pattern = _PATTERNS[finding.detector]
        detector = RunawayDetector(self.session)
        message = detector.get_detection_message(pattern)
        if finding.detector != pattern.value:
            message = finding.message
        try:
            details = detector.get_pattern_details()
        except AttributeError:
            details = {}
        data = {**finding.data, "pattern": pattern.value, "details": details}
        return MonitorEvent(EventType.RUNAWAY.value, message, finding.severity, data, finding)

    def _abandon(self) -> None:
        """Forget the threads and the locks, which a forked process does not have."""
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        if self._recorder is not None:
            self._recorder.detach()
        self._monitor = self._recorder = self._thread = None


# The monitors that were started.
_started: weakref.WeakSet[BackgroundMonitor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for monitor in list(_started):
        monitor._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
