"""Signs a tree anew before its indexes are no longer valid."""

from __future__ import annotations

from datetime import datetime, timedelta

from commonfarm.archive.adding import ask_publication
from commonfarm.archive.models import Publication, PublicationState
from commonfarm.estate.interface import ReleaseTree, Repository

WHO = "process:worker"


def renew(now: datetime) -> int:
    """Ask for a new revision of each tree past half of its shortest validity; return how many.

    A tree whose newest publication failed waits for a person: signing the same again would fail the
    same way.
    """
    asked = 0
    for tree in ReleaseTree.objects.filter(retired_at=None):
        newest = Publication.objects.filter(tree=tree).order_by("-revision").first()
        if newest is None or newest.state != PublicationState.PUBLISHED:
            continue
        shortest = (
            Repository.objects.filter(tree=tree)
            .order_by("valid_seconds")
            .values_list("valid_seconds", flat=True)
            .first()
        )
        if shortest is None or newest.assembled_at is None:
            continue
        if now - newest.assembled_at > timedelta(seconds=shortest) / 2:
            ask_publication(tree, "half of the indexes' validity is over", who=WHO)
            asked += 1
    return asked
