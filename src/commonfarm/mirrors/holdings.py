"""Which files of its tree each mirror was seen to have: a bitmap over the numbers of TreeFile rows.

Bytes that change in place have a number for each version: a mirror that is a little behind has the
bit of the version that it serves. Listings tell no bytes, so only checks set these bits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from django.utils import timezone

from commonfarm.archive.interface import (
    FileColumns,
    PublicationState,
    TreeFile,
    file_columns,
    joined,
    older_versions,
)
from commonfarm.journal.interface import record
from commonfarm.mirrors import alarms
from commonfarm.mirrors.bitmaps import Bitmap, Numbers
from commonfarm.mirrors.models import Arrival, Holdings, Mirror, Scan, ScanKind
from commonfarm.mirrors.scanning import Listed, ScanError
from commonfarm.mirrors.scanning.values import UNKNOWN_SIZE

WHO = "process:worker"
MOST_MISSING = 1000
REVISIONS_FOLLOWED = 20
FOLLOWED_FOR = timedelta(hours=6)
MOST_FOLLOWED = 5000
"""Of a tree's newest revisions it is noted when a mirror had all that was new, and the new files of
those that are so recent, and brought so few, are asked for until they are there."""
NAMES_AT_ONCE = 20_000
LOST_SHARE, LOST_FILES = 0.1, 10
"""A listing that lacks a tenth of what the mirror had, and so many files, is asked about: a listing
can be wrong, as in the middle of an rsync, and the origin would have to serve all that."""
CONFIRMED_BY = 40

Flags = npt.NDArray[np.bool_]
Verify = Callable[[Sequence[tuple[str, int]]], bool]
"""Asks a mirror for files of the tree (path, size) and says whether it serves most of them; raises
ScanError when it cannot be asked."""


class Expected:
    """The files that a mirror should have: columns, and a way to find a path's row.

    Paths are not kept: a row is found by a keyed hash of 64 bits that nobody outside can foresee.
    """

    def __init__(self, mirror: Mirror, revision: int) -> None:
        below = len(mirror.subtree) + 1 if mirror.subtree else 0
        keys: list[Numbers] = []

        def without_paths() -> Iterator[FileColumns]:
            for some in file_columns(mirror.tree, revision, below=mirror.subtree):
                keys.append(keys_of(path[below:] for path in some.paths))
                yield replace(some, paths=[])

        found = joined(without_paths())
        unordered = np.concatenate([np.zeros(0, np.int64), *keys])
        order = np.argsort(unordered)
        self.keys: Numbers = unordered[order]
        self.numbers: Numbers = found.numbers[order]
        self.sizes: Numbers = found.sizes[order]
        self.changes: Flags = found.changes[order]
        self.since: Numbers = found.since[order]

    def find(self, keys: Numbers) -> tuple[npt.NDArray[np.intp], Flags]:
        """Return the row of each key, and whether there is one."""
        if not self.keys.size:
            return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
        rows = np.searchsorted(self.keys, keys)
        rows[rows == self.keys.size] = 0
        return rows, self.keys[rows] == keys


def record_listing(
    mirror: Mirror,
    revision: int,
    listed: Iterable[Listed],
    *,
    kind: ScanKind = ScanKind.RSYNC,
    url: str = "",
    clock: Callable[[], datetime] = timezone.now,
    verify: Verify | None = None,
) -> Scan:
    """Compare a listing, as it comes, with the files of `revision` and write down what is there.

    What the listing says of files that came to be while it ran, or that a check saw meanwhile,
    does not count: the check is newer. A listing that fails leaves the holdings as they were. With
    `verify` a listing that lacks much is believed only if the files are gone indeed.
    """
    scan = start_scan(mirror, revision, kind, url or mirror.rsync_url, clock())
    before = bits_of(mirror)
    expected = Expected(mirror, revision)
    fixed = ~expected.changes
    try:
        seen, named = _compare(expected, listed)
        held = Bitmap.of(expected.numbers[seen & fixed])
        lost = (before & Bitmap.of(expected.numbers[fixed])) - held
        is_sharp = _is_sharp(len(lost), len(before))
        is_wrong = verify is not None and is_sharp and _served(lost, verify)
    except ScanError as error:
        fail_scan(scan, str(error.reason), clock())
        return scan
    if is_wrong:
        fail_scan(scan, "its listing lacks files that it serves", clock())
        return scan
    kept = before & _versions(mirror, revision, expected, named)
    with transaction.atomic():
        row = _locked(mirror, clock())
        now = Bitmap.unpacked(row.first, row.bits)
        newer = before ^ now
        after = ((held | kept) - newer) | (now & newer)
        _save(row, now, after, clock())
        _note_arrivals(mirror, expected.numbers, expected.since, after, clock())
        missing = np.sort(expected.numbers[fixed & ~after.has(expected.numbers)])
        scan.files_expected = int(fixed.sum())
        scan.files_found = scan.files_expected - len(missing)
        scan.missing = _paths(missing[:MOST_MISSING])
        if scan.files_expected and not scan.files_found:
            fail_scan(scan, "it has none of the files", clock())
        else:
            _succeed(scan, clock())
        if is_sharp:
            event = alarms.MirrorLostFiles(mirror.subject, lost=len(lost), of=len(before))
            record(event, who=WHO)
    return scan


def record_check(
    mirror: Mirror,
    revision: int,
    seen: Iterable[int],
    not_seen: Iterable[int] = (),
    *,
    now: datetime,
) -> bool:
    """Write down single files (by number) that a mirror has or lacks; say whether that is news."""
    with transaction.atomic():
        row = _locked(mirror, now)
        before = Bitmap.unpacked(row.first, row.bits)
        after = (before - Bitmap.of(not_seen)) | Bitmap.of(seen)
        changed = _save(row, before, after, now)
        awaited = new_files(mirror, revision, now)
        _note_arrivals(mirror, awaited.numbers, awaited.since, after, now)
    return changed


def new_files(mirror: Mirror, revision: int, now: datetime) -> FileColumns:
    """Return the files of recent revisions that `mirror` was not yet seen to have whole.

    A revision that brought more than MOST_FOLLOWED files is left to scans.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.revision FROM archive_publication p"
            " WHERE p.tree_id = %s AND p.state = %s AND p.published_at > %s"
            " AND p.revision > %s AND p.revision <= %s"
            " AND NOT EXISTS (SELECT FROM mirrors_arrival a"
            "  WHERE a.mirror_id = %s AND a.revision = p.revision)",
            [
                *(mirror.tree_id, PublicationState.PUBLISHED, now - FOLLOWED_FOR),
                *(revision - REVISIONS_FOLLOWED, revision, mirror.pk),
            ],
        )
        awaited = [number for (number,) in cursor.fetchall()]
    since = [one for one in awaited if brings_few(mirror.tree_id, one, MOST_FOLLOWED)]
    if not since:
        return joined(())
    return joined(file_columns(mirror.tree, revision, since=since, below=mirror.subtree))


@lru_cache(1000)
def brings_few(tree_id: int, revision: int, most: int) -> bool:
    """Say whether a published revision brought at most so many files, which stays so."""
    new = TreeFile.objects.filter(tree=tree_id, since_revision=revision)
    return new.values("pk")[: most + 1].count() <= most


def bits_of(mirror: Mirror) -> Bitmap:
    """Return what `mirror` was seen to have."""
    row = Holdings.objects.filter(mirror=mirror).first()
    return Bitmap.unpacked(row.first, row.bits) if row else Bitmap.of(())


def start_scan(mirror: Mirror, revision: int, kind: ScanKind, url: str, now: datetime) -> Scan:
    """Write down that a scan began. Those that were cut off before are closed."""
    with transaction.atomic():
        Scan.objects.filter(mirror=mirror, finished_at=None).update(
            finished_at=now, problem="the scan was cut off"
        )
        return Scan.objects.create(
            mirror=mirror, kind=kind, url=url, revision=revision, started_at=now
        )


def fail_scan(scan: Scan, problem: str, now: datetime) -> None:
    """Write down that a scan failed; the journal is told of the first in a row."""
    with transaction.atomic():
        if _last_ok(scan) is not False:
            record(alarms.MirrorScanFailed(scan.mirror.subject, problem=problem), who=WHO)
        scan.ok, scan.problem, scan.finished_at = False, problem, now
        scan.save()


def _succeed(scan: Scan, now: datetime) -> None:
    if not _last_ok(scan):
        event = alarms.MirrorScanned(
            scan.mirror.subject, files_found=scan.files_found, files_expected=scan.files_expected
        )
        record(event, who=WHO)
    scan.ok, scan.finished_at = True, now
    scan.save()


def _last_ok(scan: Scan) -> bool | None:
    last = Scan.objects.filter(mirror=scan.mirror, pk__lt=scan.pk).exclude(ok=None)
    return last.order_by("-pk").values_list("ok", flat=True).first()


def _compare(expected: Expected, listed: Iterable[Listed]) -> tuple[Flags, Flags]:
    """Return which of the expected files are listed as they should be, and which at all."""
    seen = np.zeros(expected.keys.size, np.bool_)
    named = np.zeros(expected.keys.size, np.bool_)
    names = iter(listed)
    while some := list(islice(names, NAMES_AT_ONCE)):
        # What is not UTF-8 is no path of ours, and must not end the scan.
        keys = keys_of(one.path.encode("utf-8", "surrogateescape") for one in some)
        rows, known = expected.find(keys)
        sizes = np.fromiter((one.size for one in some), np.int64, len(some))
        slack = np.fromiter((one.slack for one in some), np.int64, len(some))
        # As `Listed.could_be` says of one.
        good = known & (sizes == UNKNOWN_SIZE)
        if expected.sizes.size:
            good |= known & (np.abs(sizes - expected.sizes[rows]) <= slack)
        seen[rows[good]] = True
        named[rows[known]] = True
    return seen, named


def _versions(mirror: Mirror, revision: int, expected: Expected, named: Flags) -> Bitmap:
    """Return the numbers of what changes in place, in all its versions, where it is listed."""
    below = len(mirror.subtree) + 1 if mirror.subtree else 0
    older = older_versions(mirror.tree, revision)
    rows, known = expected.find(keys_of(path[below:] for path in older))
    numbers = [expected.numbers[named & expected.changes].tolist()]
    for versions, row, is_known in zip(older.values(), rows, known, strict=True):
        if is_known and named[row]:
            numbers.append([one.number for one in versions])
    return Bitmap.of(chain.from_iterable(numbers))


def _is_sharp(lost: int, before: int) -> bool:
    return lost >= LOST_FILES and lost >= LOST_SHARE * before


def _served(lost: Bitmap, verify: Verify) -> bool:
    """Say whether the mirror serves most of some files that its listing lacks."""
    some = lost.some(CONFIRMED_BY, secrets.SystemRandom())
    files = TreeFile.objects.filter(pk__in=some).values_list("path", "size")
    return verify(list(files))


def _locked(mirror: Mirror, now: datetime) -> Holdings:
    """Return the row, made if need be; nobody else writes it before this transaction ends."""
    rows = Holdings.objects.select_for_update().filter(mirror=mirror)
    found = rows.first()  # it may have 100 KB of bits, and is read once
    if found is None:
        Holdings.objects.get_or_create(mirror=mirror, defaults={"seen_at": now})
        found = rows.get()
    return found


def _save(row: Holdings, before: Bitmap, after: Bitmap, now: datetime) -> bool:
    """Write the bits if they changed, else only the time: what did not change is not written."""
    row.seen_at = now
    fields = ["seen_at"]
    if changed := before != after:
        row.first, row.bits = after.first, after.packed
        fields += ["first", "bits"]
    row.save(update_fields=fields)
    return changed


def _note_arrivals(
    mirror: Mirror, numbers: Numbers, since: Numbers, bits: Bitmap, now: datetime
) -> None:
    """Note the newest revisions of which all that is new is there for the first time."""
    newest = np.unique(since)[-REVISIONS_FOLLOWED:].tolist()
    known = Arrival.objects.filter(mirror=mirror, revision__in=newest)
    noted = set(known.values_list("revision", flat=True))
    Arrival.objects.bulk_create(
        [
            Arrival(mirror=mirror, revision=revision, seen_at=now)
            for revision in newest
            if revision not in noted and bits.has(numbers[since == revision]).all()
        ],
        ignore_conflicts=True,
    )


def _paths(numbers: Numbers) -> list[str]:
    found = TreeFile.objects.filter(pk__in=numbers.tolist())
    return list(found.order_by("path").values_list("path", flat=True))


def keys_of(paths: Iterable[bytes]) -> Numbers:
    """Return Python's hash of each path: SipHash, with a key of this process."""
    return np.fromiter(map(hash, paths), np.int64)
