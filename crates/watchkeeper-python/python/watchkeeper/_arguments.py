"""Checks of the types of arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["INTEGER", "MAPPING", "PATH", "TEXT", "require"]

# The types of an argument, and a description of them.
TEXT = str, "a str"
PATH = (str, os.PathLike), "a str or a path"
INTEGER = int, "an int"
MAPPING = Mapping, "a mapping"


def require(
    kind: tuple[type | tuple[type, ...], str], *, is_optional: bool = True, **arguments: object
) -> None:
    """Raise `TypeError` with the name of an argument that has another type."""
    types, description = kind
    for name, value in arguments.items():
        if not isinstance(value, types) and not (is_optional and value is None):
            message = f"{name} must be {description}, not {type(value).__name__}"
            raise TypeError(message)
