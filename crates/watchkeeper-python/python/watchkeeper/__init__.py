"""Monitors LLM agents and reports those that loop, stall or overspend.

>>> import watchkeeper
>>> with watchkeeper.Monitor(on_finding=print) as monitor:
...     session = monitor.session("support-17")
...     session.prompt("Why does the build fail?")
...     with session.tool_call("Bash", {"command": "make"}) as call:
...         call.fail("no rule to make target `all`")
"""

# `typing` takes most of the time of an import. Type checkers treat this name like its own.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from watchkeeper._attach import Action, Attachment, attach
    from watchkeeper._errors import PolicyError, RunStopped
    from watchkeeper._monitor import Monitor
    from watchkeeper._report import Report, check
    from watchkeeper._watchkeeper import (
        Counts,
        Diagnostic,
        Evidence,
        Finding,
        Session,
        ToolCall,
        __version__,
    )

__all__ = [
    "Action",
    "Attachment",
    "Counts",
    "Diagnostic",
    "Evidence",
    "Finding",
    "Monitor",
    "PolicyError",
    "Report",
    "RunStopped",
    "Session",
    "ToolCall",
    "__version__",
    "attach",
    "check",
]

# The modules of the names that are not in the native module.
_MODULES = {
    "Action": "watchkeeper._attach",
    "Attachment": "watchkeeper._attach",
    "attach": "watchkeeper._attach",
    "Monitor": "watchkeeper._monitor",
    "PolicyError": "watchkeeper._errors",
    "Report": "watchkeeper._report",
    "RunStopped": "watchkeeper._errors",
    "check": "watchkeeper._report",
}


if not TYPE_CHECKING:
    # Type checkers would accept any name.
    def __getattr__(name: str) -> object:
        """Import a name on its first use.

        A program that switches the monitor off by its environment loads no native module.
        """
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib import import_module

        module = import_module(_MODULES.get(name, "watchkeeper._watchkeeper"))
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
