"""Putting bytes into the store, and getting them back."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.lib.paths import is_sha256
from commonfarm.store import disk
from commonfarm.store.errors import BlobDamagedError
from commonfarm.store.models import Blob

WRITERS = 8


def put_bytes(data: bytes) -> Blob:
    """Store `data` and return its blob; StoreFullError when the disk is full."""
    return _put([data])


def put_all(contents: Sequence[bytes]) -> list[Blob]:
    """Store each of `contents` as `put_bytes` does, and return their blobs in the same order.

    They are synced side by side, which a disk's journal takes as few writes instead of many.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        placed = list(pool.map(lambda data: _place([data]), contents))
    blobs = [Blob(sha256=sha256, size=size) for sha256, size in placed]
    Blob.objects.bulk_create(blobs, ignore_conflicts=True)
    return blobs


def put_file(path: Path) -> Blob:
    """Store a copy of what `path` holds and return its blob; StoreFullError when the disk is full.

    The hash is that of the bytes copied, so a file that changes meanwhile does no harm.
    """
    return _put(_pieces(path))


def path_of(sha256: str) -> Path:
    """Return the path of a blob's file; raise NotFoundError when it is not stored."""
    if not is_sha256(sha256) or not Blob.objects.filter(sha256=sha256).exists():
        raise NotFoundError(
            Reason("no-such-blob", f"nothing is stored as {sha256}", "upload it first")
        )
    return disk.blob_path(sha256)


def read(sha256: str) -> bytes:
    """Return a blob's bytes; raise NotFoundError when it is not stored."""
    return path_of(sha256).read_bytes()


def check(sha256: str) -> Blob:
    """Read a blob's file in full and return the blob if it is what its row says.

    Raises NotFoundError when there is no row, BlobDamagedError when the file does not match it.
    """
    path = path_of(sha256)
    blob = Blob.objects.get(sha256=sha256)
    try:
        found, size = disk.hash_file(path)
    except FileNotFoundError:
        raise BlobDamagedError(sha256, "it is missing") from None
    if size != blob.size:
        raise BlobDamagedError(sha256, f"it has {size} bytes instead of {blob.size}")
    if found != sha256:
        raise BlobDamagedError(sha256, f"its SHA-256 is {found}")
    return blob


def row_for(sha256: str, size: int) -> Blob:
    """Write the row of a file that `disk.settle` has put in place; one row however often."""
    return Blob.objects.bulk_create([Blob(sha256=sha256, size=size)], ignore_conflicts=True)[0]


def _put(pieces: Iterable[bytes]) -> Blob:
    return row_for(*_place(pieces))


def _place(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Put a file in its place, synced; return its SHA-256 and size for its row."""
    digest, size = hashlib.sha256(), 0
    folder = disk.incoming_folder()
    with disk.full_disk_is_said():
        descriptor, name = tempfile.mkstemp(prefix="put-", dir=folder)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as out:
                for piece in pieces:
                    out.write(piece)
                    digest.update(piece)
                    size += len(piece)
            disk.settle(temporary, digest.hexdigest(), size)
        finally:
            temporary.unlink(missing_ok=True)
    return digest.hexdigest(), size


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while piece := opened.read(disk.PIECE_BYTES):
            yield piece
