"""The terminal, and the full-screen programs that use it."""

from __future__ import annotations

import os
from typing import TextIO


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
