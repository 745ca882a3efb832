"""How builds and jobs look over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from ninja import Field, Schema

from commonfarm.farm.models import Build, Job, Lease

Name = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_~-]*$")]
FileName = Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~_:=%@-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=2**50)]


class FileIn(Schema):
    """A file that was uploaded before."""

    name: FileName
    size: Size
    sha256: Sha256


class NeedsIn(Schema):
    """What the jobs ask of a builder; sizes in bytes."""

    features: list[Name] = Field(default_factory=list, max_length=20)
    memory_bytes: Size = 0
    disk_bytes: Size = 0


class BuildIn(Schema):
    """A source package, its .dsc and files uploaded before, and what to build it for.

    No target means all of the project's.
    """

    project: Name
    targets: list[Name] = Field(default_factory=list, max_length=100)
    dsc: Sha256
    files: list[FileIn] = Field(max_length=200)
    needs: NeedsIn = NeedsIn()


class ReasonOut(Schema):
    """Why, and what would lift it."""

    code: str
    text: str
    lifted_by: str


class LeaseOut(Schema):
    """One time that a job was in a builder's hands. `limits` says what enforced each limit."""

    id: int
    builder: str
    generation: int
    given_at: datetime
    ended_at: datetime | None
    outcome: str
    reason: str
    limits: dict[str, Any]

    @staticmethod
    def resolve_builder(lease: Lease) -> str:
        return lease.builder.name

    @staticmethod
    def resolve_limits(lease: Lease) -> dict[str, Any]:
        return limits_of(lease)


class JobOut(Schema):
    """One unit of work."""

    id: int
    build: int
    target: str
    state: str
    state_reason: str
    attempts: int
    priority: int
    needs: dict[str, Any]
    rebuild_suffix: int | None
    cancel_asked_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    results: list[dict[str, Any]]

    @staticmethod
    def resolve_build(job: Job) -> int:
        return job.build_id

    @staticmethod
    def resolve_target(job: Job) -> str:
        return job.target.name


class JobDetailOut(JobOut):
    """One unit of work with everything that was tried."""

    source: str
    version: str
    leases: list[LeaseOut]

    @staticmethod
    def resolve_source(job: Job) -> str:
        return job.build.source.name

    @staticmethod
    def resolve_version(job: Job) -> str:
        return job.build.source.version

    @staticmethod
    def resolve_leases(job: Job) -> list[Lease]:
        return list(job.leases.select_related("builder").order_by("pk"))


class BuildOut(Schema):
    """One source, and its jobs."""

    id: int
    source: str
    version: str
    signed_by: str
    project: str
    submitted_by: str
    submitted_at: datetime
    state: str
    jobs: list[JobOut]

    @staticmethod
    def resolve_source(build: Build) -> str:
        return build.source.name

    @staticmethod
    def resolve_version(build: Build) -> str:
        return build.source.version

    @staticmethod
    def resolve_signed_by(build: Build) -> str:
        return build.source.signed_by

    @staticmethod
    def resolve_project(build: Build) -> str:
        return build.project.name

    @staticmethod
    def resolve_jobs(build: Build) -> list[Job]:
        return sorted(build.jobs.all(), key=lambda job: job.pk)


class ExplainOut(Schema):
    """Why a job waits; no reasons when it does not wait."""

    job: int
    state: str
    state_reason: str
    reasons: list[ReasonOut]


class LogOut(Schema):
    """Part of a log, in bytes from `offset`; go on at `next`. `complete`: nothing follows.

    `lease` names the attempt it belongs to, null while there was none. What is not UTF-8 is shown
    as replacement characters.
    """

    lease: int | None
    offset: int
    next: int
    complete: bool
    text: str


def limits_of(lease: Lease) -> dict[str, Any]:
    """Return what enforced each limit, as the builder reported it; empty while it runs."""
    limits = lease.facts.get("limits", {})
    return limits if isinstance(limits, dict) else {}
