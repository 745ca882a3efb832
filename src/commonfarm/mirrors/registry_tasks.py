"""Background work of the registry: proofs of control, counts, and what is kept how long.

Proofs have a queue of their own: whoever has an account may register a server that answers slowly.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.guard.interface import BusyError, defer_once
from commonfarm.mirrors import counting, proof, tasks
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.models import Mirror

log = logging.getLogger(__name__)


@app.task(name="mirrors.prove", queue="proofs")
def prove(mirror_id: int) -> None:
    """Look for the file that shows control of a mirror; if it is there, look at the mirror."""
    with suppress(BusyError):  # who is at it sees the same
        if proof.prove(mirror_id, Policy.of(settings.COMMONFARM), timezone.now()):
            with transaction.atomic():
                begin(Mirror.objects.get(pk=mirror_id))


def begin(mirror: Mirror) -> None:
    """Have a mirror of which control is proved probed, scanned and put into the map."""
    tasks.want_probe(mirror)
    tasks.want_scan(mirror)
    tasks.want_map()


def want_proof(mirror: Mirror) -> bool:
    """Have the file of `mirror` looked for soon; say whether that was not planned already."""
    return defer_once(prove, f"mirrors.prove:{mirror.pk}", mirror_id=mirror.pk)


@app.periodic(cron="* * * * *")
@app.task(name="mirrors.prove_due", queue="default", queueing_lock="mirrors.prove_due")
def prove_due(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: look at those that wait for their proof."""
    with transaction.atomic():
        for mirror in proof.due(timezone.now()):
            want_proof(mirror)


@app.periodic(cron="* * * * *")
@app.task(name="mirrors.take_up_counts", queue="default", queueing_lock="mirrors.take_up_counts")
def take_up_counts(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: count what the redirector of this machine has put into the spool."""
    with suppress(BusyError, FileNotFoundError):
        counting.take_up(settings.COMMONFARM.counts, timezone.now())


@app.periodic(cron="17 3 * * *")
@app.task(name="mirrors.prune_counts", queue="default", queueing_lock="mirrors.prune_counts")
def prune_counts(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a day: remove counts that are older than they are kept."""
    log.info("removed for their age: %s", counting.prune(timezone.now()))
