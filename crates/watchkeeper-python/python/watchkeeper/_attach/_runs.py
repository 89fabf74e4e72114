"""The runs of an attachment, for frameworks that do not always report the end of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from watchkeeper._attach._run import Run

__all__ = ["Runs"]

K = TypeVar("K")

# Further runs end the ones that started first.
_MAX_RUNS = 4096


class Runs(Generic[K]):
    """The last 4,096 runs by a key of the framework. Safe for use from several threads."""

    def __init__(self) -> None:
        # With each run, whether its entry ends the run.
        self._runs: OrderedDict[K, tuple[Run, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: K, run: Run, *, is_owner: bool = False) -> None:
        """Add a run. The end of an `is_owner` entry is the end of the run."""
        with self._lock:
            self._runs[key] = (run, is_owner)
            oldest = self._runs.popitem(last=False)[1] if len(self._runs) > _MAX_RUNS else None
        if oldest is not None and oldest[1]:
            oldest[0].end("the end of the run was not reported")

    def get(self, key: K | None) -> Run | None:
        """Return a run."""
        entry = self._runs.get(key) if key is not None else None
        return entry[0] if entry is not None else None

    def remove(self, key: K | None) -> Run | None:
        """Remove and return a run."""
        with self._lock:
            entry = self._runs.pop(key, None) if key is not None else None
        return entry[0] if entry is not None else None

    def end(self, key: K, reason: str | None = None) -> None:
        """Remove a run. Records its end if the entry owns the run."""
        with self._lock:
            entry = self._runs.pop(key, None)
        if entry is not None and entry[1]:
            entry[0].end(reason)
