"""The connection of agents to a monitor."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from watchkeeper._attach._decision import Decisions
from watchkeeper._monitor import Monitor, core_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchkeeper._attach._decision import Act, Severity
    from watchkeeper._watchkeeper import Finding

__all__ = ["Action", "Attachment", "logger"]

logger = logging.getLogger("watchkeeper.attach")

# The largest number of actions that an attachment keeps.
_MAX_ACTIONS = 1000


@dataclass(frozen=True)
class Action:
    """An intervention in a run.

    `finding` is the cause, `text` the answer to the model or the message of `RunStopped`,
    `tool` the tool of a refused call.
    """

    action: Literal["nudge", "stop"]
    session: str
    agent: str | None
    tool: str | None
    text: str
    finding: Finding | None


class Attachment:
    """Records the runs of agents to a monitor, and acts on its findings.

    `actions` holds the last 1,000 interventions, oldest first.
    """

    actions: deque[Action]

    def __init__(
        self,
        monitor: Monitor | None = None,
        act: Act = "observe",
        *,
        severity: Severity = "medium",
        on_action: Callable[[Action], object] | None = None,
    ) -> None:
        Decisions[Any](act, severity)  # Raises `ValueError`.
        _check_types(monitor, on_action)
        self.actions = deque(maxlen=_MAX_ACTIONS)
        self._monitor = monitor
        self._act = act
        self._severity = severity
        self._on_action = on_action
        # The log has a line about the monitor that is not running.
        self._has_warned = False

    @property
    def monitor(self) -> Monitor:
        """The monitor. Without one, the first use starts a monitor for all attachments.

        A forked process starts a monitor of its own.
        """
        return _default.get() if self._monitor is None else self._monitor

    def check_monitor(self, session_id: str) -> None:
        """Log once that the monitor is not running, so that a session is not watched."""
        if self.monitor.is_running:
            self._has_warned = False
        elif not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the monitor is not running: session %s is not watched, nor are later sessions "
                "until its start",
                session_id,
            )

    @property
    def act(self) -> Act:
        """The kind of intervention."""
        return self._act

    def decisions(self) -> Decisions[Finding]:
        """Return the decisions for a new session."""
        return Decisions(self._act, self._severity)

    def report(self, action: Action, is_new: bool) -> None:  # noqa: FBT001
        """Keep and log an intervention. The sinks get a finding about a new one."""
        self.actions.append(action)
        logger.info("%s in session %s: %s", action.action, action.session, action.text)
        if is_new:
            core_of(self.monitor).report(action.session, action.agent, action.text)
        if self._on_action is not None:
            try:
                self._on_action(action)
            except Exception:
                logger.exception("on_action raised an exception")


def _check_types(monitor: Any, on_action: Any) -> None:
    if monitor is not None and not isinstance(monitor, Monitor):
        message = f"monitor must be a watchkeeper.Monitor, not {type(monitor).__name__}"
        raise TypeError(message)
    if on_action is not None and not callable(on_action):
        message = f"on_action must be a function, not {type(on_action).__name__}"
        raise TypeError(message)


def new_session_id(name: str | None) -> str:
    """Return an id that no other session has."""
    return f"{name or 'agent'}-{uuid.uuid4().hex[:12]}"


class _DefaultMonitor:
    """The monitor of attachments without one."""

    def __init__(self) -> None:
        self._monitor: Monitor | None = None
        # The process that has started the monitor.
        self._process: int | None = None
        self.renew_lock()

    def get(self) -> Monitor:
        """Return the monitor. The first call of each process starts it."""
        with self._lock:
            if self._monitor is None:
                self._monitor = Monitor()
            if self._process != os.getpid():
                self._monitor.start()
                self._process = os.getpid()
            return self._monitor

    def renew_lock(self) -> None:
        """Replace the lock, which a thread that a forked process does not have can hold."""
        self._lock = threading.Lock()


_default = _DefaultMonitor()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_default.renew_lock)
