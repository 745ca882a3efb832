"""Releases that somebody began to put and never ended: an upload was killed, or forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from commonfarm.archive.models import Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import lifecycle
from commonfarm.lib.errors import RefusedError

WHO = "process:worker"
IDLE = timedelta(days=7)


def reject_idle(now: datetime) -> int:
    """Reject the open releases that nothing was added to for IDLE; return how many.

    What they have is in the store, so that to put them again takes no second upload.
    """
    lately = ReleaseFile.objects.filter(release=OuterRef("pk"), blob__stored_at__gte=now - IDLE)
    idle = Release.objects.filter(state=ReleaseState.OPEN, put_at__lt=now - IDLE)
    count = 0
    for release in idle.exclude(Exists(lately)).select_related("tree"):
        why = f"nothing was added to it for {IDLE.days} days, and it was never closed"
        try:
            lifecycle.reject(release, who=WHO, now=now, why=why)
        except RefusedError:  # it was closed this moment
            continue
        count += 1
    return count


def give_up(release: Release, *, who: str, now: datetime, why: str) -> None:
    """End an open release: what whoever puts it needs nobody for.

    RefusedError when it is closed already.
    """
    with transaction.atomic():
        lifecycle.locked(release, ReleaseState.OPEN, to="give it up")
        lifecycle.reject(release, who=who, now=now, why=why)
