"""Background work of the mirrors."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import BusyError, defer_once
from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import Mirror

AGAIN_SECONDS = 2


@app.task(name="mirrors.scan", queue="scans")
def scan_mirror(mirror_id: int) -> None:
    """Look at a mirror, and let the map say what was seen."""
    try:
        done = reconcile.scan(mirror_id, timezone.now)
    except BusyError:
        # The scan under way may have begun before what this one was asked for.
        defer_once(scan_mirror, _key(mirror_id), in_seconds=AGAIN_SECONDS, mirror_id=mirror_id)
        return
    if done is not None:
        reconcile.write_map(timezone.now())


@app.task(name="mirrors.write_map", queue="default")
def write_map() -> None:
    """Bring the mirror map up to date."""
    reconcile.write_map(timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="mirrors.reconcile", queue="default", queueing_lock="mirrors.reconcile")
def reconcile_mirrors(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: have those scanned that are due, and finish a map that was cut off."""
    with transaction.atomic():
        for mirror in reconcile.due(timezone.now()):
            want_scan(mirror)
    reconcile.write_map(timezone.now())


def _key(mirror_id: int) -> str:
    return f"mirrors.scan:{mirror_id}"


def want_scan(mirror: Mirror) -> bool:
    """Have `mirror` scanned soon; say whether that was not planned already."""
    return defer_once(scan_mirror, _key(mirror.pk), mirror_id=mirror.pk)


def want_map() -> None:
    """Have the mirror map brought up to date soon."""
    defer_once(write_map, "mirrors.write_map")


def tree_published(tree: ReleaseTree, revision: int) -> None:  # noqa: ARG001 - the port's
    """Fill the archive's port: a new revision is out, so its mirrors are looked at anew."""
    with transaction.atomic():
        for mirror in Mirror.objects.filter(tree=tree, enabled=True, removed_at=None):
            want_scan(mirror)
        want_map()
