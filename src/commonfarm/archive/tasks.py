"""The archive's background work; `publishing` has the task that publishes."""

from __future__ import annotations

from django.db.models.functions import Now
from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.archive import folders, renewal, rsync_modules
from commonfarm.archive.adding import ask_publication
from commonfarm.archive.adoption.tasks import look_at_due
from commonfarm.archive.models import UNFINISHED, Publication, TreeFile
from commonfarm.archive.publishing import WHO, publish_soon
from commonfarm.archive.releases import staging
from commonfarm.archive.releases.going_public import reveal_soon
from commonfarm.archive.releases.idle import reject_idle
from commonfarm.estate.interface import ReleaseTree


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="archive-sweep")
def sweep(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: go on with what was left, sign anew before Valid-Until, end embargoes and
    grace periods, drop old folders, look after adopted ones and after releases that nobody closes,
    and have rsync serve what there is.
    """
    now = timezone.now()
    waiting = Publication.objects.filter(state__in=UNFINISHED)
    for tree in ReleaseTree.objects.filter(publications__in=waiting).distinct():
        publish_soon(tree)
    renewal.renew(now)
    for tree in ReleaseTree.objects.all():
        folders.prune(tree)
        reveal_soon(tree)
        if staging.is_wanted(tree):
            staging.stage_soon(tree)
    end_grace()
    look_at_due(now)
    reject_idle(now)
    rsync_modules.write()


def end_grace() -> None:
    """Ask for a revision without the files whose time to leave has come."""
    due = TreeFile.objects.filter(leaves_at__lte=Now(), until_revision=None)
    for tree in ReleaseTree.objects.filter(files__in=due).distinct():
        if not Publication.objects.filter(tree=tree, state__in=UNFINISHED).exists():
            ask_publication(tree, "the grace period of withdrawn files is over", who=WHO)
