"""The connection to an agency of Agency Swarm.

Agencies run agents of the OpenAI Agents SDK. The forms of an agency differ in the way in
which the end of a stopped run reaches the caller.
"""

from __future__ import annotations

import functools
import sys
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
    watcher = _AgencyWatcher(attachment, agency.name)
    for agent in agency.agents.values():
        watcher.take_over(agent)
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


class _AgencyWatcher(Watcher):
    """Watches the agents of an agency.

    The web server makes an agency of its own from the same agents, so that their
    `get_response` must raise `RunStopped`, too.
    """

    def watch(self, agent: Any) -> None:
        super().watch(agent)
        get_response = getattr(agent, "get_response", None)
        if get_response is None or hasattr(get_response, "__wrapped__"):
            return

        @functools.wraps(get_response)
        async def response(*args: Any, **kwargs: Any) -> Any:
            try:
                return await get_response(*args, **kwargs)
            except Exception as error:
                _raise_run_stopped(error)
                raise

        agent.get_response = response


def _raise_run_stopped(error: BaseException) -> None:
    """Raise the `RunStopped` that caused an exception of the framework."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RunStopped):
            raise _for_web_server(cause) from None
        cause = cause.__cause__ or cause.__context__


def _for_web_server(stopped: RunStopped) -> RunStopped:
    """Return an exception that a web server answers with the status 409 and the text."""
    starlette = sys.modules.get("starlette.exceptions")
    if starlette is None or isinstance(stopped, starlette.HTTPException):
        return stopped
    exception: RunStopped = _web_exception_type(starlette.HTTPException)(409, str(stopped))
    exception.args, exception.finding = stopped.args, stopped.finding
    return exception


@functools.cache
def _web_exception_type(base: type[Exception]) -> Any:
    # The constructor is that of `HTTPException`.
    methods = {"__init__": base.__init__, "__str__": Exception.__str__, "__module__": __name__}
    return type("RunStopped", (RunStopped, base), methods)


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
