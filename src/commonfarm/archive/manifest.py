"""The signed manifest of a release tree, as a format: needs no Django, so that whoever has a copy
of a tree can check it.

`manifest/statement.json` is a DSSE envelope whose payload (JSON) names a revision, until when it
is valid, and the segments that together say all that the revision holds: a base, and what each
revision since has changed. A segment is a file beside it, gzip of JSON lines:

    {"manifest": 1, "tree": "main", "revision": 12, "since": 11}        since 0: it is a base
    {"path": "a/b", "gone": true}
    {"path": "a/c.iso", "size": 7, "sha256": "…", "piece_bytes": 262144, "pieces": "<base64>",
     "not_before": "2026-11-21T12:00:00Z"}
    {"path": "latest", "alias": "a"}

A line about a path takes the place of what was said of it before. What is gone is said first.
`pieces` are the SHA-256 of the pieces, one behind the other; `not_before`, where it stands, is when
mirrors are first named for it.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from gzip import GzipFile
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from commonfarm.archive import envelopes
from commonfarm.lib.paths import is_sha256

FOLDER = "manifest"
STATEMENT_PATH = f"{FOLDER}/statement.json"
PAYLOAD_TYPE = "application/vnd.commonfarm.manifest+json"
VERSION = 1

MOST_STATEMENT_BYTES = 2**20
MOST_SEGMENTS = 1000
MOST_SEGMENT_BYTES = 2**30
MOST_UNPACKED_BYTES = 4 * 2**30
MOST_LINE_BYTES = 2**18
MOST_PATH = 1000
_PATH_PARTS_NEVER = frozenset(("", ".", ".."))
_NOT_IN_A_PATH = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class NoManifestError(ValueError):
    """It is not what a manifest is made of; the text says what is wrong."""


class NotTrustedError(ValueError):
    """It is a manifest, but not signed by the key that was given."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the tree. `pieces` are as in `hashing`: empty for a file that is one piece."""

    path: str
    size: int
    sha256: str
    piece_bytes: int = 0
    pieces: bytes = b""
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """A path that stands for another one of the tree."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A path that is no longer part of the tree."""

    path: str


Entry = File | Alias | Gone


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment begins with: it says what `revision` has other than `since` (0: all)."""

    tree: str
    revision: int
    since: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as the statement pins it; size and SHA-256 are those of the packed file."""

    revision: int
    size: int
    sha256: str

    @property
    def path(self) -> str:
        """Where it lies in the tree."""
        return segment_path(self.revision)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed: this revision of this tree is what these segments say, base first."""

    installation: str
    tree: str
    revision: int
    made_at: datetime
    valid_until: datetime
    segments: tuple[Segment, ...]


def segment_path(revision: int) -> str:
    """Return where the segment of a revision lies in its tree."""
    return f"{FOLDER}/{revision:08}.jsonl.gz"


def is_reserved(path: str) -> bool:
    """Say whether a path is the manifest's own: nobody else's file may lie there."""
    return path == FOLDER or path.startswith(f"{FOLDER}/")


def is_path(path: object) -> bool:
    """Say whether `path` is a relative path that stays in its tree, without control characters."""
    return (
        isinstance(path, str)
        and 0 < len(path) <= MOST_PATH
        and _NOT_IN_A_PATH.search(path) is None
        and _PATH_PARTS_NEVER.isdisjoint(path.split("/"))
    )


def lines(head: Head, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the lines of a segment; `entries` are in their order."""
    about = {"tree": head.tree, "revision": head.revision, "since": head.since}
    yield _line({"manifest": VERSION} | about)
    for one in entries:
        if isinstance(one, File):
            said: dict[str, Any] = {"path": one.path, "size": one.size, "sha256": one.sha256}
            if one.piece_bytes:
                said["piece_bytes"] = one.piece_bytes
                said["pieces"] = base64.b64encode(one.pieces).decode()
            if one.not_before is not None:
                said["not_before"] = _time(one.not_before)
            yield _line(said)
        elif isinstance(one, Alias):
            yield _line({"path": one.path, "alias": one.target})
        else:
            yield _line({"path": one.path, "gone": True})


def pack(the_lines: Iterable[bytes]) -> bytes:
    """Return a segment's file; the same lines make the same bytes."""
    out = io.BytesIO()
    with GzipFile(fileobj=out, mode="wb", compresslevel=6, mtime=0, filename="") as packed:
        for some in _together(the_lines):
            packed.write(some)
    return out.getvalue()


def unpacks_to(packed: IO[bytes], the_lines: Iterable[bytes]) -> bool:
    """Say whether a segment's file holds these lines and nothing more."""
    try:
        with GzipFile(fileobj=packed, mode="rb") as opened:
            same = all(opened.read(len(some)) == some for some in _together(the_lines))
            return same and not opened.read(1)
    except (OSError, EOFError, zlib.error):
        return False


def read_segment(packed: IO[bytes]) -> tuple[Head, Iterator[Entry]]:
    """Return what a segment's file says, read as it is asked for; never more than a line at once.

    Raises NoManifestError, also while it is read.
    """
    found = _read_lines(packed)
    first = next(found, None)
    if first is None or first.get("manifest") != VERSION:
        raise NoManifestError(f"it is no segment of a manifest of version {VERSION}")
    head = Head(
        _text(first, "tree"), _number(first, "revision", least=1), _number(first, "since", least=0)
    )
    return head, map(_entry, found)


def _read_lines(packed: IO[bytes]) -> Iterator[dict[str, Any]]:
    unpacked = 0
    try:
        with GzipFile(fileobj=packed, mode="rb") as opened:
            while line := opened.readline(MOST_LINE_BYTES + 1):
                unpacked += len(line)
                if len(line) > MOST_LINE_BYTES:
                    raise NoManifestError(f"it has a line of more than {MOST_LINE_BYTES} bytes")
                if unpacked > MOST_UNPACKED_BYTES:
                    raise NoManifestError(f"it unpacks to more than {MOST_UNPACKED_BYTES} bytes")
                yield _object(line)
    except (OSError, EOFError, zlib.error) as error:
        raise NoManifestError(f"it cannot be unpacked: {error}") from None


def _entry(said: dict[str, Any]) -> Entry:
    path = said.get("path")
    if not is_path(path) or is_reserved(str(path)):
        raise NoManifestError(f"it names {str(path)[:100]!r}, which is no path in a tree")
    path = str(path)
    if "gone" in said:
        return Gone(path)
    if "alias" in said:
        target = said["alias"]
        if not is_path(target):
            raise NoManifestError(f"the alias {path!r} leads to {str(target)[:100]!r}")
        return Alias(path, str(target))
    size, piece_bytes, pieces = _number(said, "size", least=0), 0, b""
    if "pieces" in said:
        piece_bytes = _number(said, "piece_bytes", least=1)
        try:
            pieces = base64.b64decode(_text(said, "pieces"), validate=True)
        except (ValueError, binascii.Error):
            raise NoManifestError(f"the pieces of {path!r} are no base64") from None
        if len(pieces) != 32 * -(-size // piece_bytes):
            raise NoManifestError(f"the pieces of {path!r} do not make up its size")
    not_before = _read_time(said, "not_before") if "not_before" in said else None
    return File(path, size, _sha256(said), piece_bytes, pieces, not_before)


def encode(statement: Statement) -> bytes:
    """Return the bytes of a statement that are signed."""
    said = {
        "manifest": VERSION,
        "installation": statement.installation,
        "tree": statement.tree,
        "revision": statement.revision,
        "made_at": _time(statement.made_at),
        "valid_until": _time(statement.valid_until),
        "segments": [
            {"path": one.path, "revision": one.revision, "size": one.size, "sha256": one.sha256}
            for one in statement.segments
        ],
    }
    return json.dumps(said, separators=(",", ":")).encode()


def decode(payload: bytes) -> Statement:
    """Return the statement that `encode` made; NoManifestError for anything that cannot be one."""
    if len(payload) > MOST_STATEMENT_BYTES:
        raise NoManifestError(f"it has more than {MOST_STATEMENT_BYTES} bytes")
    said = _object(payload)
    if said.get("manifest") != VERSION:
        raise NoManifestError(f"it is no statement of version {VERSION}")
    listed = said.get("segments")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_SEGMENTS:
        raise NoManifestError(f"it names no segments, or more than {MOST_SEGMENTS}")
    segments = tuple(map(_segment, listed))
    revisions = [one.revision for one in segments]
    revision = _number(said, "revision", least=1)
    if revisions != sorted(set(revisions)) or revisions[-1] != revision:
        raise NoManifestError("its segments do not lead to its revision")
    return Statement(
        _text(said, "installation"),
        _text(said, "tree"),
        revision,
        _read_time(said, "made_at"),
        _read_time(said, "valid_until"),
        segments,
    )


def seal(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """Return the signed statement as it is published."""
    return envelopes.seal(encode(statement), PAYLOAD_TYPE, key)


def unseal(envelope: bytes, key: Ed25519PublicKey) -> Statement:
    """Return the statement that `key` has signed; NoManifestError, NotTrustedError otherwise."""
    if len(envelope) > 2 * MOST_STATEMENT_BYTES:
        raise NoManifestError(f"it has more than {2 * MOST_STATEMENT_BYTES} bytes")
    try:
        return decode(envelopes.unseal(envelope, PAYLOAD_TYPE, key))
    except envelopes.NotSignedError as error:
        raise NotTrustedError(str(error)) from None
    except envelopes.NoEnvelopeError as error:
        raise NoManifestError(str(error)) from None


def told(envelope: bytes) -> Statement:
    """Return the statement in an envelope of our own; its signature is not looked at."""
    return decode(envelopes.payload(envelope))


def _segment(said: object) -> Segment:
    if not isinstance(said, dict):
        raise NoManifestError("it names a segment that is none")
    size = _number(said, "size", least=1)
    found = Segment(_number(said, "revision", least=1), size, _sha256(said))
    if said.get("path") != found.path or size > MOST_SEGMENT_BYTES:
        raise NoManifestError(f"its segment of revision {found.revision} cannot be one")
    return found


def _together(the_lines: Iterable[bytes], size: int = 2**16) -> Iterator[bytes]:
    """Yield lines joined to larger pieces, which cost less to pack and compare."""
    some, length = [], 0
    for line in the_lines:
        some.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(some)
            some, length = [], 0
    yield b"".join(some)


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NoManifestError("it is not JSON") from None
    if not isinstance(found, dict):
        raise NoManifestError("it is not a JSON object")
    return found


def _text(said: Mapping[str, Any], key: str) -> str:
    found = said.get(key)
    if not isinstance(found, str) or not found.isprintable():
        raise NoManifestError(f"its {key} is no text")
    return found


def _number(said: Mapping[str, Any], key: str, *, least: int) -> int:
    found = said.get(key)
    if type(found) is not int or not least <= found < 2**63:
        raise NoManifestError(f"its {key} is no number from {least} on")
    return found


def _sha256(said: Mapping[str, Any]) -> str:
    found = said.get("sha256")
    if not isinstance(found, str) or not is_sha256(found):
        raise NoManifestError("its sha256 is none")
    return found


def _time(at: datetime) -> str:
    """Return a time as it is written: UTC, whole seconds (RFC 3339)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_time(said: Mapping[str, Any], key: str) -> datetime:
    try:
        return datetime.strptime(str(said.get(key))[:40], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NoManifestError(f"its {key} is no time in UTC") from None
