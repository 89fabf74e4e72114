"""The identity of tool calls."""

from __future__ import annotations

import json

__all__ = ["call_key"]


# The types whose values are compared without their JSON.
_SIMPLE = frozenset({str, int, float, bool, type(None)})


def call_key(tool: str, arguments: object) -> tuple[str, object]:
    """Return a key that is equal for identical calls. Never raises an exception.

    `arguments` is JSON text or an object with a form in JSON. The order of keys and the
    white space of JSON do not matter. Arguments without a text differ from all others.
    """
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return tool, str(arguments)
    if type(arguments) is dict and all(type(value) in _SIMPLE for value in arguments.values()):
        return tool, frozenset((key, type(value), value) for key, value in arguments.items())
    try:
        return tool, json.dumps(arguments, sort_keys=True, default=str)
    except Exception:  # noqa: BLE001 - in the code of the arguments
        return tool, _representation(arguments)


def _representation(arguments: object) -> str:
    try:
        return repr(arguments)
    except Exception:  # noqa: BLE001 - in the code of the arguments
        return f"<{id(arguments)}>"
