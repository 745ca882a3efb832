"""What the signer checks before it signs that there is something to pull."""

from __future__ import annotations

from datetime import datetime

from commonfarm.archive.models import Publication, PublicationState, Release, ReleaseState
from commonfarm.archive.push_statement import PushStatement
from commonfarm.archive.signer.approve import refused
from commonfarm.archive.trees import current_revision


def published(number: int, installation: str, now: datetime) -> PushStatement:
    """Return that publication `number` is out; RefusedError when it is not."""
    found = Publication.objects.select_related("tree").filter(pk=number).first()
    if found is None or found.state != PublicationState.PUBLISHED:
        raise refused("not-published", f"publication {number} is not published")
    return PushStatement(installation, found.tree.name, found.revision, "public", now)


def staged(number: int, installation: str, now: datetime) -> PushStatement:
    """Return that release `number` lies there for registered mirrors; RefusedError otherwise."""
    found = Release.objects.select_related("tree").filter(pk=number).first()
    if found is None or found.state != ReleaseState.EMBARGOED:
        raise refused("not-embargoed", f"release {number} is not under embargo")
    revision = current_revision(found.tree)
    return PushStatement(installation, found.tree.name, revision, "staged", now)
