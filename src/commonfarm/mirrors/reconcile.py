"""Steps towards mirrors that are looked at often enough, and a map that says what was seen.

Each step starts from the tables and can be cut off anywhere: a scan that was cut off is closed by
the next, and a map whose row is there but whose file is not is signed and written by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from commonfarm.archive.interface import current_files, current_revision, sign_mirror_map
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import alone
from commonfarm.journal.interface import record
from commonfarm.lib.config import Config
from commonfarm.mirrors import scanner
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.events import MirrorMapWritten
from commonfarm.mirrors.mapwriter import MirrorFact, TreeFileFact, compile_map, digest_of
from commonfarm.mirrors.models import MapWritten, Mirror, Scan
from commonfarm.redirector import mirror_map
from commonfarm.redirector.selection import changes_in_place
from commonfarm.store.interface import put_bytes, read

SCAN_EVERY = timedelta(minutes=15)
RETRY_EVERY = timedelta(minutes=1)
MAP_LOCK = "mirror map"


def _files(tree: ReleaseTree) -> list[TreeFileFact]:
    """Return the files of `tree` that clients may be sent to mirrors for."""
    return [
        TreeFileFact(file.path, file.blob.size, file.since_revision)
        for file in current_files(tree)
        if not changes_in_place(f"{tree.name}/{file.path}")
    ]


def is_due(mirror: Mirror, revision: int, now: datetime) -> bool:
    """Say whether `mirror` should be looked at: it never was, the tree is new, or it is time.

    One that failed or lacked files is looked at again sooner: it is likely being filled.
    """
    last = mirror.last_scan()
    if last is None or last.finished_at is None:
        return True
    if last.ok and not last.missing:
        return last.revision != revision or last.finished_at < now - SCAN_EVERY
    return last.finished_at < now - RETRY_EVERY


def due(now: datetime) -> list[Mirror]:
    """Return the enabled mirrors that should be looked at now."""
    revisions: dict[int, int] = {}
    found = []
    for mirror in _registered().filter(enabled=True):
        if mirror.tree_id not in revisions:
            revisions[mirror.tree_id] = current_revision(mirror.tree)
        if revisions[mirror.tree_id] and is_due(mirror, revisions[mirror.tree_id], now):
            found.append(mirror)
    return found


def scan(mirror_id: int, clock: Callable[[], datetime]) -> Scan | None:
    """Look at one mirror and write down what was seen; None when there is nothing to look at.

    Raises BusyError while another scan of it runs.
    """
    with alone(f"scan of mirror {mirror_id}", wait=False):
        mirror = _registered().filter(pk=mirror_id).first()
        if mirror is None:
            return None
        revision = current_revision(mirror.tree)
        if not revision:
            return None
        files = [scanner.Wanted(file.path, file.size) for file in _files(mirror.tree)]
        started = Scan.start(mirror, revision, clock())
        seen = scanner.scan(started.url, files, Policy.of(_config()))
        started.finish(
            clock(),
            expected=len(files),
            missing=seen.missing,
            problem=seen.problem,
            addresses=seen.addresses,
        )
        return started


def write_map(now: datetime) -> int:
    """Make a new mirror map if its content changed, and see that the newest one lies on the disk.

    Returns the generation that is in force. Writers wait for each other, so that what the last one
    saw is in the map. RefusedError or UnreachableError when the signer does not sign.
    """
    with alone(MAP_LOCK, wait=True):
        newest = MapWritten.objects.order_by("-generation").first()
        fresh = _compile()
        digest = digest_of(fresh)
        if newest is None or newest.digest != digest:
            newest = _record(fresh, digest, newest, now)
        _install(newest)
        return newest.generation


def _compile() -> mirror_map.MirrorMap:
    mirrors = list(_registered())
    trees = {mirror.tree for mirror in mirrors}
    return compile_map(
        [_fact(mirror) for mirror in mirrors], {tree.name: _files(tree) for tree in trees}
    )


def _fact(mirror: Mirror) -> MirrorFact:
    last = mirror.last_scan()
    state = mirror.state(last)
    problem = {"up": "", "disabled": "disabled", "unscanned": "never scanned"}.get(state)
    if problem is None:
        problem = f"down: {last.problem if last else ''}"
    return MirrorFact(
        name=mirror.name,
        tree=mirror.tree.name,
        url=mirror.url,
        country=mirror.country,
        problem=problem,
        revision=last.revision if last else 0,
        missing=frozenset(last.missing) if last else frozenset(),
        addresses=last.addresses if last else (),
    )


def _record(
    fresh: mirror_map.MirrorMap, digest: str, newest: MapWritten | None, now: datetime
) -> MapWritten:
    generation = newest.generation + 1 if newest else 1
    payload = mirror_map.serialise(
        mirror_map.MirrorMap(generation, now.isoformat(), fresh.mirrors, fresh.trees)
    )
    blob = put_bytes(payload)
    with transaction.atomic():
        row = MapWritten.objects.create(
            generation=generation, written_at=now, digest=digest, blob=blob
        )
        record(
            MirrorMapWritten(
                f"mirror-map:{generation}",
                mirrors=len(fresh.mirrors),
                files=sum(len(files) for files in fresh.trees.values()),
            ),
            who="process:worker",
        )
    return row


def _install(newest: MapWritten) -> None:
    """Have the newest map signed and put it in place, unless it lies there already."""
    file = _config().mirror_map
    payload = read(newest.blob_id)
    try:
        if file.read_bytes().endswith(b"\n" + payload):
            return
    except FileNotFoundError:
        pass
    mirror_map.write(file, mirror_map.seal(payload, sign_mirror_map(newest.generation)))


def _registered() -> QuerySet[Mirror]:
    return Mirror.objects.filter(removed_at=None).select_related("tree").order_by("name")


def _config() -> Config:
    config = settings.COMMONFARM
    assert isinstance(config, Config)
    return config
