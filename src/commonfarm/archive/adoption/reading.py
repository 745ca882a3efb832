"""The hashes of an adopted tree's files, read in the background.

A file counts only if size and time are those of its row before it is read and after: what is
written meanwhile is found by the next look.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from django.db import transaction
from django.db.models import QuerySet

from commonfarm.archive import hashing
from commonfarm.archive.adoption.comparing import MOST_NS
from commonfarm.archive.models import TreeFile
from commonfarm.estate.interface import ReleaseTree

BATCH = 100
BATCH_SECONDS = 5.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


def unread(tree: ReleaseTree) -> QuerySet[TreeFile]:
    """Return the files whose hashes are not known yet."""
    return TreeFile.objects.filter(tree=tree, until_revision=None, sha256="")


def read_some(tree: ReleaseTree, after: int, seconds: float) -> int | None:
    """Hash files for about so many seconds, one file at least; what changes in place comes first.

    Returns after which file number to go on, None when there are no more.
    """
    end = time.monotonic() + seconds
    _read(tree, list(unread(tree).filter(changes=True).order_by("pk")[:BATCH]))
    while some := list(unread(tree).filter(pk__gt=after).order_by("pk")[:BATCH]):
        after = _read(tree, some)
        if time.monotonic() > end:
            return after
    return None


def _read(tree: ReleaseTree, files: list[TreeFile]) -> int:
    """Hash these, or as many as a batch's time is enough for; return the number of the last."""
    end = time.monotonic() + BATCH_SECONDS
    found: list[tuple[TreeFile, hashing.Hashes]] = []
    last = 0
    for file in files:
        last = file.pk
        with suppress(OSError):  # gone, or not ours to read: the next look says so
            if (hashes := _hash(tree.adopts, file)) is not None:
                found.append((file, hashes))
        if time.monotonic() > end:
            break
    with transaction.atomic():
        hashing.save(hashes for _, hashes in found)
        for file, hashes in found:
            TreeFile.objects.filter(pk=file.pk).update(sha256=hashes.sha256)
    return last


def _hash(root: str, file: TreeFile) -> hashing.Hashes | None:
    with os.fdopen(_open(root, file.path), "rb") as opened:
        if not _is(opened.fileno(), file):
            return None
        hashes = hashing.hash_opened(opened)
        return hashes if _is(opened.fileno(), file) and hashes.size == file.size else None


def _is(descriptor: int, file: TreeFile) -> bool:
    status = os.fstat(descriptor)
    modified_ns = min(status.st_mtime_ns, MOST_NS)
    is_file = stat.S_ISREG(status.st_mode)
    return is_file and (status.st_size, modified_ns) == (file.size, file.modified_ns)


def _open(root: str, path: str) -> int:
    """Open a file of a folder; no part of its path is followed out of there by a symlink."""
    *folders, name = path.split("/")
    here = os.open(root, _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)
