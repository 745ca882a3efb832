"""How leases end without a report: their builder lost them, let them expire, or began a new life.

All of it is in terms of rows, so it may be repeated after a kill at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

from django.db import transaction
from django.urls import reverse

from commonfarm.farm.log import tell_readers
from commonfarm.farm.models import Job, Lease
from commonfarm.farm.tasks import want_join
from commonfarm.fleet.interface import Builder
from commonfarm.fleet.interface import ports as fleet_ports
from commonfarm.lib.units import format_seconds

LOST = "lost"
EXPIRED = "expired"
SCHEDULER = "process:scheduler"

_log = logging.getLogger(__name__)


def lock(lease_id: int) -> Lease:
    """Lock builder, job and lease, in the order all follow, and return the lease as it now is.

    Raises Lease.DoesNotExist. Call it inside a transaction.
    """
    found = Lease.objects.get(pk=lease_id)
    builder = Builder.objects.select_for_update(of=("self",)).get(pk=found.builder_id)
    job = Job.objects.select_for_update(of=("self",)).get(pk=found.job_id)
    lease = Lease.objects.select_for_update(of=("self",)).get(pk=lease_id)
    lease.builder, lease.job = builder, job
    return lease


def close(lease: Lease, outcome: str, reason: str, now: datetime) -> None:
    """End a locked lease and see to it that its log becomes one blob."""
    lease.end(outcome, reason, now)
    tell_readers(lease.pk)
    want_join(lease.pk)


def free(lease_id: int, outcome: str, reason: str, *, who: str, now: datetime) -> bool:
    """End a lease that brought no result and let its job wait again; say whether it still ran."""
    with transaction.atomic():
        lease = lock(lease_id)
        if lease.ended_at is not None:
            return False
        close(lease, outcome, reason, now)
        lease.job.wait_again(lease, who=who, now=now)
    return True


def free_lost(builder_id: int, holding: Collection[int], now: datetime) -> int:
    """Free the active leases of a builder that it says it does not hold; return how many."""
    lost = Lease.objects.filter(builder_id=builder_id, ended_at=None).exclude(pk__in=holding)
    freed = 0
    for lease in lost.select_related("builder"):
        reason = f"{lease.builder.name} came back without it"
        freed += free(lease.pk, LOST, reason, who=lease.builder.label, now=now)
    return freed


def sweep(now: datetime) -> int:
    """Free every lease whose deadline has passed; return how many.

    One that cannot be freed is logged, and the others are freed all the same.
    """
    freed = 0
    late = Lease.objects.filter(ended_at=None, deadline_at__lt=now).select_related("builder")
    for lease in late.order_by("deadline_at"):
        seconds = (now - lease.deadline_at).total_seconds()
        reason = f"{lease.builder.name} did not renew it; it ended {format_seconds(seconds)} ago"
        try:
            with transaction.atomic(), suppress(Lease.DoesNotExist):
                # A heartbeat may have come in meanwhile.
                renewed = lock(lease.pk).deadline_at >= now
                if not renewed:
                    freed += free(lease.pk, EXPIRED, reason, who=SCHEDULER, now=now)
        except Exception:
            _log.exception("%s could not be freed; the sweep goes on", lease)
    return freed


def end_generation(builder: Builder, ended: int, now: datetime) -> None:
    """Free what a past life of a builder held; fills the fleet's port `generation_ended`."""
    for lease in Lease.objects.filter(builder=builder, generation=ended, ended_at=None):
        reason = f"{builder.name} began generation {builder.generation}"
        free(lease.pk, LOST, reason, who=builder.label, now=now)


def work_of(builder: Builder, count: int) -> list[fleet_ports.Work]:
    """Return what a builder runs and ran, newest first; fills the fleet's port `work_of`."""
    leases = Lease.objects.filter(builder=builder).select_related(
        "job__build__source", "job__target"
    )
    return [
        fleet_ports.Work(
            label=f"{lease.job.build.source} for {lease.job.target}",
            url=reverse("job", args=[lease.job_id]),
            generation=lease.generation,
            began_at=lease.given_at,
            ended_at=lease.ended_at,
            outcome=lease.outcome,
        )
        for lease in leases.order_by("-pk")[:count]
    ]
