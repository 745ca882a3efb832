"""What the estate records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class EstateLoaded(Event):
    """An estate was loaded and changed what is wanted; `changes` says what, a line each.

    `commit` and `title` are those of the commit, empty for a directory loaded by hand.
    """

    what: ClassVar[str] = "estate loaded"
    origin: str
    changes: list[str]
    commit: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class EstateFollowed(Event):
    """From now on each commit of a branch is loaded."""

    what: ClassVar[str] = "estate followed"
    url: str
    branch: str
    folder: str


@dataclass(frozen=True, slots=True)
class EstateFollowedNoMore(Event):
    """The estate in force stays as it is until another is loaded."""

    what: ClassVar[str] = "estate followed no more"
    url: str
    branch: str


@dataclass(frozen=True, slots=True)
class EstateNotFetched(Event):
    """The repository cannot be read; it is tried again, and told once."""

    what: ClassVar[str] = "estate not fetched"
    url: str
    problem: str


@dataclass(frozen=True, slots=True)
class EstateNotLoaded(Event):
    """A commit has faults, a line each; the estate in force stays."""

    what: ClassVar[str] = "estate not loaded"
    commit: str
    title: str
    problems: list[str]
