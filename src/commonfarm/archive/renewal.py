"""Signs a tree anew before its manifest, or an index of its repositories, is no longer valid."""

from __future__ import annotations

from datetime import datetime, timedelta

from commonfarm.archive.adding import ask_publication
from commonfarm.archive.models import Publication, PublicationState
from commonfarm.estate.interface import ReleaseTree, Repository

WHO = "process:worker"
MOST_AHEAD = timedelta(minutes=1)


def renew(now: datetime) -> int:
    """Ask for a new revision of each tree past half of its shortest validity; return how many.

    And of one that was signed while the clock was ahead: apt takes no index of the future. A tree
    whose newest publication failed waits for a person: signing the same again would fail the same
    way.
    """
    asked = 0
    for tree in ReleaseTree.objects.filter(retired_at=None):
        newest = Publication.objects.filter(tree=tree).order_by("-revision").first()
        if newest is None or newest.state != PublicationState.PUBLISHED:
            continue
        # Of the manifest's statement, and of each repository's indexes.
        validities = [] if tree.adopts else [tree.valid_seconds]
        validities += Repository.objects.filter(tree=tree).values_list("valid_seconds", flat=True)
        if not validities or newest.assembled_at is None:
            continue
        age = now - newest.assembled_at
        if age > timedelta(seconds=min(validities)) / 2:
            ask_publication(tree, "half of its validity is over", who=WHO)
        elif age < -MOST_AHEAD:
            ask_publication(tree, "it was signed by a clock that was ahead", who=WHO)
        else:
            continue
        asked += 1
    return asked
