"""Mirrors are told that there is something to pull: by a POST of a signed statement to a webhook,
or by SSH.

The statement has no secret. The mirror's end is `receiving`; whatever else listens there checks it
as `push_statements` says.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from django.conf import settings
from django.db import transaction

from commonfarm.archive.interface import (
    Publication,
    Release,
    ReleaseState,
    current_revision,
    sign_push,
)
from commonfarm.journal.interface import record
from commonfarm.lib.errors import Reason
from commonfarm.mirrors import alarms
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.holdings import WHO
from commonfarm.mirrors.models import Mirror, Push, PushAttempt
from commonfarm.mirrors.scanning import Limits
from commonfarm.mirrors.scanning.asking import asking, bounded
from commonfarm.mirrors.scanning.values import Code, failure
from commonfarm.mirrors.steps.scan import find, looked_at

AGAIN_SECONDS = (2, 10, 60, 300, 1800, 7200)
"""How long after each failure it is tried again, soon at first: what listens there may just be
started. After the last no more."""
UNSIGNED_AGAIN_SECONDS = 10
"""The same where it was the signer that was away, which all pushes ask."""
LIMITS = Limits(
    at_once=1, connect_seconds=10, silence_seconds=20, request_seconds=20, total_seconds=30
)


def told(tree_id: int) -> list[Mirror]:
    """Return the mirrors of a tree that are told when there is something to pull."""
    return [one for one in looked_at() if one.tree_id == tree_id and one.push]


def push(mirror_id: int, number: int, now: datetime, *, staged: bool, attempt: int) -> int | None:
    """Tell one mirror of publication `number`, or of a staged release; return in how many seconds
    to try again, if at all. What is outdated is not told any more.

    Raises RefusedError or UnreachableError when the signer does not sign.
    """
    mirror = find(mirror_id)
    revision = _revision(number, staged=staged)
    if mirror is None or not mirror.push or not revision:
        return None
    if mirror.push == Push.SSH:
        from commonfarm.mirrors import ssh_push  # the operator alone needs it

        problem = ssh_push.tell(mirror, settings.COMMONFARM, staged=staged)
    else:
        problem = _send(mirror.push_to, sign_push(number, staged=staged))
    last = attempt >= len(AGAIN_SECONDS)
    with transaction.atomic():
        PushAttempt.objects.create(
            mirror=mirror,
            revision=revision,
            at=now,
            ok=problem is None,
            problem=problem.text if problem else "",
        )
        if problem is not None and last:
            event = alarms.MirrorPushFailed(mirror.subject, revision, problem.text)
            record(event, who=WHO)
    return None if problem is None or last else AGAIN_SECONDS[attempt]


def _revision(number: int, *, staged: bool) -> int:
    """Return which revision it is about, 0 when that is past."""
    if staged:
        release = Release.objects.select_related("tree").filter(pk=number).first()
        is_staged = release is not None and release.state == ReleaseState.EMBARGOED
        return max(current_revision(release.tree), 1) if release and is_staged else 0
    publication = Publication.objects.select_related("tree").get(pk=number)
    is_newest = current_revision(publication.tree) == publication.revision
    return publication.revision if is_newest else 0


def _send(url: str, statement: bytes) -> Reason | None:
    """Send a statement; return why it was not taken."""

    async def post() -> None:
        async with asking(Policy.of(settings.COMMONFARM), LIMITS) as asker:
            kind = {"Content-Type": "application/vnd.dsse+json"}
            async with asker.ask("POST", url, kind, statement) as response:
                response.close()  # whatever it has to say, it is not read
                if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                    text = f"its webhook answers {response.status}"
                    raise failure(Code.BAD_ANSWER, text, "look at what answers there")

    return bounded(post(), LIMITS)
