"""Output that does not destroy the picture of a full-screen program."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

logger = logging.getLogger("watchkeeper.safety")


def is_taken(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that a full-screen program uses.

    Such a program reads single keys. So does the shell while it edits a command, which is
    no obstacle for a process in the background.
    """
    try:
        import termios

        descriptor = stream.fileno()
        if not os.isatty(descriptor):
            return False
        local_modes = termios.tcgetattr(descriptor)[3]
    except (ImportError, OSError, ValueError, AttributeError):
        return False
    except Exception:  # noqa: BLE001 - `termios.error` is no `OSError`
        return False
    if local_modes & termios.ICANON:
        return False
    try:
        foreground = os.tcgetpgrp(descriptor)
    except OSError:
        # The terminal does not control this session.
        return True
    return foreground in (os.getpgrp(), 0) or foreground != os.getsid(0)


def print_unless_taken(text: str) -> None:
    """Print a line on standard output, or log it while a full-screen program is there."""
    if sys.stdout is None or is_taken(sys.stdout):
        logger.info("%s", text)
        return
    try:
        print(text, flush=True)  # noqa: T201
    except (OSError, ValueError):
        logger.info("%s", text)


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
