"""The logger of the package."""

from __future__ import annotations

import logging
import sys

from ._terminal import is_taken

__all__ = ["logger"]

logger = logging.getLogger("watchkeeper.safety")


class _LastResort(logging.Handler):
    """Prints warnings as `logging` does if a program has set no handler.

    `logging` itself would print them over a full-screen program.
    """

    def emit(self, record: logging.LogRecord) -> None:
        has_handler = logging.getLogger().handlers or logging.getLogger("watchkeeper").handlers
        if has_handler or logging.lastResort is None or sys.stderr is None:
            return
        if not is_taken(sys.stderr):
            logging.lastResort.handle(record)


logger.addHandler(_LastResort(logging.WARNING))


def print_unless_taken(text: str) -> None:
    """Print a line on standard output, or log it while a full-screen program is there."""
    if sys.stdout is None or is_taken(sys.stdout):
        logger.info("%s", text)
        return
    try:
        print(text, flush=True)  # noqa: T201
    except (OSError, ValueError):
        logger.info("%s", text)
