"""What is recorded when mirrors are looked at; each is news, not every look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class MirrorScanFailed(Event):
    """A scan failed, and the one before had not; what was seen before still counts."""

    what: ClassVar[str] = "mirror scan failed"
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorScanned(Event):
    """A scan went well: the first, or the first after a failure."""

    what: ClassVar[str] = "mirror scanned"
    files_found: int
    files_expected: int


@dataclass(frozen=True, slots=True)
class MirrorLostFiles(Event):
    """A mirror suddenly lacks a good part of what it had; others serve that now."""

    what: ClassVar[str] = "mirror lost files"
    lost: int
    of: int


@dataclass(frozen=True, slots=True)
class MirrorPushFailed(Event):
    """A mirror could not be told to pull, and is not tried again for this."""

    what: ClassVar[str] = "mirror push failed"
    revision: int
    problem: str


@dataclass(frozen=True, slots=True)
class MirrorAnswers(Event):
    """A mirror answers probes, for the first time or again; `by` are schemes and IP versions."""

    what: ClassVar[str] = "mirror answers"
    by: list[str]


@dataclass(frozen=True, slots=True)
class MirrorHostKeyTrusted(Event):
    """A coordinator said by which SSH host key a mirror is known."""

    what: ClassVar[str] = "mirror host key trusted"
    fingerprint: str
