"""The archive's background work."""

from __future__ import annotations

from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.archive.models import UNFINISHED, Publication
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import defer_once


@app.task
def publish_tree(tree_id: int) -> None:
    """Take the unfinished publications of a tree through their steps."""
    from commonfarm.archive import publishing

    publishing.publish(ReleaseTree.objects.get(pk=tree_id))


def publish_soon(tree: ReleaseTree) -> None:
    """Have the tree's publications go on, once the surrounding transaction commits."""
    defer_once(publish_tree, f"publish-tree-{tree.pk}", tree_id=tree.pk)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="archive-sweep")
def sweep(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: go on with what was left, sign anew before Valid-Until, drop old folders."""
    from commonfarm.archive import folders, renewal

    waiting = Publication.objects.filter(state__in=UNFINISHED)
    for tree in ReleaseTree.objects.filter(publications__in=waiting).distinct():
        publish_soon(tree)
    renewal.renew(timezone.now())
    for tree in ReleaseTree.objects.all():
        folders.prune(tree)
