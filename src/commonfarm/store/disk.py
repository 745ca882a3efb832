"""The store's directory: files by their SHA-256, each synced before anything points at it.

    <store>/incoming/            what is still being written
    <store>/blobs/ab/abcd…       what is whole

Files have mode 0664 and folders 2770, all of one group: who may hard-link a file of another user
is decided by its being writable (`fs.protected_hardlinks`), and the worker links into the
published trees what the hub has written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from commonfarm.lib.paths import is_sha256
from commonfarm.store.errors import StoreFullError

FILE_MODE = 0o664
FOLDER_MODE = 0o2770
PIECE_BYTES = 1 << 20


def root() -> Path:
    """Return the store's directory."""
    return Path(settings.COMMONFARM.store)


def incoming_folder() -> Path:
    """Return the folder of files that are still being written; it exists."""
    folder = root() / "incoming"
    make_folder(folder)
    return folder


def blob_path(sha256: str) -> Path:
    """Return where the bytes with this SHA-256 lie, or would lie; ValueError if it is not one."""
    if not is_sha256(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256")
    return root() / "blobs" / sha256[:2] / sha256


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it up to the store, with their modes; idempotent."""
    if folder.is_dir():
        return
    if folder != root():
        make_folder(folder.parent)
    with full_disk_is_said(), contextlib.suppress(FileExistsError):
        folder.mkdir()
        # mkdir's mode is cut by the umask; without its group bits others could not write here.
        folder.chmod(FOLDER_MODE)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def full_disk_is_said() -> Iterator[None]:
    """Turn the operating system's "no space" and "over quota" into StoreFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError from None
        raise


def hash_file(file: Path) -> tuple[str, int]:
    """Return the SHA-256 in hex and the size in bytes of what `file` holds now."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return digest, opened.tell()


def settle(temporary: Path, sha256: str, size: int) -> None:
    """Put a whole file of `incoming` where its hash belongs, durably; the caller unlinks it there.

    The file and its folder are on disk when this returns. When the same bytes lie there already
    they stay, since published trees may be links to them; other bytes are a damaged file, and are
    replaced.
    """
    target = blob_path(sha256)
    make_folder(target.parent)
    with full_disk_is_said():
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fchmod(descriptor, FILE_MODE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            target.hardlink_to(temporary)
        except FileExistsError:
            if hash_file(target) != (sha256, size):
                temporary.replace(target)
        sync_folder(target.parent)
