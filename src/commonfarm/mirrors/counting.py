"""Takes up what redirectors counted: batches of JSON lines (`redirector.counts` says their form).

A batch is counted once, however often it comes: its id is kept in the transaction that counts it,
and its file is removed after that. It is counted as a whole or, with a reason, not at all; rows of
trees, mirrors and files that there never were are left out, so no batch can grow the tables beyond
what was published and registered.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import DataError, connection, transaction

from commonfarm.archive.interface import TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import alone
from commonfarm.journal.interface import record
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.mirrors.events import CountsSetAside
from commonfarm.mirrors.models import CountBatch, FileCount, Mirror, MirrorCount

FORMAT = 1
MOST_BYTES = 16 * 2**20
MOST_ROWS = 100_000
MOST_FILES = 1000
"""So many batches are taken up at once; the next time others."""
MOST_REFUSED = 200
"""So many refused batches are kept to be looked at, the newest."""
LATE = timedelta(days=40)
"""A redirector may bring counts of so long ago."""
BY_MIRROR_KEPT = timedelta(days=400)
BY_FILE_KEPT = timedelta(days=90)
"""There are many more rows by file than by mirror and country, of which two years compare."""
BATCHES_KEPT = LATE + timedelta(days=5)
SUFFIX = ".counts"
_COUNTRY = re.compile(r"[A-Z]{2}")
_MOST_DOWNLOADS, _MOST_SIZE = 2**40, 2**56
_AT_ONCE = 5000

log = logging.getLogger(__name__)

Sums = dict[tuple[str, ...], list[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """What was downloaded of one file from one mirror (empty: from ourselves) in one country."""

    tree: str
    path: str
    mirror: str
    country: str
    downloads: int
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one redirector counted in a while of one UTC day."""

    id: UUID
    day: date
    rows: tuple[Row, ...]


class BadBatchError(RefusedError):
    """These bytes are no batch, or one that is not counted."""


def parse(data: bytes, today: date) -> Batch:
    """Return the batch in `data`; BadBatchError says why it is none, or cannot be counted."""
    if len(data) > MOST_BYTES:
        raise _bad(f"it is larger than {MOST_BYTES} bytes")
    if not data.endswith(b"\n"):
        raise _bad("it is cut short: its last line has no end")
    head, *lines = data[:-1].split(b"\n")
    if len(lines) > MOST_ROWS:
        raise _bad(f"it has over {MOST_ROWS} rows")
    first = _json(head, 1)
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise _bad(f"line 1 does not say format {FORMAT}")
    try:
        identity, day = UUID(first["id"]), date.fromisoformat(first["day"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _bad("line 1 has no id or no day") from None
    if not today - LATE <= day <= today + timedelta(days=1):
        raise _bad(f"it is of {day}, and today is {today}")
    return Batch(identity, day, tuple(_row(line, number) for number, line in enumerate(lines, 2)))


def take(batch: Batch, now: datetime) -> bool:
    """Count a batch, unless it was counted before; say whether it was now."""
    with transaction.atomic():
        _, new = CountBatch.objects.get_or_create(id=batch.id, defaults={"taken_at": now})
        if not new:
            return False
        known = _known(batch)
        mirrors: Sums = defaultdict(lambda: [0, 0])
        files: Sums = defaultdict(lambda: [0, 0])
        left_out = 0
        for row in batch.rows:
            if (row.tree, row.path) not in known.files or row.mirror not in known.mirrors:
                left_out += 1
                continue
            for sums, key in (
                (mirrors, (row.tree, row.mirror, row.country)),
                (files, (row.tree, row.path)),
            ):
                sums[key][0] += row.downloads
                sums[key][1] += row.size
        try:
            _add("mirrors_mirrorcount", ("tree", "mirror", "country"), batch.day, mirrors)
            _add("mirrors_filecount", ("tree", "path"), batch.day, files)
        except DataError as error:
            raise _bad(f"its sums are beyond what is kept: {str(error)[:200]}") from None
    if left_out:
        log.info("batch %s has %d rows of no file of a tree", batch.id, left_out)
    return True


def take_up(folder: Path, now: datetime) -> int:
    """Count the batches that lie in a spool, and return how many. BusyError: another is at it."""
    taken = 0
    with alone(f"counts in {folder}", wait=False):
        for file in _batches(folder):
            try:
                taken += take(parse(_read(file), now.date()), now)
            except BadBatchError as error:
                _set_aside(file, error.reason)
            else:
                file.unlink(missing_ok=True)
    return taken


def prune(now: datetime) -> dict[str, int]:
    """Remove what is older than it is kept; return how many rows of which table."""
    today = now.date()
    rows = {
        "count batches": CountBatch.objects.filter(taken_at__lt=now - BATCHES_KEPT),
        "counts by mirror": MirrorCount.objects.filter(day__lt=today - BY_MIRROR_KEPT),
        "counts by file": FileCount.objects.filter(day__lt=today - BY_FILE_KEPT),
    }
    return {name: found.delete()[0] for name, found in rows.items()}


@dataclass(frozen=True, slots=True)
class _Known:
    files: frozenset[tuple[str, str]]
    mirrors: frozenset[str]


def _known(batch: Batch) -> _Known:
    """Return which files and mirrors of a batch there are, or were."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for row in batch.rows:
        wanted[row.tree].add(row.path)
    numbers = dict(ReleaseTree.objects.filter(name__in=wanted).values_list("name", "pk"))
    files: set[tuple[str, str]] = set()
    for tree, number in numbers.items():
        paths = iter(wanted[tree])
        while some := list(islice(paths, _AT_ONCE)):
            there = TreeFile.objects.filter(tree=number, path__in=some)
            files.update((tree, path) for path in there.values_list("path", flat=True))
    asked = {row.mirror for row in batch.rows}
    mirrors = Mirror.objects.filter(name__in=asked).values_list("name", flat=True)
    return _Known(frozenset(files), frozenset({"", *mirrors}))


def _add(
    table: str, names: tuple[str, ...], day: date, sums: Mapping[tuple[str, ...], list[int]]
) -> None:
    """Add sums to the rows of a day, which are made where they are missing.

    In order of their keys, so that two who add at once wait for each other and never in a circle.
    """
    rows = sorted(sums.items())
    columns: list[list[Any]] = [[key[place] for key, _ in rows] for place in range(len(names))]
    columns += [[value[place] for _, value in rows] for place in range(2)]
    names_of_columns = ", ".join(names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (day, {names_of_columns}, downloads, size)"  # noqa: S608 - ours
            f" SELECT %s, * FROM unnest({', '.join(['%s::text[]'] * len(names))},"
            " %s::bigint[], %s::bigint[])"
            f" ON CONFLICT (day, {names_of_columns}) DO UPDATE"
            f" SET downloads = {table}.downloads + EXCLUDED.downloads,"
            f" size = {table}.size + EXCLUDED.size",
            [day, *columns],
        )


def _row(line: bytes, number: int) -> Row:
    fields = _json(line, number)
    if not isinstance(fields, list) or len(fields) != 6:
        raise _bad(f"line {number} is no row of six")
    *texts, downloads, size = fields
    if not all(isinstance(text, str) and _storable(text) for text in texts):
        raise _bad(f"line {number} names something that is no text")
    tree, path, mirror, country = texts
    if not _COUNTRY.fullmatch(country):
        raise _bad(f"line {number} has the country {country[:20]!r}")
    for value, most in ((downloads, _MOST_DOWNLOADS), (size, _MOST_SIZE)):
        if type(value) is not int or not 0 <= value <= most:
            raise _bad(f"line {number} has a count that is none")
    return Row(tree, path, mirror, country, downloads, size)


def _storable(text: str) -> bool:
    # A path of other bytes than UTF-8 arrives with surrogates: no file is published under it.
    return "\0" not in text and (text.isascii() or not re.search("[\ud800-\udfff]", text))


def _json(line: bytes, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _bad(f"line {number} is no JSON") from None


def _batches(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if one.is_file(follow_symlinks=False)]
    found = sorted(name for name in names if name.endswith(SUFFIX) and not name.startswith("."))
    return [folder / name for name in found[:MOST_FILES]]


def _read(file: Path) -> bytes:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise _bad(f"it cannot be read: {error.strerror}") from None


def _set_aside(file: Path, reason: Reason) -> None:
    """Put a file that is not counted where a person can look at it, and say why."""
    refused = file.parent / "refused"
    refused.mkdir(mode=0o770, exist_ok=True)
    kept = sorted(refused.glob(f"*{SUFFIX}"), key=lambda one: one.lstat().st_mtime)
    for old in kept[: max(0, len(kept) - MOST_REFUSED + 1)]:
        old.unlink(missing_ok=True)
        old.with_suffix(".reason").unlink(missing_ok=True)
    # The reason first: a batch that lies there has one.
    (refused / file.name).with_suffix(".reason").write_text(f"{reason}\n", encoding="utf-8")
    file.replace(refused / file.name)
    with transaction.atomic():
        event = CountsSetAside(f"counts:{file.stem[:80]}", problem=str(reason))
        record(event, who="process:worker")


def _bad(text: str) -> BadBatchError:
    return BadBatchError(
        Reason(
            "bad-counts", f"the batch is not counted: {text}", "look at the redirector's version"
        )
    )
