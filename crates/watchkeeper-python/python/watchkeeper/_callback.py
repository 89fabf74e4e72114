"""The function that receives the findings of a monitor."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from watchkeeper._watchkeeper import Finding

__all__ = ["Callback"]

# The longest time in seconds that `finish` waits for coroutines.
_COROUTINE_TIMEOUT = 2.0


class Callback:
    """Calls a function with findings, in the calling thread or in an event loop.

    With `loop`, the function may be a coroutine function. `on_error` receives the exceptions
    of calls in the loop; those of other calls pass on.
    """

    def __init__(
        self,
        function: Callable[[Finding], object],
        loop: asyncio.AbstractEventLoop | None,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._function = function
        self._loop = loop
        self._on_error = on_error
        # The loop is that of `enter`.
        self._has_entered = False
        # The coroutines that have not finished.
        self._tasks: set[asyncio.Future[object]] = set()

    def require_loop(self) -> None:
        """Raise `TypeError` if the function is a coroutine function, and there is no loop."""
        if self._loop is None and self._is_coroutine_function():
            message = "on_finding is a coroutine function, which needs a loop"
            raise TypeError(message)

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use a loop for a coroutine function without one, until `leave`."""
        if self._loop is None and self._is_coroutine_function():
            self._loop, self._has_entered = loop, True

    def leave(self) -> None:
        """Forget the loop of `enter`."""
        if self._has_entered:
            self._loop, self._has_entered = None, False

    async def finish(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the calls in a loop: two seconds at most for their coroutines."""
        import asyncio

        if self._loop is not loop:
            return
        # The last calls are scheduled by now, and run before this one continues.
        await asyncio.sleep(0)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_COROUTINE_TIMEOUT)

    def abandon(self) -> None:
        """Forget the coroutines, which a forked process does not continue."""
        self._tasks.clear()

    def __call__(self, finding: Finding) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._call_in_loop, finding)
            return
        result = self._function(finding)
        if hasattr(result, "__await__"):
            if hasattr(result, "close"):
                result.close()
            message = "on_finding has returned an awaitable, which needs a loop"
            raise TypeError(message)

    def _call_in_loop(self, finding: Finding) -> None:
        try:
            result = self._function(finding)
        except Exception as exception:  # noqa: BLE001 - the function may raise any
            self._on_error(exception)
            return
        if hasattr(result, "__await__"):
            self._start_coroutine(result)

    def _start_coroutine(self, awaitable: Awaitable[object]) -> None:
        import asyncio

        task = asyncio.ensure_future(awaitable)
        # The loop itself has weak references only.
        self._tasks.add(task)
        task.add_done_callback(self._end_coroutine)

    def _end_coroutine(self, task: asyncio.Future[object]) -> None:
        self._tasks.discard(task)
        exception = None if task.cancelled() else task.exception()
        if exception is not None:
            self._on_error(exception)

    def _is_coroutine_function(self) -> bool:
        import inspect

        return inspect.iscoroutinefunction(self._function)
