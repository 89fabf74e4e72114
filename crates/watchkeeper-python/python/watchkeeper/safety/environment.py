"""A monitor that the environment switches on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .background_monitor import BackgroundMonitor
    from .monitor_event import MonitorEvent
    from .timeout_monitor import TimeoutConfig

__all__ = ["from_env"]


def from_env(
    agency: Any = None,
    config: TimeoutConfig | None = None,
    check_interval: float = 5.0,
    auto_terminate: bool = False,  # noqa: FBT001, FBT002
    *,
    on_event: Callable[[MonitorEvent], object] | None = None,
    policy: str | os.PathLike[str] | None = None,
) -> BackgroundMonitor | None:
    """Start a monitor if `USE_BACKGROUND_MONITOR` is `true`, and return it.

    `agency` is an Agency Swarm `Agency`, or an `Agent` of the OpenAI Agents SDK: its agents
    get a `SafeSessionHook` beside the hooks that they have. The session is the `session` of
    the returned monitor.

    Returns `None` if the variable is not set, or if `USE_SAFE_SESSION` is `false`. No thread
    is then started, and the native module is not loaded.

    Without `on_event`, events are printed on standard error, and held while a full-screen
    program uses the terminal. The other arguments are those of `BackgroundMonitor`.
    """
    if not (_is_on("USE_SAFE_SESSION", "true") and _is_on("USE_BACKGROUND_MONITOR", "false")):
        return None
    from .background_monitor import BackgroundMonitor
    from .safe_session import SafeSession

    session = SafeSession()
    if agency is not None:
        session.set_agent(agency)
        _add_hook(agency, session)
    console = on_event is None
    monitor = BackgroundMonitor(
        session, config, check_interval, auto_terminate, policy=policy, console=console
    )
    monitor.on_event = on_event
    monitor.start()
    return monitor


def _is_on(variable: str, default: str) -> bool:
    return os.environ.get(variable, default).strip().lower() == "true"


def _add_hook(agency: Any, session: Any) -> None:
    from .system_hooks import CombinedHook, SafeSessionHook

    hook = SafeSessionHook(session)
    agents = getattr(agency, "agents", None)
    if isinstance(agents, dict):
        agents = list(agents.values())
    for agent in agents if isinstance(agents, list) else [agency]:
        present = getattr(agent, "hooks", None)
        agent.hooks = hook if present is None else CombinedHook([present, hook])
