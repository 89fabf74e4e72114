"""The monitor, with the parts that belong to the interpreter."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any

from watchkeeper._watchkeeper import MonitorCore

if TYPE_CHECKING:
    import asyncio
    import datetime
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from watchkeeper._watchkeeper import Counts, Finding, Session

__all__ = ["Monitor"]


class Monitor:
    """Watches the agents of this process.

    `policy` is a policy file, or the name of a built-in policy such as `builtin:default`.
    `policy_text` is the text of a policy. Without both, the built-in policy applies.

    `on_finding` is called for each finding: when it opens, when its severity rises, and
    when it is resolved. The function runs on a thread of the monitor, never on a thread of
    the agent, and may block. An exception is logged and counted. With `loop`, the function
    runs in this event loop, and may be a coroutine function.

    `queue_capacity` is the number of recorded events that may wait, 1,024 by default.
    Further events are dropped and counted.

    A process that `os.fork` creates does not have the threads of the monitor. It drops
    and counts its events, and logs this once. With `restart_after_fork`, it starts a new
    monitor, which its sessions record to.

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
        self._core = MonitorCore(policy, policy_text=policy_text, queue_capacity=queue_capacity)
        self._on_finding = on_finding
        self._loop = loop
        self._restart_after_fork = restart_after_fork

    def start(self) -> None:
        """Load the policy and start the monitor. Does nothing if it is running.

        Raises `PolicyError` if the policy cannot be read or is invalid.
        """
        if self._core.start(self._on_finding):
            _started.add(self)

    def stop(self) -> bool:
        """Handle the recorded events, deliver their findings, and stop the monitor.

        Takes no longer than `shutdown_timeout` of the policy. Returns whether everything
        was delivered by then.
        """
        _started.discard(self)
        return self._core.stop()

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
        id: str,  # noqa: A002 - the name in every other place
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

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<Monitor, {state}>"


# The monitors that run. A monitor is not kept alive for its own sake, but its threads are.
_started: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _stop_all() -> None:
    for monitor in list(_started):
        monitor.stop()


def _after_fork_in_child() -> None:
    pass


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
