"""What the farm records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class BuildSubmitted(Event):
    """A source is to be built; the subject is the build."""

    what: ClassVar[str] = "build submitted"
    source: str
    project: str
    targets: list[str]


@dataclass(frozen=True, slots=True)
class JobLeased(Event):
    """A job was given to a builder."""

    what: ClassVar[str] = "job leased"
    lease: int
    builder: str


@dataclass(frozen=True, slots=True)
class JobFreed(Event):
    """A lease ended without a result and the job waits again; `outcome` is the lease's."""

    what: ClassVar[str] = "job freed"
    lease: int
    outcome: str
    attempts: int


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """A job is over; `state` is what it came to."""

    what: ClassVar[str] = "job ended"
    state: str


@dataclass(frozen=True, slots=True)
class CancelAsked(Event):
    """A running job is to be cancelled; its builder is told at its next heartbeat."""

    what: ClassVar[str] = "job cancel asked"


@dataclass(frozen=True, slots=True)
class JobRetried(Event):
    """A job that had ended waits again."""

    what: ClassVar[str] = "job retried"


@dataclass(frozen=True, slots=True)
class RebuildQueued(Event):
    """A job was made to build the same source again under another version."""

    what: ClassVar[str] = "rebuild queued"
    instead_of: int
    rebuild_suffix: int


@dataclass(frozen=True, slots=True)
class SchedulerElected(Event):
    """A scheduler began to give out leases; those of earlier epochs can no longer."""

    what: ClassVar[str] = "scheduler elected"
    epoch: int
