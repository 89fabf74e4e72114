"""The connection of agents of other frameworks to the monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from watchkeeper._attach._attachment import Action, Attachment

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchkeeper._attach._decision import Act, Severity
    from watchkeeper._monitor import Monitor

__all__ = ["Action", "Attachment", "attach"]


def attach(
    x: Any,
    monitor: Monitor | None = None,
    act: Act = "observe",
    *,
    severity: Severity = "medium",
    on_action: Callable[[Action], object] | None = None,
) -> Attachment:
    """Watch the agents of an Agency Swarm `Agency` or an OpenAI Agents SDK `Agent`.

    Each run is a session of the monitor, and each run of a sub-agent a sub-agent of it.
    Agents that are handed off to, agents that are tools, and agents that the agency gets
    later are watched, too. Hooks and guardrails of the agents remain. The next runs of agents
    that are watched already use this attachment instead of the earlier one.

    The `monitor` must be running when a run begins. Without a `monitor`, the first event starts
    one with the built-in policy, for all
    attachments of the process.

    `act` is the strongest reaction to an open finding. The policy can suggest a weaker
    one by the `action` of a level. A finding without an action leads to `act` if it has at
    least `severity`:

    * `observe`: none.
    * `nudge`: a call that the agent repeats is not run. The model gets a text instead
      that explains the problem, and the run continues. Without an action of the policy,
      only findings of the classes `runaway` and `error` lead to it.
    * `stop`: the run ends with `RunStopped` before the next model call. In a stream of an
      agency, an event with the text comes first.

    `on_action` is called for each intervention, in the thread of the agent.

    Raises `TypeError` for other objects, and `ValueError` for an unknown `act` or
    `severity`.
    """
    attachment = Attachment(monitor, act, severity=severity, on_action=on_action)
    bases = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(x).__mro__}
    if "agency_swarm.Agency" in bases:
        from watchkeeper._attach._agency_swarm import watch_agency

        watch_agency(x, attachment)
    elif "agents.Agent" in bases:
        from watchkeeper._attach._openai_agents import Watcher

        Watcher(attachment).take_over(x)
    else:
        message = (
            f"cannot attach to {type(x).__name__}; use an Agency of Agency Swarm or an Agent of "
            "the OpenAI Agents SDK, or see watchkeeper.langchain and "
            "watchkeeper.claude_agent_sdk"
        )
        raise TypeError(message)
    return attachment
