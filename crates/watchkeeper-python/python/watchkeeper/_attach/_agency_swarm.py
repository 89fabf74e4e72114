"""The connection to an agency of Agency Swarm.

Agencies run agents of the OpenAI Agents SDK. The forms of an agency differ in the way in
which the end of a stopped run reaches the caller.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from watchkeeper._attach._openai_agents import Watcher
from watchkeeper._errors import RunStopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from watchkeeper._attach._attachment import Attachment

__all__ = ["watch_agency"]


def watch_agency(agency: Any, attachment: Attachment) -> None:
    """Watch the agents of an agency.

    The terminal and the web server run the same agents in agencies of their own.
    """
    watcher = Watcher(attachment, agency.name)
    for agent in agency.agents.values():
        watcher.watch(agent)
    get_response = agency.get_response
    get_response_sync = agency.get_response_sync
    get_response_stream = agency.get_response_stream

    def watch_new_agents() -> None:
        for agent in agency.agents.values():
            watcher.watch(agent)

    @functools.wraps(get_response)
    async def response(*args: Any, **kwargs: Any) -> Any:
        watch_new_agents()
        try:
            return await get_response(*args, **kwargs)
        except Exception as error:
            _raise_run_stopped(error)
            raise

    @functools.wraps(get_response_sync)
    def response_sync(*args: Any, **kwargs: Any) -> Any:
        watch_new_agents()
        try:
            return get_response_sync(*args, **kwargs)
        except Exception as error:
            _raise_run_stopped(error)
            raise

    @functools.wraps(get_response_stream)
    def response_stream(*args: Any, **kwargs: Any) -> Any:
        watch_new_agents()
        stream = get_response_stream(*args, **kwargs)
        stream._generator = _raising_at_end(stream._generator, attachment)
        return stream

    agency.get_response = response
    agency.get_response_sync = response_sync
    agency.get_response_stream = response_stream


def _raise_run_stopped(error: BaseException) -> None:
    """Raise the `RunStopped` that caused an exception of the framework."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RunStopped):
            raise cause from None
        cause = cause.__cause__ or cause.__context__


async def _raising_at_end(
    events: AsyncGenerator[Any, Any], attachment: Attachment
) -> AsyncGenerator[Any, Any]:
    """Pass on the events of a stream. Raises `RunStopped` after the last one if the run stopped.

    The framework turns the exception into an event with the text of the exception.
    """
    stopped = None
    try:
        async for event in events:
            if isinstance(event, dict) and event.get("type") == "error":
                stops = (action for action in attachment.actions if action.action == "stop")
                text = event.get("content")
                stopped = next((stop for stop in stops if stop.text == text), stopped)
            yield event
    finally:
        await events.aclose()
    if stopped is not None:
        raise RunStopped(stopped.text, stopped.finding)
