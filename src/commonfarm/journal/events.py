"""What an event is: a frozen dataclass whose class says what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. A subclass sets `what` (as `build submitted`) and adds its details.

    `subject` names what it happened to, as `kind:name` (`build:12`, `builder:local@3`). Details
    are plain values that JSON holds.
    """

    what: ClassVar[str]

    subject: str
