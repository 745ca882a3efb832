"""The archive's background work; `publishing` has the task that publishes."""

from __future__ import annotations

from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.archive import folders, renewal
from commonfarm.archive.models import UNFINISHED, Publication
from commonfarm.archive.publishing import publish_soon
from commonfarm.estate.interface import ReleaseTree


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="archive-sweep")
def sweep(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: go on with what was left, sign anew before Valid-Until, drop old folders."""
    waiting = Publication.objects.filter(state__in=UNFINISHED)
    for tree in ReleaseTree.objects.filter(publications__in=waiting).distinct():
        publish_soon(tree)
    renewal.renew(timezone.now())
    for tree in ReleaseTree.objects.all():
        folders.prune(tree)
