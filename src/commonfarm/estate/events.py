"""What the estate records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class EstateLoaded(Event):
    """An estate was loaded and changed what is wanted; `changes` says what, a line each."""

    what: ClassVar[str] = "estate loaded"
    origin: str
    changes: list[str]
