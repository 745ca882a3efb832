"""What the fleet records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class EnrolmentTokenMade(Event):
    """A token was made by which one builder may enrol; the subject is the pool."""

    what: ClassVar[str] = "enrolment token made"


@dataclass(frozen=True, slots=True)
class BuilderEnrolled(Event):
    """A builder began a new generation."""

    what: ClassVar[str] = "builder enrolled"
    pool: str
    token_made_by: str


@dataclass(frozen=True, slots=True)
class BuilderCordoned(Event):
    """A builder gets no new job until it is uncordoned."""

    what: ClassVar[str] = "builder cordoned"


@dataclass(frozen=True, slots=True)
class BuilderUncordoned(Event):
    """A builder may get jobs again."""

    what: ClassVar[str] = "builder uncordoned"


@dataclass(frozen=True, slots=True)
class BuilderCleaned(Event):
    """A builder said that nothing of an earlier job is left on it."""

    what: ClassVar[str] = "builder cleaned"
