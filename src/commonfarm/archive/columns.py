"""The files of a tree as columns, for what looks at all of them at once: scans, mirror maps, and
the signer, who checks these. A million rows pass in seconds, a bounded number at a time.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from django.db import connection

from commonfarm.estate.interface import ReleaseTree
from commonfarm.redirector.mirror_map import Hashes, Revision

Numbers = npt.NDArray[np.int64]

ROWS_AT_ONCE = 20_000
_ESCAPED = re.compile(rb"\\(.)")
_MEANS = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_NULL = b"\\N"


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Some files of a tree, a row for each, by ascending `numbers` (their primary keys).

    `sha256` has 32 bytes a row, zeros where it is not known. `mirrors_from` is in epoch seconds,
    0: from the beginning. `since` is the revision that brought the file.
    """

    numbers: Numbers
    paths: list[bytes]
    sizes: Numbers
    sha256: npt.NDArray[np.uint8]
    changes: npt.NDArray[np.bool_]
    mirrors_from: Numbers
    since: Numbers


def file_columns(
    tree: ReleaseTree,
    revision: int,
    *,
    first: int | None = None,
    since: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
    below: str = "",
    only_changing: bool = False,
) -> Iterator[FileColumns]:
    """Yield the files of `revision`, a bounded number at a time.

    It is read to its end, or closed, before anything else is asked of the database.

    With `first` those of any revision from that one on; with `since` only those that these
    revisions brought; with `numbers` only these; with `below` only those in that folder; or
    only those whose bytes change in place.
    """
    where, parameters = _where(tree, revision, first, since, numbers, below)
    if only_changing:
        where += " AND f.changes"
    query = (
        "SELECT f.id, f.size,"  # noqa: S608 - of constant parts
        " CASE WHEN length(f.sha256) = 64 THEN f.sha256 ELSE repeat('0', 64) END,"
        " f.changes::int, ceil(coalesce(extract(epoch FROM f.mirrors_from), 0))::bigint,"
        f" f.since_revision, f.path FROM archive_treefile f WHERE {where} ORDER BY f.id"
    )
    for rows in _copied(query, parameters):
        fields = _split(rows)
        count = len(fields) // 7
        digests = bytes.fromhex(b"".join(fields[2::7]).decode("ascii"))
        yield FileColumns(
            numbers=_integers(fields[0::7]),
            paths=[_unescaped(path) for path in fields[6::7]],
            sizes=_integers(fields[1::7]),
            sha256=np.frombuffer(digests, np.uint8).reshape(count, 32),
            changes=_integers(fields[3::7]) != 0,
            mirrors_from=_integers(fields[4::7]),
            since=_integers(fields[5::7]),
        )


def joined(parts: Iterable[FileColumns]) -> FileColumns:
    """Return all of them as one, for few files or much memory."""
    found = list(parts)
    none = np.zeros(0, np.int64)
    return FileColumns(
        numbers=np.concatenate([none, *(one.numbers for one in found)]),
        paths=[path for one in found for path in one.paths],
        sizes=np.concatenate([none, *(one.sizes for one in found)]),
        sha256=np.concatenate([np.zeros((0, 32), np.uint8), *(one.sha256 for one in found)]),
        changes=np.concatenate([none != 0, *(one.changes for one in found)]),
        mirrors_from=np.concatenate([none, *(one.mirrors_from for one in found)]),
        since=np.concatenate([none, *(one.since for one in found)]),
    )


def file_hashes(
    tree: ReleaseTree,
    revision: int,
    *,
    first: int | None = None,
    since: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
) -> Generator[tuple[int, Hashes], None, None]:
    """Yield number and further hashes of the files that `file_columns` yields, in the same order.

    It is read to its end, or closed, before anything else is asked of the database.

    What changes in place has those of its older revisions, newest first, as far as they are kept.
    """
    older = older_versions(tree, revision)
    where, parameters = _where(tree, revision, first, since, numbers, "")
    query = (
        "SELECT f.id,"  # noqa: S608 - of constant parts
        " CASE WHEN f.changes THEN f.path END, CASE WHEN f.changes THEN f.sha256 END,"
        " coalesce(extract(epoch FROM coalesce(f.modified_at, p.published_at)), 0)::bigint,"
        " coalesce(encode(h.sha1, 'hex'), ''), coalesce(encode(h.md5, 'hex'), ''),"
        " coalesce(h.piece_bytes, 0), coalesce(encode(h.pieces, 'hex'), '')"
        " FROM archive_treefile f"
        " LEFT JOIN archive_filehashes h ON h.sha256 = f.sha256"
        " LEFT JOIN archive_publication p"
        "  ON p.tree_id = f.tree_id AND p.revision = f.since_revision"
        f" WHERE {where} ORDER BY f.id"
    )
    for rows in _copied(query, parameters):
        fields = iter(_split(rows))
        for number, changing, sha256, modified_at, sha1, md5, piece_bytes, pieces in zip(
            *[fields] * 8, strict=True
        ):
            alternates: tuple[Revision, ...] = ()
            if changing != _NULL:
                alternates = _alternates(older.get(_unescaped(changing), ()), unhexlify(sha256))
            digests = unhexlify(pieces)
            yield (
                int(number),
                Hashes(
                    sha1=unhexlify(sha1),
                    md5=unhexlify(md5),
                    piece_bytes=int(piece_bytes),
                    pieces=tuple([digests[at : at + 32] for at in range(0, len(digests), 32)]),
                    modified_at=int(modified_at),
                    alternates=alternates,
                ),
            )


class Older(NamedTuple):
    """What was at a path whose bytes change, in a revision that is still kept."""

    number: int
    revision: Revision


def older_versions(tree: ReleaseTree, revision: int) -> dict[bytes, tuple[Older, ...]]:
    """Return what was at the paths whose bytes change, newest first, for the kept revisions."""
    query = (
        "SELECT f.id, f.path, f.size, f.sha256,"
        " coalesce(extract(epoch FROM coalesce(f.modified_at, p.published_at)), 0)::bigint,"
        " h.sha1, h.md5 FROM archive_treefile f"
        " LEFT JOIN archive_filehashes h ON h.sha256 = f.sha256"
        " LEFT JOIN archive_publication p"
        "  ON p.tree_id = f.tree_id AND p.revision = f.since_revision"
        " WHERE f.tree_id = %s AND f.changes AND length(f.sha256) = 64"
        " AND f.until_revision > %s AND f.until_revision <= %s"
        " ORDER BY f.until_revision DESC, f.id DESC"
    )
    found: dict[bytes, list[Older]] = {}
    with connection.cursor() as cursor:
        cursor.execute(query, [tree.pk, revision - tree.keep_revisions, revision])
        for number, path, size, sha256, modified_at, sha1, md5 in cursor.fetchall():
            hashes = (bytes.fromhex(sha256), bytes(sha1 or b""), bytes(md5 or b""))
            older = Older(number, Revision(int(modified_at), size, *hashes))
            found.setdefault(path.encode(), []).append(older)
    return {path: tuple(versions) for path, versions in found.items()}


def _alternates(versions: Sequence[Older], current: bytes) -> tuple[Revision, ...]:
    """Return the revisions of these, each bytes once and not those that are there now."""
    by_digest = {one.revision.sha256: one.revision for one in reversed(versions)}
    by_digest.pop(current, None)
    return tuple(reversed(by_digest.values()))


def _where(
    tree: ReleaseTree,
    revision: int,
    first: int | None,
    since: Sequence[int] | None,
    numbers: Sequence[int] | None,
    below: str,
) -> tuple[str, list[Any]]:
    where = (
        "f.tree_id = %s AND f.since_revision <= %s"
        " AND (f.until_revision IS NULL OR f.until_revision > %s)"
    )
    parameters: list[Any] = [tree.pk, revision, revision if first is None else first]
    if since is not None:
        where += " AND f.since_revision = ANY(%s)"
        parameters.append(list(since))
    if numbers is not None:
        where += " AND f.id = ANY(%s)"
        parameters.append(list(numbers))
    if below:
        where += " AND starts_with(f.path, %s)"
        parameters.append(f"{below}/")
    return where, parameters


def _copied(query: str, parameters: Sequence[Any]) -> Iterator[bytes]:
    """Yield the rows of `query` as COPY's text, whole lines of some ROWS_AT_ONCE rows at a time."""
    with connection.cursor() as cursor:
        whole = cursor.mogrify(query, parameters)  # Django's debug cursor copies without parameters
        with cursor.copy(f"COPY ({whole}) TO STDOUT") as copy:
            rows = iter(copy)
            while block := b"".join(islice(rows, ROWS_AT_ONCE)):
                yield block


def _split(rows: bytes) -> list[bytes]:
    return rows[:-1].replace(b"\n", b"\t").split(b"\t")


def _integers(texts: list[bytes]) -> Numbers:
    return np.fromiter(map(int, texts), np.int64, len(texts))


def _unescaped(path: bytes) -> bytes:
    """Undo what COPY does to a path with a backslash or a control character (PostgreSQL, COPY)."""
    if b"\\" not in path:
        return path
    return _ESCAPED.sub(lambda found: _MEANS.get(found[1], found[1]), path)
