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
    addresses: list[str]
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
class MirrorProved(Event):
    """Control of a mirror was shown: by a `file` there, or a coordinator `vouched` for it."""

    what: ClassVar[str] = "mirror proved"
    how: str


@dataclass(frozen=True, slots=True)
class MirrorQuarantined(Event):
    """An audit found other bytes than ours; nobody is sent there any more."""

    what: ClassVar[str] = "mirror quarantined"
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorQuarantineLifted(Event):
    """A coordinator let clients be sent to a mirror again after a quarantine."""

    what: ClassVar[str] = "mirror quarantine lifted"


@dataclass(frozen=True, slots=True)
class RedirectorAdded(Event):
    """A redirector on another machine may send its counts."""

    what: ClassVar[str] = "redirector added"


@dataclass(frozen=True, slots=True)
class RedirectorRemoved(Event):
    """A redirector on another machine may send its counts no more."""

    what: ClassVar[str] = "redirector removed"


@dataclass(frozen=True, slots=True)
class CountsSetAside(Event):
    """A batch of counts was not taken up, and why."""

    what: ClassVar[str] = "counts set aside"
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorWentDown(Event):
    """A scan failed, and the one before had not."""

    what: ClassVar[str] = "mirror down"
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorMapWritten(Event):
    """A new mirror map was made for the redirectors."""

    what: ClassVar[str] = "mirror map written"
    mirrors: int
    files: int


@dataclass(frozen=True, slots=True)
class RsyncPasswordMade(Event):
    """A mirror got a new password by which it reads by rsync what is under embargo."""

    what: ClassVar[str] = "mirror rsync password made"


@dataclass(frozen=True, slots=True)
class OverrideAdded(Event):
    """A coordinator said where clients of a network are sent, or as of which country they count."""

    what: ClassVar[str] = "override added"
    country: str
    mirrors: list[str]
    origin: bool


@dataclass(frozen=True, slots=True)
class OverrideRemoved(Event):
    """Clients of a network are sent as others are again."""

    what: ClassVar[str] = "override removed"
    country: str
    mirrors: list[str]
    origin: bool
