"""Further hashes of what is published, for metalinks, audits of mirrors and manifests.

Each content is read once, however many paths and trees have it, and before the publication that
needs it: nobody waits for hashes while a tree is locked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO

from procrastinate.contrib.django import app

from commonfarm.archive.models import Entry, FileHashes, Publication, Release, ReleaseFile
from commonfarm.guard.interface import defer_once
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.store.interface import Blob, BlobDamagedError, blob_path

LEAST_PIECE_BYTES = 256 * 2**10
MOST_PIECES = 1024
WHOLE_BYTES = 4 * 2**20
"""A file up to so long is one piece: its SHA-256 is enough to check what was fetched of it."""
BATCH = 500
_READ_BYTES = LEAST_PIECE_BYTES
_SHORT_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Hashes:
    """The hashes of one file; `pieces` are the SHA-256 of its pieces, one behind the other.

    `piece_bytes` is 0, and there are no pieces, for a file of up to WHOLE_BYTES.
    """

    size: int
    sha256: str
    sha1: bytes
    md5: bytes
    piece_bytes: int
    pieces: bytes


def piece_bytes_of(size: int) -> int:
    """Return how long the pieces of a file of `size` bytes are; 0 when it has none.

    A power of two, so that there are at most MOST_PIECES.
    """
    if size <= WHOLE_BYTES:
        return 0
    needed = -(-size // MOST_PIECES)
    return max(LEAST_PIECE_BYTES, 1 << (needed - 1).bit_length())


def hash_file(file: Path) -> Hashes:
    """Return the hashes of what `file` holds now, reading it once; OSError when it cannot be."""
    with file.open("rb") as opened:
        return hash_opened(opened)


def hash_opened(opened: IO[bytes]) -> Hashes:
    """Return the hashes of an opened file, from where it stands to its end."""
    piece_bytes = piece_bytes_of(os.fstat(opened.fileno()).st_size)
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    md5 = hashlib.md5(usedforsecurity=False)
    pieces: list[bytes] = []
    size, piece = 0, hashlib.sha256()
    while read := opened.read(_READ_BYTES):
        for one in (sha256, sha1, md5):
            one.update(read)
        size += len(read)
        if piece_bytes:
            piece.update(read)
            if size % piece_bytes == 0:
                pieces.append(piece.digest())
                piece = hashlib.sha256()
    if piece_bytes and size % piece_bytes:
        pieces.append(piece.digest())
    return Hashes(
        size, sha256.hexdigest(), sha1.digest(), md5.digest(), piece_bytes, b"".join(pieces)
    )


@app.task(name="archive.hash_release", queue="default")
def hash_release(release_id: int) -> None:
    """Hash the files of a release: when it is to be public, nobody waits for that."""
    rows = ReleaseFile.objects.filter(release=release_id, blob__isnull=False).order_by("path")
    hash_blobs(rows.values_list("blob_id", flat=True), pass_damaged=True)


def hash_soon(release: Release) -> None:
    """Have a release's files hashed, once the surrounding transaction commits."""
    defer_once(hash_release, f"hash-release-{release.pk}", release_id=release.pk)


def hash_ahead(publication: Publication) -> None:
    """Hash the packages and the files of releases that a publication brings.

    What is damaged or lost is passed over: the step that needs it refuses.
    """
    packages = Entry.objects.filter(publication=publication).values_list("artifact__blob_id")
    files = ReleaseFile.objects.filter(release__publication=publication).values_list("blob_id")
    hash_blobs((sha256 for (sha256,) in chain(packages, files) if sha256), pass_damaged=True)


def hash_all(blobs: Iterable[Blob]) -> None:
    """Have the hashes of these; RefusedError when one is damaged or lost."""
    try:
        hash_blobs(one.sha256 for one in blobs)
    except BlobDamagedError as error:
        raise RefusedError(error.reason) from None


def hash_blobs(sha256s: Iterable[str], *, pass_damaged: bool = False) -> int:
    """Have rows of `FileHashes` for all these blobs; return how many were read for that.

    Killed in between it goes on where it was, but for what its transaction (if it is in one) lost.
    Raises BlobDamagedError for one that is not what its name says, NotFoundError for one that is
    not stored; with `pass_damaged` these get no row.
    """
    count = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        asked = iter(dict.fromkeys(sha256s))
        while some := list(islice(asked, BATCH)):
            known = set(FileHashes.objects.filter(pk__in=some).values_list("pk", flat=True))
            lacking = [one for one in some if one not in known]
            if not lacking:
                continue
            sizes = dict(Blob.objects.filter(pk__in=lacking).values_list("pk", "size"))
            missing = [one for one in lacking if one not in sizes]
            if missing and not pass_damaged:
                what = f"nothing is stored as {missing[0]}"
                raise NotFoundError(Reason("no-such-blob", what, "upload it first"))
            hash_one = partial(_hash_blob, pass_damaged=pass_damaged)
            # Handing a short one to a thread takes longer than reading it.
            short = [(one, size) for one, size in sizes.items() if size <= _SHORT_BYTES]
            long = [(one, size) for one, size in sizes.items() if size > _SHORT_BYTES]
            save(filter(None, map(hash_one, short)))
            for one in pool.map(hash_one, long):
                save(filter(None, [one]))
            count += len(sizes)
    return count


def save(found: Iterable[Hashes]) -> None:
    """Store the hashes of files; those of contents that are known already stay."""
    FileHashes.objects.bulk_create(
        (
            FileHashes(
                sha256=one.sha256,
                size=one.size,
                sha1=one.sha1,
                md5=one.md5,
                piece_bytes=one.piece_bytes,
                pieces=one.pieces,
            )
            for one in found
        ),
        ignore_conflicts=True,
    )


def _hash_blob(asked: tuple[str, int], *, pass_damaged: bool) -> Hashes | None:
    sha256, size = asked
    try:
        found = hash_file(blob_path(sha256))
        if found.size != size:
            raise BlobDamagedError(sha256, f"it has {found.size} bytes instead of {size}")
        if found.sha256 != sha256:
            raise BlobDamagedError(sha256, f"its SHA-256 is {found.sha256}")
    except (BlobDamagedError, FileNotFoundError) as error:
        if pass_damaged:
            return None
        if isinstance(error, FileNotFoundError):
            raise BlobDamagedError(sha256, "it is missing") from None
        raise
    return found
