"""The events of a background monitor."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime

    from watchkeeper._watchkeeper import Finding

__all__ = ["EventType", "MonitorEvent"]


class EventType(Enum):
    """The usual values of `MonitorEvent.event_type`."""

    TIMEOUT = "timeout"
    RUNAWAY = "runaway"
    WARNING = "warning"
    ERROR = "error"


@dataclass
class MonitorEvent:
    """A condition that the monitor reports, once for each of its levels.

    `event_type` is a value of `EventType`, or the class of a detector in a policy of your
    own. `severity` is `low`, `medium` or `high`. `finding` is the finding behind the event;
    `None` for an error of the monitor. The properties are those of the finding.
    """

    event_type: str
    message: str
    severity: str
    data: dict[str, Any]
    finding: Finding | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str | None:
        """The id: a hash of the cause."""
        return self.finding.id if self.finding else None

    @property
    def time(self) -> datetime.datetime | None:
        """The time at which the condition became true, in UTC."""
        return self.finding.at if self.finding else None

    @property
    def session(self) -> str | None:
        """The id of the session."""
        return self.finding.session if self.finding else None

    @property
    def detector(self) -> str | None:
        """The name of the detector in the policy."""
        return self.finding.detector if self.finding else None

    @property
    def fingerprint(self) -> str | None:
        """A hash that identifies the condition."""
        return self.finding.fingerprint if self.finding else None

    @property
    def count(self) -> int:
        """The number of occurrences so far."""
        return self.finding.count if self.finding else 1

    @property
    def status(self) -> str:
        """`open`, because the end of a condition is no event."""
        return self.finding.status if self.finding else "open"
