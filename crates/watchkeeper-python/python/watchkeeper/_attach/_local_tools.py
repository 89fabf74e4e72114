"""Tools of the OpenAI Agents SDK that run in this process, and support no guardrail.

These are shells, custom tools and editors. This module wraps the function that runs them,
so that a call can be answered by a text.
"""

from __future__ import annotations

import functools
import inspect
import shlex
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from agents import FunctionTool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchkeeper._attach._run import Run

    FindRun = Callable[[Any], Run | None]

__all__ = ["is_wrapped", "wrap"]

# The attribute of a wrapped tool: the functions that find the run of a call.
_MARK = "_watchkeeper_runs"
_EDITS = ("create_file", "update_file", "delete_file")


def is_wrapped(tool: Any) -> bool:
    """Return whether the calls of a tool are recorded where they run."""
    return hasattr(tool, _MARK)


def wrap(tool: Any, find_run: FindRun) -> bool:
    """Wrap the function that runs a tool. Returns whether its calls can be answered.

    `find_run` returns the run of a context. A tool can belong to several agents.
    """
    if isinstance(tool, FunctionTool):
        return True
    if is_wrapped(tool):
        runs = getattr(tool, _MARK)
        if find_run not in runs:
            runs.append(find_run)
        return True
    runs = [find_run]
    if callable(getattr(tool, "executor", None)):
        tool.executor = _executor(tool.name, tool.executor, runs)
    elif callable(getattr(tool, "on_invoke_tool", None)):
        tool.on_invoke_tool = _custom_tool(tool.name, tool.on_invoke_tool, runs)
    elif all(callable(getattr(getattr(tool, "editor", None), edit, None)) for edit in _EDITS):
        tool.editor = _Editor(tool.name, tool.editor, runs)
    else:
        return False
    setattr(tool, _MARK, runs)
    return True


def _executor(name: str, executor: Any, runs: list[FindRun]) -> Any:
    @functools.wraps(executor)
    async def wrapper(request: Any) -> Any:
        call_id, command = request.data.call_id, _command(request.data.action)
        execute = functools.partial(executor, request)
        run = _run_of(request.ctx_wrapper, runs)
        return await _call(run, name, {"command": command}, call_id, execute)

    return wrapper


def _custom_tool(name: str, invoke: Any, runs: list[FindRun]) -> Any:
    @functools.wraps(invoke)
    async def wrapper(context: Any, text: str) -> Any:
        execute = functools.partial(invoke, context, text)
        return await _call(_run_of(context, runs), name, text, context.tool_call_id, execute)

    return wrapper


class _Editor:
    """An editor that records its operations."""

    def __init__(self, name: str, inner: Any, runs: list[FindRun]) -> None:
        self._name = name
        self._inner = inner
        self._runs = runs
        self._n_calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def create_file(self, operation: Any) -> Any:
        return await self._edit(self._inner.create_file, operation)

    async def update_file(self, operation: Any) -> Any:
        return await self._edit(self._inner.update_file, operation)

    async def delete_file(self, operation: Any) -> Any:
        return await self._edit(self._inner.delete_file, operation)

    async def _edit(self, edit: Any, operation: Any) -> Any:
        self._n_calls += 1
        names = ("type", "path", "diff", "move_to")
        arguments = {name: getattr(operation, name, None) for name in names}
        call_id = f"{self._name}-{id(self)}-{self._n_calls}"
        run = _run_of(getattr(operation, "ctx_wrapper", None), self._runs)
        return await _call(run, self._name, arguments, call_id, functools.partial(edit, operation))


def _run_of(context: Any, runs: Iterable[FindRun]) -> Run | None:
    if context is None:
        return None
    return next((run for find in runs if (run := find(context)) is not None), None)


async def _call(
    run: Run | None, tool: str, arguments: object, call_id: str, execute: Callable[[], Any]
) -> Any:
    """Run a call and record it, or return the answer to a call that must not run."""
    answer = run.before_tool(tool, arguments, call_id) if run is not None else None
    if answer is not None:
        return answer
    try:
        result = execute()
        if inspect.isawaitable(result):
            result = await result
    except BaseException as error:
        if run is not None and isinstance(error, Exception):
            run.after_tool(call_id, f"{type(error).__name__}: {error}", ok=False)
        elif run is not None:
            run.after_tool(call_id, None, cause="interrupted")
        raise
    if run is not None:
        text, ok = _output(result)
        run.after_tool(call_id, text, ok=ok)
    return result


def _command(action: Any) -> object:
    """Return the command of a shell, as text where it is known."""
    commands = getattr(action, "commands", None)
    if commands is not None:
        return "\n".join(map(str, commands))
    command = getattr(action, "command", None)
    if isinstance(command, list | tuple):
        return shlex.join(map(str, command))
    return command if command is not None else action


def _output(result: Any) -> tuple[object, bool]:
    """Return the output of a call, and whether the call succeeded."""
    if not is_dataclass(result):
        return result, True
    names = {field.name for field in fields(result)}
    if "status" in names:  # The result of an editor.
        return getattr(result, "output", None), getattr(result, "status", None) != "failed"
    outputs = getattr(result, "output", None)
    if not isinstance(outputs, list):
        return result, True
    texts = [text for output in outputs for text in (output.stdout, output.stderr) if text]
    codes = [getattr(output, "exit_code", None) for output in outputs]
    return "\n".join(texts), all(code in {0, None} for code in codes)
