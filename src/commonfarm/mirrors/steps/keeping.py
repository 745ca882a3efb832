"""How long what was seen of mirrors is kept, and what becomes of it when the clock is set back."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Max, QuerySet

from commonfarm.mirrors.models import Arrival, Audit, MapWritten, Mirror, Probe, PushAttempt, Scan

PROBES_KEPT = timedelta(days=2)
LOOKS_KEPT = timedelta(days=90)
MAPS_KEPT = timedelta(days=7)
PLANNED_AHEAD = timedelta(hours=2)
"""Nothing is asked again later than this: pushes after two hours, new files after minutes."""


def prune(now: datetime) -> int:
    """Remove what is older than it is kept, but for each mirror's last; return how many rows."""
    newest = Scan.objects.exclude(ok=None).values("mirror").annotate(newest=Max("pk"))
    well = Scan.objects.filter(ok=True).values("mirror").annotate(newest=Max("pk"))
    map_in_force = MapWritten.objects.aggregate(Max("generation"))["generation__max"]
    old: list[QuerySet[Probe | Scan | Audit | PushAttempt | Arrival | MapWritten]] = [
        Probe.objects.filter(at__lt=now - PROBES_KEPT),
        Scan.objects.filter(started_at__lt=now - LOOKS_KEPT)
        .exclude(pk__in=newest.values("newest"))
        .exclude(pk__in=well.values("newest")),
        Audit.objects.filter(at__lt=now - LOOKS_KEPT),
        PushAttempt.objects.filter(at__lt=now - LOOKS_KEPT),
        Arrival.objects.filter(seen_at__lt=now - LOOKS_KEPT),
        MapWritten.objects.filter(written_at__lt=now - MAPS_KEPT).exclude(pk=map_in_force),
    ]
    return sum(rows.delete()[0] for rows in old)


def mend_times(now: datetime) -> None:
    """Take what was seen at a time yet to come as seen now: the clock was wrong then.

    Nothing would else be due, and nothing newer be believed, before that time comes. Mirrors are
    probed so often that their probes tell whether there is anything to mend.
    """
    Mirror.objects.filter(proved_at__gt=now).update(proved_at=now)
    if not Probe.objects.filter(mirror__in=Mirror.registered(), at__gt=now).exists():
        return
    Probe.objects.filter(at__gt=now).update(at=now)
    Audit.objects.filter(at__gt=now).update(at=now)
    Scan.objects.filter(started_at__gt=now).update(started_at=now)
    Scan.objects.filter(finished_at__gt=now).update(finished_at=now)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = %s WHERE status = 'todo'"
            " AND task_name LIKE 'mirrors.%%' AND scheduled_at > %s",
            [now, now + PLANNED_AHEAD],
        )
