"""What the mirrors record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class MirrorAdded(Event):
    """A mirror was registered."""

    what: ClassVar[str] = "mirror added"
    tree: str
    url: str
    country: str


@dataclass(frozen=True, slots=True)
class MirrorEdited(Event):
    """A mirror's entry was changed; `changes` maps each field to its new value."""

    what: ClassVar[str] = "mirror edited"
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MirrorRemoved(Event):
    """A mirror was taken from the registry; nobody is sent there any more."""

    what: ClassVar[str] = "mirror removed"


@dataclass(frozen=True, slots=True)
class MirrorEnabled(Event):
    """A mirror may be sent clients again."""

    what: ClassVar[str] = "mirror enabled"


@dataclass(frozen=True, slots=True)
class MirrorDisabled(Event):
    """A mirror is sent no clients until somebody enables it."""

    what: ClassVar[str] = "mirror disabled"


@dataclass(frozen=True, slots=True)
class MirrorWentDown(Event):
    """A scan failed, and the one before had not."""

    what: ClassVar[str] = "mirror down"
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorCameUp(Event):
    """A scan went well: the first, or the first after a failure."""

    what: ClassVar[str] = "mirror up"
    files_found: int
    files_expected: int


@dataclass(frozen=True, slots=True)
class MirrorMapWritten(Event):
    """A new mirror map was made for the redirectors."""

    what: ClassVar[str] = "mirror map written"
    mirrors: int
    files: int
