"""Uploads in chunks: idempotent, resumable, and silent about what others have stored.

An upload's bytes lie in `<store>/incoming/<id>` until the last has come; its length is how far it
came, so a kill at any point loses at most the chunk that was not yet answered. The row is locked
while a chunk is written, so the same chunk sent twice at once is written once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.lib.paths import is_sha256
from commonfarm.lib.units import format_bytes
from commonfarm.store import blobs, disk
from commonfarm.store.errors import GapError, StoreFullError, UploadLiesError
from commonfarm.store.models import Blob, Upload

ABANDONED_AFTER = timedelta(days=7)


def start_upload(owner: str, sha256: str, size: int) -> int:
    """Begin or resume the upload of a file and return the bytes received so far.

    `owner` names who may go on with it (`lease:7`, `user:anna`). What anybody else has stored
    makes no difference to the answer. Raises UploadLiesError for a hash or size that cannot be,
    StoreFullError when there is no room for it.
    """
    if not is_sha256(sha256):
        raise UploadLiesError(f"{sha256[:80]!r} is not a SHA-256 in lower-case hex")
    if not 0 <= size < 2**63:
        raise UploadLiesError(f"a file cannot have {size} bytes")
    with transaction.atomic():
        Upload.objects.get_or_create(owner=owner, sha256=sha256, defaults={"size": size})
        upload = Upload.objects.select_for_update().get(owner=owner, sha256=sha256)
        if upload.finished_at is not None and upload.size == size:
            return size
        if upload.size != size:
            # Its own owner names another size: one of the two was wrong, so it starts afresh.
            _partial(upload).unlink(missing_ok=True)
            upload.size, upload.finished_at = size, None
            upload.save(update_fields=["size", "finished_at"])
        received = _received(upload)
        if size - received > shutil.disk_usage(_partial(upload).parent).free:
            raise StoreFullError
        lie = _finish(upload) if received >= size else None
    return _answer(upload, lie, received)


def add_chunk(owner: str, sha256: str, offset: int, data: bytes) -> int:
    """Add `data` at `offset` and return the bytes received in all.

    A chunk that was received before is accepted again. The last one has hash and size verified
    and the blob stored. Raises NotFoundError for an upload that was not started, GapError for a
    chunk beyond what was received, UploadLiesError (and drops the upload) for more bytes than were
    announced or another hash, StoreFullError when the disk is full: nothing received is lost.
    """
    with transaction.atomic():
        upload = Upload.objects.select_for_update().filter(owner=owner, sha256=sha256).first()
        if upload is None:
            raise NotFoundError(
                Reason("upload-not-started", f"no upload of {sha256} was started", "start it")
            )
        if upload.finished_at is not None:
            return upload.size
        received, lie = _received(upload), None
        if offset > received or offset < 0:
            raise GapError(received)
        if offset + len(data) > upload.size:
            lie = f"the file has more than the {upload.size} bytes announced"
            _drop(upload)
        else:
            _append(_partial(upload), received, data[received - offset :])
            received = max(received, offset + len(data))
            if received == upload.size:
                lie = _finish(upload)
    return _answer(upload, lie, received)


def finished_upload(owner: str, sha256: str) -> Blob:
    """Return the blob that `owner` uploaded in full; NotFoundError when that owner did not."""
    if not Upload.objects.filter(owner=owner, sha256=sha256, finished_at__isnull=False).exists():
        raise NotFoundError(
            Reason("upload-missing", f"{owner} has not uploaded {sha256}", "upload it first")
        )
    return Blob.objects.get(sha256=sha256)


def finished_uploads(owner: str, hashes: Collection[str]) -> set[str]:
    """Return those of `hashes` that `owner` uploaded in full."""
    found = Upload.objects.filter(owner=owner, sha256__in=hashes, finished_at__isnull=False)
    return set(found.values_list("sha256", flat=True))


def drop_abandoned(now: datetime) -> int:
    """Drop unfinished uploads and torn temporary files older than a week; return how many."""
    dropped = 0
    for upload in Upload.objects.filter(
        finished_at=None, started_at__lt=now - ABANDONED_AFTER
    ).iterator():
        _drop(upload)
        dropped += 1
    oldest = (now - ABANDONED_AFTER).timestamp()
    for file in disk.incoming_folder().iterdir():
        if file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)
            dropped += 1
    return dropped


def _partial(upload: Upload) -> Path:
    return disk.incoming_folder() / str(upload.id)


def _received(upload: Upload) -> int:
    try:
        return _partial(upload).stat().st_size
    except FileNotFoundError:
        return 0


def _append(file: Path, at: int, data: bytes) -> None:
    """Write `data` at the end of `file`, all of it or nothing."""
    with disk.full_disk_is_said():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, disk.FILE_MODE)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], at + written)
        except OSError:
            os.ftruncate(descriptor, at)
            raise
        finally:
            os.close(descriptor)


def _finish(upload: Upload) -> str | None:
    """Verify and store what came in full; return what is wrong when it is not what was said."""
    file = _partial(upload)
    if upload.size == 0:
        file.touch()
    found, size = disk.hash_file(file)
    if (found, size) != (upload.sha256, upload.size):
        _drop(upload)
        return (
            f"the file of {format_bytes(size)} has the SHA-256 {found}, not {upload.sha256}"
            " as announced"
        )
    disk.settle(file, found, size)
    blobs.row_for(found, size)
    upload.finished_at = timezone.now()
    upload.save(update_fields=["finished_at"])
    # Killed before the commit, the upload is still whole, and is finished by whoever resumes it.
    transaction.on_commit(partial(file.unlink, missing_ok=True))
    return None


def _drop(upload: Upload) -> None:
    _partial(upload).unlink(missing_ok=True)
    upload.delete()


def _answer(upload: Upload, lie: str | None, received: int) -> int:
    """Raise outside the transaction, so that a dropped upload stays dropped."""
    if lie is not None:
        raise UploadLiesError(lie)
    return min(received, upload.size)
