"""The native module."""

import datetime
import os
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TypeAlias, final

from typing_extensions import Self

__all__ = [
    "Counts",
    "Deliveries",
    "Diagnostic",
    "Evidence",
    "Finding",
    "MonitorCore",
    "Session",
    "ToolCall",
    "__version__",
    "arguments_to_json",
    "check_recorded",
    "close_gate",
    "stop_all",
]

__version__: str

_Time: TypeAlias = float | datetime.datetime
_Cause: TypeAlias = Literal[
    "declined", "blocked", "sibling", "interrupted", "timeout", "intercepted"
]
_WaitingFor: TypeAlias = Literal["permission", "person"]

@final
class Counts:
    """The counts of a monitor since its start."""

    @property
    def events(self) -> int:
        """Events that the detectors have seen."""
    @property
    def findings(self) -> int:
        """Findings that opened or escalated."""
    @property
    def suppressed(self) -> int:
        """Repeats of findings that the cooldowns of routes have suppressed."""
    @property
    def dropped(self) -> int:
        """Events that were dropped: the queue was full, or the monitor did not run."""
    @property
    def lost(self) -> int:
        """Findings that sinks and callbacks did not deliver."""
    @property
    def callback_errors(self) -> int:
        """Exceptions that callbacks have raised."""

@final
class Evidence:
    """The location of an event that contributed to a finding."""

    @property
    def file(self) -> str | None:
        """The file; `None` for an event that this process recorded."""
    @property
    def line(self) -> int | None:
        """The line, counted from 1."""
    @property
    def event(self) -> str:
        """The name of the event."""
    def __hash__(self) -> int: ...

@final
class Finding:
    """The report of a condition that a detector found. Immutable."""

    @property
    def id(self) -> str:
        """A hash of the cause: 16 hexadecimal digits."""
    @property
    def at(self) -> datetime.datetime | None:
        """The time at which the condition became true, in UTC; `None` if it is unknown."""
    @property
    def detector(self) -> str:
        """The name of the detector in the policy."""
    @property
    def replaces(self) -> str | None:
        """The detector of the previous finding with this fingerprint, if it was another one."""
    @property
    def kind(self) -> str:
        """The kind of the detector."""
    @property
    def class_(self) -> str:
        """The category of the problem: `timeout`, `runaway`, `budget`, `error` or another one."""
    @property
    def severity(self) -> Literal["low", "medium", "high"]:
        """The importance."""
    @property
    def action(self) -> Literal["observe", "nudge", "ask", "deny", "stop"] | None:
        """The reaction that the policy suggests; `None` if the policy suggests none."""
    @property
    def status(self) -> Literal["open", "resolved"]:
        """`open` while the condition holds, then `resolved`."""
    @property
    def withdrawn(self) -> bool:
        """Whether the finding is resolved only because its condition is no longer observed."""
    @property
    def count(self) -> int:
        """The number of occurrences so far."""
    @property
    def session(self) -> str:
        """The session; empty for findings about the monitor itself."""
    @property
    def agent(self) -> str | None:
        """The sub-agent; `None` for the main agent."""
    @property
    def source(self) -> str | None:
        """The kind of source that read the session; `None` for recorded events."""
    @property
    def fingerprint(self) -> str:
        """A hash that identifies the condition: 16 hexadecimal digits."""
    @property
    def labels(self) -> MappingProxyType[str, str]:
        """The labels of the policy and of the session."""
    @property
    def annotations(self) -> MappingProxyType[str, Any]:
        """The texts of the policy about the detector: `runbook_url`, `tags`, `references`."""
    @property
    def message(self) -> str:
        """A description for people, on one line."""
    @property
    def data(self) -> MappingProxyType[str, Any]:
        """The facts of the message, for programs."""
    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The events that caused the finding, oldest first."""
    def to_dict(self) -> dict[str, Any]:
        """Return a new dictionary with the fields of the JSON form."""
    def to_json(self) -> str:
        """Return the JSON form, on one line."""
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: object, /) -> Self: ...

@final
class Diagnostic:
    """An error or a warning about a policy."""

    def __new__(
        cls,
        path: str,
        message: str,
        *,
        level: Literal["error", "warning"] = "error",
        line: int | None = None,
        column: int | None = None,
        notes: list[str] = ...,
        fix: str | None = None,
    ) -> Self: ...
    @property
    def path(self) -> str:
        """The file, or the name of a built-in policy."""
    @property
    def line(self) -> int | None:
        """The line, counted from 1; `None` if the file cannot be read."""
    @property
    def column(self) -> int | None:
        """The column in characters, counted from 1; `None` if the file cannot be read."""
    @property
    def level(self) -> Literal["error", "warning"]:
        """The level."""
    @property
    def message(self) -> str:
        """The message."""
    @property
    def notes(self) -> list[str]:
        """Additional information."""
    @property
    def fix(self) -> str | None:
        """A suggested correction, such as a name to use instead."""
    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, Any]]: ...

@final
class ToolCall:
    """A tool call without a result yet.

    Records the first result; later ones are ignored. A call whose handle is dropped without
    a result is recorded as interrupted.
    """

    @property
    def id(self) -> str:
        """The id of the call."""
    def succeed(self, output: object = None) -> None:
        """Record that the tool did what the call requested."""
    def fail(self, output: object = None) -> None:
        """Record that the tool failed."""
    def exit(self, exit_code: int, output: object = None) -> None:
        """Record the result of a command. Any exit code but 0 is a failure."""
    def cancel(self, cause: _Cause) -> None:
        """Record that the call has no result of its tool.

        Raises `ValueError` if the cause is unknown.
        """
    def detach(self) -> str:
        """Leave the call without a result, which `Session.tool_result` records.

        Returns the id.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        _traceback: TracebackType | None,
    ) -> Literal[False]:
        """Record a failure if the block raised an exception, and otherwise a success.

        Does nothing if the block recorded a result. The exception passes on.
        """

@final
class Session:
    """Records the events of one session, from any thread.

    No method waits: if too many events are waiting, the event is dropped and counted.
    `at` is the time of the event in seconds since the epoch, or a `datetime` with a time
    zone; by default it is the present. Text that is not a string is converted with `str`.
    """

    @property
    def id(self) -> str:
        """The id of the session."""
    @property
    def agent_id(self) -> str | None:
        """The id of the sub-agent; `None` for the main agent."""
    def agent(self, id: str) -> Session:
        """Record the start of a sub-agent, and return the handle for its events."""
    def prompt(self, text: object, *, synthetic: bool = False, at: _Time | None = None) -> None:
        """Record a prompt. A `synthetic` one was sent by the program and not by a person."""
    def message(self, text: object, *, delta: bool = False, at: _Time | None = None) -> None:
        """Record a message of the agent. A `delta` is a streamed piece of the message."""
    def thinking(self, text: object = None, *, at: _Time | None = None) -> None:
        """Record reasoning of the model, without a text if it is hidden."""
    def tool_call(
        self,
        name: str,
        arguments: object = None,
        id: str | None = None,
        *,
        response: str | None = None,
        at: _Time | None = None,
    ) -> ToolCall:
        """Record a tool call, and return the handle for its result.

        `arguments` is any object with a form in JSON. A string is JSON text, or plain text
        if it is not valid JSON. `id` must differ for each call of the session; by default
        the monitor makes one. `response` is the id of the model call that requested the
        tool call: the calls of one response are parallel, and count as one step.
        """
    def tool_result(
        self,
        id: str,
        output: object = None,
        *,
        ok: bool = True,
        exit_code: int | None = None,
        cause: _Cause | None = None,
        at: _Time | None = None,
    ) -> None:
        """Record the result of the tool call `id`.

        An exit code but 0 and a `cause` make the call fail. Raises `ValueError` if the cause
        is unknown.
        """
    def model_call(
        self,
        model: str | None = None,
        *,
        id: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        reasoning_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        cost_usd: float | None = None,
        context_tokens: int | None = None,
        at: _Time | None = None,
    ) -> str:
        """Record a response of a model, and return its id.

        `input_tokens` excludes the tokens of the cache; `output_tokens` includes reasoning.
        Without `cost_usd` in US dollars, the cost is computed from the prices of the policy.
        `context_tokens` is the size of the model's context window. A call with the id of an
        earlier one replaces it.
        """
    def handoff(self, to: str, *, at: _Time | None = None) -> None:
        """Record that the agent hands its work to another agent."""
    def waiting(self, waiting_for: _WaitingFor = "person", *, at: _Time | None = None) -> None:
        """Record that the agent waits for a person.

        This time is not counted as inactivity. Raises `ValueError` for other words.
        """
    def resumed(self, waited_for: _WaitingFor = "person", *, at: _Time | None = None) -> None:
        """Record that the agent no longer waits for a person."""
    def compaction(
        self,
        before_tokens: int | None = None,
        after_tokens: int | None = None,
        *,
        at: _Time | None = None,
    ) -> None:
        """Record a compaction of the context, with its size in tokens before and after."""
    def error(self, message: object, *, retry: int | None = None, at: _Time | None = None) -> None:
        """Record an error outside the tools, such as a failed request to the model.

        `retry` is the number of the failed attempt, counted from 1, if another one follows.
        """
    def turn_end(self, *, at: _Time | None = None) -> None:
        """Record the end of the turn: the agent has done what the prompt requested."""
    def end(self, reason: str | None = None, *, at: _Time | None = None) -> None:
        """Record the end of the session, or of the sub-agent."""

@final
class Deliveries:
    """The findings of one run of a monitor, for the thread that calls `on_finding`."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Finding: ...
    def fail(self, exception: BaseException) -> None: ...
    def abandon(self) -> None: ...

@final
class MonitorCore:
    """The monitor without the parts that belong to the interpreter."""

    def __new__(
        cls,
        policy: str | os.PathLike[str] | None = None,
        *,
        policy_text: str | None = None,
        queue_capacity: int | None = None,
    ) -> Self: ...
    @property
    def is_running(self) -> bool: ...
    @property
    def has_started(self) -> bool: ...
    def start(self, takes_findings: bool, is_after_fork: bool) -> Deliveries | None: ...
    def stop(self) -> bool: ...
    def flush(self, timeout: float) -> bool: ...
    def watch(self, session: str) -> None: ...
    def open_findings(self, session: str, timeout: float | None = None) -> list[Finding]: ...
    def wait_handled(self, timeout: float) -> bool: ...
    def handle_soon(self) -> None: ...
    def forget(self, session: str) -> None: ...
    def report(self, session: str, agent: str | None, message: str) -> None: ...
    def counts(self) -> Counts: ...
    def session(
        self,
        id: str,
        *,
        agent: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        model: str | None = None,
        version: str | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        started_at: _Time | None = None,
    ) -> Session: ...
    def abandon(self) -> bool: ...
    def callback_failed(self, exception: BaseException) -> None: ...

def arguments_to_json(arguments: object) -> str:
    """Return the JSON text that `Session.tool_call` records for these arguments."""

def check_recorded(
    paths: list[str] | None,
    policy: str | os.PathLike[str] | None,
    policy_text: str | None,
    *,
    source: str | None = None,
    since: _Time | None = None,
    until: _Time | None = None,
    min_severity: Literal["low", "medium", "high"] | None = None,
) -> tuple[dict[str, Any], list[Finding]]:
    """Check recorded sessions. Return the JSON form of the report, and the findings."""

def close_gate() -> bool:
    """Keep native code from beginning to call Python code, for the exit of the interpreter.

    Returns whether no such call is running any more.
    """

def stop_all(monitors: list[MonitorCore]) -> None:
    """Stop several monitors at the same time."""
