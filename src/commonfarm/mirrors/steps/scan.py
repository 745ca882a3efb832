"""A mirror's whole listing is compared with its tree: by rsync, else by its web index, else by
asking for each file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet

from commonfarm.archive.interface import current_revision, file_columns, joined
from commonfarm.guard.interface import alone
from commonfarm.mirrors import schedule
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.holdings import bits_of, record_listing
from commonfarm.mirrors.models import Mirror, Scan, ScanKind
from commonfarm.mirrors.scanning import (
    Code,
    Limits,
    Listed,
    ScanError,
    Wanted,
    check,
    list_http,
    list_rsync,
)
from commonfarm.mirrors.scanning.asking import too_slow
from commonfarm.mirrors.scanning.values import failure

MOST_ASKED = 100_000
"""A tree with more files is not asked for file by file."""
ASKED_AT_ONCE = 2000


def due(now: datetime) -> list[Mirror]:
    """Return the mirrors that should be scanned now."""
    found = []
    mirrors = looked_at()
    revisions = current_revisions(mirrors)
    for mirror in mirrors:
        finished = mirror.scans.exclude(ok=None).exclude(finished_at=None)
        if mirror.proved_at is not None:
            finished = finished.filter(started_at__gte=mirror.proved_at)
        at = schedule.next_scan([_look(scan) for scan in finished.order_by("-id")[:8]])
        if revisions[mirror.tree_id] and (at is None or at <= now):
            found.append(mirror)
    return found


def current_revisions(mirrors: Sequence[Mirror]) -> dict[int, int]:
    """Return the revision in force of each tree that these are of, 0 where there is none."""
    return {tree.pk: current_revision(tree) for tree in {one.tree for one in mirrors}}


def looked_at() -> list[Mirror]:
    """Return the mirrors that are looked at: enabled, and control of them was shown."""
    return list(_looked_at().order_by("name"))


def _looked_at() -> QuerySet[Mirror]:
    return Mirror.registered().filter(enabled=True).exclude(proved_at=None)


def scan(mirror_id: int, clock: Callable[[], datetime]) -> Scan | None:
    """Scan one mirror and write down what was seen; None when there is nothing to scan.

    Raises BusyError while another scan of it runs.
    """
    with alone(f"scan of mirror {mirror_id}", wait=False):
        mirror = find(mirror_id)
        revision = current_revision(mirror.tree) if mirror else 0
        if mirror is None or not revision:
            return None
        listing = _Listing(mirror, revision, Policy.of(settings.COMMONFARM))
        done = record_listing(
            mirror,
            revision,
            listing.files(),
            kind=listing.ways()[0][0],
            url=listing.ways()[0][1],
            clock=clock,
            verify=listing.serves,
        )
        if done.ok:
            done.kind, done.url, done.problem = listing.kind, listing.url, listing.note
            done.save(update_fields=["kind", "url", "problem"])
        return done


def find(mirror_id: int) -> Mirror | None:
    """Return the mirror if it is looked at, else None."""
    return _looked_at().filter(pk=mirror_id).first()


def bases(mirror: Mirror) -> list[str]:
    """Return its web addresses, in the order to try them."""
    return [url for url in (mirror.https, mirror.http) if url]


def path_there(mirror: Mirror, path: str) -> str:
    """Return the path of a file below the mirror's addresses, which are of its subtree."""
    return path[len(mirror.subtree) + 1 :] if mirror.subtree else path


@dataclass(slots=True)
class _Listing:
    """The files of a mirror, by the first way that works. `note` says which ways did not."""

    mirror: Mirror
    revision: int
    policy: Policy
    kind: ScanKind = ScanKind.CHECK
    url: str = ""
    note: str = ""

    def ways(self) -> list[tuple[ScanKind, str]]:
        """Return the ways there are, best first, each with the address that is used."""
        found = [(ScanKind.RSYNC, self.mirror.rsync_url)] if self.mirror.rsync_url else []
        web = bases(self.mirror)
        return [*found, (ScanKind.HTTP, web[0]), (ScanKind.CHECK, web[0])]

    def files(self) -> Iterator[Listed]:
        """Yield what is there. A file that one way listed counts even if that way then failed.

        Raises ScanError, that of the best way, when none works.
        """
        first: ScanError | None = None
        for kind, url in self.ways():
            self.kind, self.url = kind, url
            try:
                yield from self._by(kind)
            except ScanError as error:
                first = first or error
                self.note = "; ".join(filter(None, [self.note, f"{kind}: {error.reason.text}"]))
            else:
                return
        assert first is not None
        raise first

    def _by(self, kind: ScanKind) -> Iterator[Listed]:
        if kind is ScanKind.RSYNC:
            return list_rsync(self.url, self.policy)
        return list_http(self.url, self.policy) if kind is ScanKind.HTTP else self._asked()

    def _asked(self) -> Iterator[Listed]:
        """Ask for every file of the tree. Of one that could not be seen counts what was before."""
        columns = file_columns(self.mirror.tree, self.revision, below=self.mirror.subtree)
        files = joined(columns)
        rows = (~files.changes).nonzero()[0]
        if len(rows) > MOST_ASKED:
            text = f"each of {len(rows)} files cannot be asked for"
            raise failure(Code.NO_LISTING, text, "let its web server make indexes, or add rsync")
        had = bits_of(self.mirror).has(files.numbers)
        limits = Limits()
        deadline = time.monotonic() + limits.total_seconds
        for at in range(0, len(rows), ASKED_AT_ONCE):
            if time.monotonic() > deadline:
                raise too_slow(limits)
            asked = {
                path_there(self.mirror, files.paths[row].decode()): row
                for row in rows[at : at + ASKED_AT_ONCE]
            }
            some = [Wanted(path, int(files.sizes[row])) for path, row in asked.items()]
            checked = check(bases(self.mirror), some, self.policy, limits)
            if checked.problem is not None:
                raise ScanError(checked.problem)
            for path in [*checked.held, *(one for one in checked.unknown if had[asked[one]])]:
                yield Listed(path, int(files.sizes[asked[path]]), True, None)

    def serves(self, files: Sequence[tuple[str, int]]) -> bool:
        """Say whether the mirror serves most of these files of the tree when asked for them."""
        wanted = [Wanted(path_there(self.mirror, path), size) for path, size in files]
        checked = check(bases(self.mirror), wanted, self.policy)
        if checked.problem is not None:
            raise ScanError(checked.problem)
        return len(checked.held) > len(checked.missing)


def _look(scan: Scan) -> schedule.Look:
    assert scan.finished_at is not None
    lacks = scan.files_found < scan.files_expected
    return schedule.Look(bool(scan.ok), lacks, scan.started_at, scan.finished_at)
