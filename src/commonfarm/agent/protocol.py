"""What agent and hub say to each other: plain dataclasses, JSON on the wire.

The hub validates them with pydantic over the same classes, so there is no second schema. All
addresses are relative to the hub's `/api/v1/agent`, but for `lease`, which the scheduler answers.

    POST enrol                       EnrolRequest -> Enrolled
    POST <scheduler>/lease           LeaseRequest -> Lease (200), or 204: nothing to do
    POST leases/ID/renew             {} -> Renewed
    GET  leases/ID/files/SHA256      the bytes of a file of the job's source
    PUT  leases/ID/log?offset=N      at most LOG_PIECE_BYTES -> Received
    POST leases/ID/uploads           UploadRequest -> Received
    PUT  leases/ID/uploads/SHA256?offset=N   at most CHUNK_BYTES -> Received
    POST leases/ID/report            Report -> {}
    GET  zipapp                      the agent itself (no credential needed)

A chunk or log piece sent twice is accepted twice; one that leaves a gap is answered 409 with
`received`, from where to go on. A lease that is over, or a generation that is past, is answered
410 with the reason, and the agent drops the job. Sizes are bytes, times are seconds; a timestamp is
ISO 8601 in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PROTOCOL = 1
LOG_PIECE_BYTES = 64 * 1024
CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Facts:
    """What a builder says of itself. `limits` maps each limit to what enforces it here.

    `limits` has the keys memory, processes, disk and time, each with one of `cgroup2`, `cgroup1`,
    `rlimit`, `overlay-size`, `watchdog` or `none`.
    """

    architecture: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    features: list[str] = field(default_factory=list)
    limits: dict[str, str] = field(default_factory=dict)
    agent_version: str = ""
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class EnrolRequest:
    """A token, good once, and the name the builder asks for."""

    token: str
    name: str
    facts: Facts


@dataclass(frozen=True)
class Enrolled:
    """The credential of this generation, and where to ask for work."""

    builder: str
    generation: int
    credential: str
    scheduler_urls: list[str]


@dataclass(frozen=True)
class LeaseRequest:
    """Asks for a job and waits up to `wait_seconds`.

    `holding` lists the leases the agent still works on: any other lease of this builder is lost,
    and its job is free again. `clean` says that nothing of an earlier job is left.
    """

    generation: int
    facts: Facts
    clean: bool
    holding: list[int] = field(default_factory=list)
    wait_seconds: float = 30.0


@dataclass(frozen=True)
class PackageSource:
    """One line of where a buildroot's packages come from."""

    uri: str
    suite: str
    components: list[str]


@dataclass(frozen=True)
class Buildroot:
    """What the pristine root is made of. `keyring` is the content of the keyring, base64."""

    target: str
    architecture: str
    package_sources: list[PackageSource]
    keyring: str


@dataclass(frozen=True)
class SourceFile:
    """A file of the source package."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Limits:
    """What a job may use. `silence_seconds` ends a build that prints nothing for so long."""

    memory_bytes: int
    processes: int
    disk_bytes: int
    wall_seconds: int
    silence_seconds: int
    log_bytes: int = 512 * 2**20


BINARY = "binary"
ANY = "any"


@dataclass(frozen=True)
class Lease:
    """A job given to this builder until `deadline_at`, renewed every `renew_seconds`.

    `rebuild_suffix` N asks for the version with `+bN` behind it. `build` is the --build of
    dpkg-buildpackage(1): BINARY, all packages, or ANY, only those that depend on the architecture.
    """

    id: int
    job: int
    deadline_at: str
    renew_seconds: float
    buildroot: Buildroot
    source_name: str
    source_version: str
    dsc: str
    files: list[SourceFile]
    limits: Limits
    parallel: int
    rebuild_suffix: int | None = None
    build: str = BINARY


@dataclass(frozen=True)
class Renewed:
    """The lease goes on; `cancel` is why it should not, empty otherwise."""

    deadline_at: str
    cancel: str = ""


@dataclass(frozen=True)
class UploadRequest:
    """Announces a file; an upload of the same bytes that began before is gone on with."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Received:
    """How many bytes the hub has."""

    received: int


SUCCEEDED = "succeeded"
FAILED = "failed"
BROKEN = "broken"
CANCELLED = "cancelled"
OUTCOMES = (SUCCEEDED, FAILED, BROKEN, CANCELLED)


MOST_ARTIFACTS = 1000
"""How many files a hub takes of one job."""


@dataclass(frozen=True)
class Report:
    """How a job ended.

    `outcome`: `succeeded`; `failed`, the build's own fault; `broken`, the builder's or the
    network's, so the job is tried again; `cancelled`. `stage` is where it ended (`root`,
    `dependencies`, `build`, `upload`). `artifacts` were all uploaded before. `facts` go into the
    provenance: base root digest, installed packages with versions, limits enforced, times.
    """

    generation: int
    outcome: str
    stage: str
    reason: str
    artifacts: list[SourceFile] = field(default_factory=list)
    log_bytes: int = 0
    log_sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
