"""A job's log: pieces in the database while it runs, one blob once its lease has ended."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from django.db import connection, transaction

from commonfarm.agent.protocol import LOG_PIECE_BYTES
from commonfarm.farm.models import Lease, LogPiece
from commonfarm.http.interface import ProblemError
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.store.interface import GapError, path_of, put_file

CHANNEL = "log"
MOST_BYTES = 512 * 2**20
READ_BYTES = 1 << 20


def add_piece(lease: Lease, offset: int, data: bytes) -> int:
    """Append what is new of a piece and return how long the log is now.

    A piece may be sent twice. Raises GapError when bytes before `offset` are missing,
    BadInputError when it is too large, ProblemError (410) when the lease
    is over, RefusedError when the log has grown too long.
    """
    if not 0 < len(data) <= LOG_PIECE_BYTES:
        raise BadInputError(
            Problem(
                "log",
                0,
                0,
                f"a piece of {len(data)} bytes",
                f"send 1 to {LOG_PIECE_BYTES} bytes at a time",
            )
        )
    with transaction.atomic():
        locked = Lease.objects.select_for_update().get(pk=lease.pk)
        over = locked.over()
        if over is not None:
            raise ProblemError(HTTPStatus.GONE, over)
        length = _length(locked)
        if offset > length:
            raise GapError(length)
        new = data[length - offset :]
        if not new:
            return length
        if length + len(new) > MOST_BYTES:
            raise RefusedError(
                Reason("log-too-long", f"a log has at most {MOST_BYTES} bytes", "print less")
            )
        LogPiece.objects.create(lease=locked, offset=length, data=new)
        tell_readers(lease.pk)
    return length + len(new)


def tell_readers(lease_id: int) -> None:
    """Wake who follows the log, when the transaction commits: it grew, or its lease ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(lease_id)])


@dataclass(frozen=True, slots=True)
class LogPart:
    """Bytes of a log from `offset`; `complete` when the lease is over and nothing follows."""

    offset: int
    data: bytes
    complete: bool


def read_log(lease: Lease, offset: int, most: int = READ_BYTES) -> LogPart:
    """Return up to about `most` bytes of the log from `offset`."""
    # Whether it has ended is read before the bytes, so that none can follow a `complete`.
    lease.refresh_from_db()
    if lease.log_id is None:
        part = _from_pieces(lease, offset, most)
        if not part.complete:
            return part
        # The pieces may have become a blob while they were looked for.
        lease.refresh_from_db()
        if lease.log_id is None:
            return part
    with path_of(lease.log_id).open("rb") as log:
        log.seek(offset)
        data = log.read(most)
        complete = offset + len(data) >= log.seek(0, 2)
    return LogPart(offset, data, complete)


def _from_pieces(lease: Lease, offset: int, most: int) -> LogPart:
    pieces = LogPiece.objects.filter(lease=lease, offset__lt=offset + most).order_by("offset")
    before = pieces.filter(offset__lte=offset).values_list("offset", flat=True).last()
    found = bytearray()
    for piece in pieces.filter(offset__gte=before or 0):
        found += bytes(piece.data)[max(0, offset - piece.offset) :]
    # There is no gap between pieces, so more can follow only where the bytes reach so far.
    complete = lease.ended_at is not None and len(found) < most
    return LogPart(offset, bytes(found), complete)


def size_of(lease: Lease) -> int:
    """Return how many bytes the log of a lease has now."""
    return lease.log.size if lease.log is not None else _length(lease)


def join(lease_id: int) -> None:
    """Make one blob of the pieces of a lease that has ended; does nothing when it was done.

    Killed at any point it can be called again: the pieces go in the transaction that names the
    blob, and the same bytes are the same blob.
    """
    lease = Lease.objects.get(pk=lease_id)
    if lease.ended_at is None or lease.log_id is not None:
        return
    with tempfile.TemporaryDirectory(prefix="cf-log-") as name:
        file = Path(name) / "log"
        with file.open("wb") as out:
            for piece in LogPiece.objects.filter(lease=lease).order_by("offset").iterator(64):
                out.write(piece.data)
        if not file.stat().st_size:
            return
        blob = put_file(file)
    with transaction.atomic():
        if Lease.objects.filter(pk=lease_id, log=None).update(log=blob):
            LogPiece.objects.filter(lease=lease).delete()


def unjoined() -> list[int]:
    """Return the ids of leases that have ended and whose log is still in pieces."""
    ended = Lease.objects.filter(ended_at__isnull=False, log=None)
    return [*ended.filter(pk__in=LogPiece.objects.values("lease")).values_list("pk", flat=True)]


def whole_characters(data: bytes) -> bytes:
    """Return `data` without a UTF-8 character that is cut off at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a longer character
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
        if byte < 0x80:
            break
    return data


def _length(lease: Lease) -> int:
    last = LogPiece.objects.filter(lease=lease).order_by("-offset").first()
    return last.offset + len(last.data) if last else 0
