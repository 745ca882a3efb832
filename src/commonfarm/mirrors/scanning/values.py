"""What goes into looks at mirrors and what comes out. Sizes in bytes, durations in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

from commonfarm.lib.errors import CommonfarmError, Reason

UNKNOWN_SIZE = -1
"""The size of a file in an index that tells none (Apache without FancyIndexing)."""


class Code(StrEnum):
    """Why a mirror, or one file on it, cannot be used."""

    ADDRESS_REFUSED = "mirror-address-refused"
    NO_ADDRESS = "mirror-has-no-address"
    NO_ROUTE = "no-route-from-here"
    NOT_REACHED = "mirror-not-reached"
    CERTIFICATE_EXPIRED = "mirror-certificate-expired"
    CERTIFICATE_FOREIGN = "mirror-certificate-of-another"
    CERTIFICATE_UNTRUSTED = "mirror-certificate-untrusted"
    BAD_ANSWER = "mirror-answer-broken"
    SERVER_ERROR = "mirror-server-error"
    REDIRECTOR = "mirror-is-a-redirector"
    REDIRECTED = "mirror-redirects"
    TOO_SLOW = "mirror-too-slow"
    TOO_LARGE = "mirror-listing-too-large"
    UNSAFE_NAME = "mirror-lists-unsafe-name"
    NO_LISTING = "mirror-has-no-listing"
    TOOL_MISSING = "rsync-not-installed"
    MISSING = "file-missing"
    OTHER_SIZE = "file-of-another-size"
    PAGE = "page-for-a-file"
    PACKED = "file-sent-packed"
    NOT_AUDITABLE = "file-cannot-be-audited"


class ScanError(CommonfarmError):
    """The mirror as a whole cannot be used; the reason's code is one of `Code`."""


def failure(code: Code, text: str, lifted_by: str = "") -> ScanError:
    """Return the error of a mirror as a whole."""
    return ScanError(Reason(code, text, lifted_by))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one look may ask of a mirror, and of our time and memory.

    `total_seconds` is for the look as a whole, what its caller does in between included;
    `request_seconds` for one request with its answer's body; `silence_seconds` without one byte.
    `names`, `folders`, `depth` and `listing_bytes` bound a listing, `page_bytes` one page of it.
    """

    at_once: int = 8
    connect_seconds: float = 15.0
    silence_seconds: float = 120.0
    request_seconds: float = 60.0
    total_seconds: float = 3600.0
    failures_in_a_row: int = 5
    names: int = 20_000_000
    folders: int = 500_000
    depth: int = 64
    listing_bytes: int = 4 * 2**30
    page_bytes: int = 16 * 2**20
    changing_bytes: int = 16 * 2**20
    piece_bytes: int = 64 * 2**20
    rsync_memory_bytes: int = 2 * 2**30


class Listed(NamedTuple):
    """A file that a listing names, by its path below the listed address.

    `size` is rounded unless `exact` (an Apache index says 1.2M) and then off by at most `slack`
    bytes; it is UNKNOWN_SIZE where the index says none. `modified_at` is in epoch seconds; a web
    index tells it to the minute at best, and often in the server's own time zone: up to 14 hours
    off.
    """

    path: str
    size: int
    exact: bool
    modified_at: int | None
    slack: int = 0

    def could_be(self, size: int) -> bool:
        """Say whether a file of `size` may be listed so."""
        return self.size == UNKNOWN_SIZE or abs(self.size - size) <= self.slack


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that the mirror should have: its path in the tree and its size.

    One that `changes` in place may be of another revision there: it is read whole, whatever size
    it has, and its hash is told instead.
    """

    path: str
    size: int
    changes: bool = False


@dataclass(slots=True)
class Checked:
    """What a check saw. With a `problem` of the mirror as a whole nothing else of it counts, but
    for TOO_SLOW: what was seen until then is so.

    Of files in `unknown` it could not be seen whether they are there: asking failed. `hashes` are
    the SHA-256 (hex) of files that change in place, as the mirror serves them now.
    """

    held: list[str] = field(default_factory=list)
    missing: dict[str, Reason] = field(default_factory=dict)
    unknown: dict[str, Reason] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    problem: Reason | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a mirror answered by one scheme over one address family.

    It is up when `problem` is None. `latency_seconds` is from asking to the first byte on an open
    connection; `bytes_per_second` is 0 where too little was read to tell. `ranges` says whether it
    serves parts of files, which clients need that resume or fetch in parallel.
    """

    problem: Reason | None = None
    latency_seconds: float = 0.0
    bytes_per_second: int = 0
    ranges: bool = False

    @property
    def ok(self) -> bool:
        """Whether users can be sent there."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Probed:
    """The outcome per scheme and address family; None where the mirror has no such address."""

    http4: Outcome | None = None
    http6: Outcome | None = None
    https4: Outcome | None = None
    https6: Outcome | None = None

    def outcomes(self) -> Iterator[tuple[str, Outcome]]:
        """Yield what was tried, by name (`http4`, …)."""
        for one in fields(self):
            outcome = getattr(self, one.name)
            if outcome is not None:
                yield one.name, outcome


@dataclass(frozen=True, slots=True)
class Sample:
    """A piece of a file to compare: its number, where it begins, its length, its SHA-256 (hex)."""

    path: str
    size: int
    piece: int
    start: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A piece that a mirror serves with other bytes than ours; hashes are SHA-256 in hex."""

    path: str
    piece: int
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"piece {self.piece} of {self.path} has SHA-256 {self.found}"
            f" where {self.expected} is expected"
        )


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit saw: how many pieces were as ours, which not, which could not be compared."""

    matched: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    unaudited: Mapping[Sample, Reason] = field(default_factory=dict)
    problem: Reason | None = None
