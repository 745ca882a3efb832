"""Why a job waits: gathers what the scheduler's `explain` judges."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from django.db import connection
from django.db.models import Q

from commonfarm.farm import scheduler
from commonfarm.farm.election import LOCK
from commonfarm.farm.ledger import needs_of
from commonfarm.farm.models import Job, JobState
from commonfarm.farm.scheduler import BuilderView, Offer, Wait
from commonfarm.fleet.interface import SILENT_AFTER, Builder, Cleanliness
from commonfarm.lib.errors import Reason


def explain(job: Job, now: datetime) -> list[Reason]:
    """Return why `job` waits, the binding reason first; nothing for a job that does not wait."""
    if job.state != JobState.WAITING:
        return []
    reasons = []
    if not Path(job.target.keyring).is_file():
        reasons.append(
            Reason(
                Wait.NO_KEYRING,
                f"the keyring {job.target.keyring} of {job.target} is missing on the hub",
                "install it, or name another in the estate",
            )
        )
    return reasons + scheduler.explain(
        needs_of(job.target.architecture, job.needs),
        [_view(builder, now) for builder in Builder.objects.all()],
        ahead=_ahead(job),
        scheduler_active=scheduler_is_active(),
    )


def scheduler_is_active() -> bool:
    """Say whether some scheduler holds the lock of the office."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted"
            " AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1)",
            [LOCK],
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def _ahead(job: Job) -> int:
    """Count what is ahead by priority and age; fairness between submitters may change that."""
    return Job.objects.filter(
        Q(priority__gt=job.priority) | Q(priority=job.priority, pk__lt=job.pk),
        state=JobState.WAITING,
        target__architecture=job.target.architecture,
    ).count()


def _view(builder: Builder, now: datetime) -> BuilderView:
    silent = None
    if builder.last_seen_at is None or now - builder.last_seen_at > SILENT_AFTER:
        since = builder.last_seen_at or builder.enrolled_at
        silent = (now - since).total_seconds()
    return BuilderView(
        offer=Offer(
            builder=builder.name,
            architecture=builder.architecture,
            features=frozenset(builder.features),
            memory_bytes=builder.memory_bytes,
            disk_bytes=builder.disk_bytes,
        ),
        cordon_reason=builder.cordon_reason if builder.cordoned_at is not None else None,
        silent_seconds=silent,
        free=builder.running < builder.slots and builder.cleanliness == Cleanliness.CLEAN,
    )
