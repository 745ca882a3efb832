"""Background work of the mirrors: looks at them, and the map that says what was seen.

What can take long has a queue of its own, so that checks for new files wait for no mirror that is
away: scans and audits, probes, pushes; and maps, of which deltas go on while a full one is made.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.tasks import Task

from commonfarm.archive.interface import Publication
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import BusyError, defer_once
from commonfarm.lib.errors import UnreachableError
from commonfarm.mirrors import pushing
from commonfarm.mirrors.holdings import MOST_FOLLOWED, brings_few
from commonfarm.mirrors.models import Mirror, Push
from commonfarm.mirrors.steps import audit, check, keeping, mapping, probe, scan

AGAIN_SECONDS = 2
log = logging.getLogger(__name__)


@app.task(name="mirrors.scan", queue="scans")
def scan_mirror(mirror_id: int) -> None:
    """Scan a mirror, see what it has of files that change in place, and let the map say so."""
    try:
        done = scan.scan(mirror_id, timezone.now)
    except BusyError:
        # The scan under way may have begun before what this one was asked for.
        _again(scan_mirror, mirror_id, AGAIN_SECONDS)
        return
    if done is not None:
        _soon(check_mirror, mirror_id, whole=True)
        want_map()


@app.task(name="mirrors.check", queue="checks")
def check_mirror(mirror_id: int, whole: bool = False) -> None:
    """Ask a mirror for new files, and again until it has them."""
    try:
        done = check.check(mirror_id, timezone.now(), whole=whole)
    except BusyError:
        _again(check_mirror, mirror_id, AGAIN_SECONDS, whole=whole)
        return
    if done.news:
        want_map()
    if done.again is not None:
        _again(check_mirror, mirror_id, done.again)


@app.task(name="mirrors.probe", queue="probes")
def probe_mirror(mirror_id: int) -> None:
    """Probe a mirror; one that came back is asked for what is new."""
    with suppress(BusyError):  # what is under way is as good
        if probe.probe(mirror_id, timezone.now()):
            want_map()
            _soon(check_mirror, mirror_id)


@app.task(name="mirrors.audit", queue="scans")
def audit_mirror(mirror_id: int) -> None:
    """Audit a mirror; one that serves other bytes than ours is out of the map at once."""
    with suppress(BusyError):
        done = audit.audit(mirror_id, timezone.now())
        if done is not None and not done.ok:
            want_map()


@app.task(name="mirrors.push", queue="pushes")
def push_to_mirror(mirror_id: int, number: int, staged: bool, attempt: int = 0) -> None:
    """Tell a mirror that there is something to pull, and again, later each time, if that fails."""
    try:
        again = pushing.push(mirror_id, number, timezone.now(), staged=staged, attempt=attempt)
    except UnreachableError:  # of the signer, which is no fault of the mirror's
        again, attempt = pushing.UNSIGNED_AGAIN_SECONDS, attempt - 1
    if again is not None:
        mirror = Mirror.objects.get(pk=mirror_id)
        _push(mirror, number, again, staged=staged, attempt=attempt + 1)


@app.task(name="mirrors.push_by_ssh", queue="operator")
def push_by_ssh(mirror_id: int, number: int, staged: bool, attempt: int = 0) -> None:
    """The same for mirrors that are told by SSH: the process `operator` alone has the key."""
    push_to_mirror.func(mirror_id, number, staged, attempt)


@app.task(name="mirrors.write_map", queue="maps")
def write_map() -> None:
    """Bring the mirror map up to date."""
    if mapping.write_map(timezone.now()):
        want_full_map()


@app.task(name="mirrors.write_full_map", queue="maps")
def write_full_map() -> None:
    """Write a full mirror map, unless another did since this was asked for."""
    with suppress(BusyError):
        if mapping.write_map(timezone.now()):
            mapping.write_full_map(timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="mirrors.reconcile", queue="default", queueing_lock="mirrors.reconcile")
def reconcile_mirrors(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: have those looked at that are due, and what was cut off ended."""
    now = timezone.now()
    with transaction.atomic():
        keeping.mend_times(now)
        for mirror in scan.looked_at():
            want_probe(mirror)
        for mirror in scan.due(now):
            want_scan(mirror)
        for mirror in audit.due(now):
            want_audit(mirror)
        for mirror, seconds in check.due(now):
            _again(check_mirror, mirror.pk, seconds)
        want_map()


@app.periodic(cron="41 * * * *")
@app.task(name="mirrors.prune", queue="default", queueing_lock="mirrors.prune")
def prune(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once an hour: remove what was seen so long ago that nobody asks for it."""
    log.info("removed for their age: %s", keeping.prune(timezone.now()))


def want_scan(mirror: Mirror) -> bool:
    """Have `mirror` scanned soon; say whether that was not planned already."""
    return _soon(scan_mirror, mirror.pk)


def want_check(mirror: Mirror) -> bool:
    """Have `mirror` asked for new files soon."""
    return _soon(check_mirror, mirror.pk)


def want_probe(mirror: Mirror) -> bool:
    """Have `mirror` probed soon."""
    return _soon(probe_mirror, mirror.pk)


def want_audit(mirror: Mirror) -> bool:
    """Have `mirror` audited soon."""
    return _soon(audit_mirror, mirror.pk)


def want_map() -> None:
    """Have the mirror map brought up to date soon."""
    defer_once(write_map, "mirrors.write_map")


def want_full_map() -> None:
    """Have a full mirror map written soon."""
    defer_once(write_full_map, "mirrors.write_full_map")


def tree_published(tree: ReleaseTree, revision: int) -> None:
    """Fill the archive's port: a new revision is out, so mirrors are asked for what is new in it.

    What is too much to ask for file by file is scanned for.
    """
    few = brings_few(tree.pk, revision, MOST_FOLLOWED)
    with transaction.atomic():
        for mirror in scan.looked_at():
            if mirror.tree_id == tree.pk:
                (want_check if few else want_scan)(mirror)
        publication = Publication.objects.get(tree=tree, revision=revision)
        for mirror in pushing.told(tree.pk):
            _push(mirror, publication.pk, staged=False)
        want_map()


def release_staged(tree: ReleaseTree, release_id: int) -> None:
    """Fill the archive's port: mirrors are told to fetch what is under embargo."""
    for mirror in pushing.told(tree.pk):
        _push(mirror, release_id, staged=True)


def _push(
    mirror: Mirror, number: int, in_seconds: int = 0, *, staged: bool, attempt: int = 0
) -> None:
    key = f"mirrors.push:{mirror.pk}:{'staged' if staged else 'public'}:{number}"
    more = {"mirror_id": mirror.pk, "number": number, "staged": staged, "attempt": attempt}
    task = push_by_ssh if mirror.push == Push.SSH else push_to_mirror
    defer_once(task, key, in_seconds=in_seconds, **more)


def _soon(task: Task[Any, Any, Any], mirror_id: int, *, whole: bool = False) -> bool:
    key = f"{task.name}:{mirror_id}" + (":whole" if whole else "")
    more = {"whole": True} if whole else {}
    return defer_once(task, key, mirror_id=mirror_id, **more)


def _again(task: Task[Any, Any, Any], mirror_id: int, seconds: int, *, whole: bool = False) -> None:
    """Plan a task beside what is asked for meanwhile: that must not wait for this."""
    key = f"{task.name}:{mirror_id}:again" + (":whole" if whole else "")
    more = {"whole": True} if whole else {}
    defer_once(task, key, in_seconds=seconds, mirror_id=mirror_id, **more)
