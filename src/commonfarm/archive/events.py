"""What the archive tells the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class PackagesAdded(Event):
    """Packages of one producer entered a repository."""

    what: ClassVar[str] = "packages added"
    producer: str
    paths: list[str]
    revision: int


@dataclass(frozen=True, slots=True)
class PublicationAsked(Event):
    """Somebody asked for a new revision without new packages."""

    what: ClassVar[str] = "publication asked for"


@dataclass(frozen=True, slots=True)
class Assembled(Event):
    """The indexes of a revision are in the store."""

    what: ClassVar[str] = "tree assembled"
    files: int


@dataclass(frozen=True, slots=True)
class Outdated(Event):
    """The estate changed after a revision was assembled: its indexes are written anew."""

    what: ClassVar[str] = "tree to be assembled again"


@dataclass(frozen=True, slots=True)
class Signed(Event):
    """The signer has signed a revision's indexes and its packages' provenance."""

    what: ClassVar[str] = "tree signed"
    statements: int


@dataclass(frozen=True, slots=True)
class Published(Event):
    """Users see this revision from now on."""

    what: ClassVar[str] = "tree published"
    files: int


@dataclass(frozen=True, slots=True)
class PublicationFailed(Event):
    """A revision was given up."""

    what: ClassVar[str] = "publication failed"
