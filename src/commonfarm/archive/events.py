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


@dataclass(frozen=True, slots=True)
class ReleaseOpened(Event):
    """Somebody begins to put files together for a release tree.

    Its title and where it comes from are not told: readers of the journal may not know them yet.
    """

    what: ClassVar[str] = "release opened"


@dataclass(frozen=True, slots=True)
class ReleaseClosed(Event):
    """A release is complete: no more can be added, and it can be looked at.

    How much it brings is not told either.
    """

    what: ClassVar[str] = "release closed"


@dataclass(frozen=True, slots=True)
class ReleaseLinked(Event):
    """A release got another link; the one before leads nowhere."""

    what: ClassVar[str] = "release linked anew"


@dataclass(frozen=True, slots=True)
class ReleaseReviewed(Event):
    """A release was looked at, and may be published."""

    what: ClassVar[str] = "release reviewed"


@dataclass(frozen=True, slots=True)
class ReleaseRejected(Event):
    """A release will not be published."""

    what: ClassVar[str] = "release rejected"


@dataclass(frozen=True, slots=True)
class ReleaseEmbargoed(Event):
    """A release is to be published at a time, and seen by nobody but mirrors before.

    The time is not told.
    """

    what: ClassVar[str] = "release embargoed"


@dataclass(frozen=True, slots=True)
class ReleaseStaged(Event):
    """Registered mirrors can fetch an embargoed release from now on."""

    what: ClassVar[str] = "release staged for mirrors"


@dataclass(frozen=True, slots=True)
class ReleaseJoined(Event):
    """A revision was asked for that makes a release public."""

    what: ClassVar[str] = "release to be published"
    revision: int


@dataclass(frozen=True, slots=True)
class ReleasePublished(Event):
    """Users see a release from now on."""

    what: ClassVar[str] = "release published"
    revision: int


@dataclass(frozen=True, slots=True)
class ReleaseHeldBack(Event):
    """A release was taken out of its publication, for a fault that a person has to mend."""

    what: ClassVar[str] = "release held back"


@dataclass(frozen=True, slots=True)
class WithdrawalAsked(Event):
    """Somebody takes a release back, its files at once or after the tree's grace period."""

    what: ClassVar[str] = "release to be withdrawn"
    revision: int
    at_once: bool


@dataclass(frozen=True, slots=True)
class WithdrawalFailed(Event):
    """The revision that was to take a release back has failed."""

    what: ClassVar[str] = "release not withdrawn"


@dataclass(frozen=True, slots=True)
class ReleaseWithdrawn(Event):
    """A release is no longer part of its tree; revision 0: it never was."""

    what: ClassVar[str] = "release withdrawn"
    revision: int


@dataclass(frozen=True, slots=True)
class RollbackAsked(Event):
    """Somebody brings the files of a past revision back."""

    what: ClassVar[str] = "rollback asked for"
    to_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class AliasesEnded(Event):
    """Aliases ended with what they led to."""

    what: ClassVar[str] = "aliases ended"
    paths: list[str]


@dataclass(frozen=True, slots=True)
class AdoptedFolderJudged(Event):
    """Something else is wrong with an adopted folder than before, or nothing is any more.

    Names are not told: what not all may read may be kept for later.
    """

    what: ClassVar[str] = "adopted folder judged"
    count: int


@dataclass(frozen=True, slots=True)
class LossAllowed(Event):
    """Somebody said that it is meant that most files of an adopted folder are gone."""

    what: ClassVar[str] = "loss in adopted folder allowed"
