"""How long what was seen of mirrors is kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max, QuerySet

from commonfarm.mirrors.models import Arrival, Audit, MapWritten, Probe, PushAttempt, Scan

PROBES_KEPT = timedelta(days=2)
LOOKS_KEPT = timedelta(days=90)
MAPS_KEPT = timedelta(days=7)


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
