"""Objects that report their changes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

__all__ = ["Observable"]

T = TypeVar("T")


class Observable(Generic[T]):
    """Keeps the observers of an object. Copies and pickles of the object have none."""

    _observers: tuple[T, ...] = ()

    def subscribe(self, observer: T) -> None:
        """Add an observer."""
        self._observers += (observer,)

    def unsubscribe(self, observer: T) -> None:
        """Remove an observer. Does nothing if it is not there."""
        self._observers = tuple(it for it in self._observers if it != observer)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_observers"}
