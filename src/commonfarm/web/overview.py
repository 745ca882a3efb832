"""The first page: what needs a person today, what runs now, what ended last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from commonfarm.archive.interface import (
    Adoption,
    Publication,
    PublicationState,
    Release,
    ReleaseState,
)
from commonfarm.estate.interface import Following, Repository
from commonfarm.farm.interface import Build, Job, JobState, Lease
from commonfarm.fleet.interface import SILENT_AFTER, Builder
from commonfarm.http.interface import page
from commonfarm.lib.errors import Problem
from commonfarm.lib.units import counted
from commonfarm.mirrors.interface import Mirror, standings

RECENT = timedelta(days=7)
NEEDS_OF_A_KIND = 3
MOST_RUNNING = 12
LAST_BUILDS = 10


@dataclass(frozen=True, slots=True)
class Need:
    """One thing a person should look at: what, why, since when, and where to go."""

    what: str
    url: str
    why: str
    since: datetime | None = None
    tone: str = "bad"


@page()
def overview(request: HttpRequest) -> HttpResponse:
    """Show the installation at a glance."""
    now = timezone.now()
    builds = Build.objects.select_related("source", "project").prefetch_related("jobs__target")
    waiting = Job.objects.filter(state=JobState.WAITING).count()
    running = Job.objects.filter(state=JobState.LEASED).count()
    builders = Builder.objects.all()
    shown = {
        "needs": list(needs(now)),
        "running": Lease.objects.filter(ended_at=None)
        .select_related("job__build__source", "job__target", "builder")
        .order_by("given_at")[:MOST_RUNNING],
        "builds": builds.order_by("-pk")[:LAST_BUILDS],
        "waiting_count": waiting,
        "running_count": running,
        "builders_ready": builders.filter(
            cordoned_at=None, last_seen_at__gt=now - SILENT_AFTER
        ).count(),
        "builders_all": builders.count(),
        "repositories": Repository.objects.filter(retired_at=None)
        .select_related("tree")
        .order_by("name")[:MOST_RUNNING],
        "redirector": settings.COMMONFARM.public_url("redirector"),
        "hub": settings.COMMONFARM.public_url("hub"),
    }
    return render(request, "web/overview.html", shown)


def needs(now: datetime) -> Iterator[Need]:
    """Give what needs a person today, the most pressing kind first, a few of each kind."""
    kinds = (
        ("jobs that wait", "builds", idle_queue(now)),
        ("release trees", "repositories", unpublished()),
        ("adopted trees", "trees", stopped_adoptions()),
        ("builders", "builders", silent_builders(now)),
        ("failed jobs", "builds", failed_jobs(now)),
        ("mirrors", "mirrors", lost_mirrors()),
        ("commits of the estate", "estate", refused_estate()),
        ("trees with releases that wait", "trees", waiting_releases()),
    )
    for kind, page_name, found in kinds:
        yield from islice(found, NEEDS_OF_A_KIND)
        rest = sum(1 for _ in found)
        if rest:
            yield Need(f"and {rest} more {kind}", reverse(page_name), "", tone="more")


def idle_queue(now: datetime) -> Iterator[Need]:
    """Jobs wait, and no builder is there to take any."""
    waiting = Job.objects.filter(state=JobState.WAITING).order_by("created_at")
    ready = Builder.objects.filter(cordoned_at=None, last_seen_at__gt=now - SILENT_AFTER)
    first = waiting.first()
    if first is not None and not ready.exists():
        count = waiting.count()
        yield Need(
            f"{count} {'job waits' if count == 1 else 'jobs wait'}, and no builder is there",
            reverse("builders"),
            "Every builder is cordoned or silent, or none is enrolled.",
            first.created_at,
        )


def unpublished() -> Iterator[Need]:
    """Release trees whose newest publication failed, or where one waits for something."""
    rows = Publication.objects.select_related("tree").order_by("tree_id", "-revision")
    for one in rows.distinct("tree_id"):
        if one.state == PublicationState.FAILED:
            yield _unpublished(one, "was not published")
    over = (PublicationState.PUBLISHED, PublicationState.FAILED)
    for one in rows.exclude(state__in=over).exclude(problem=""):
        yield _unpublished(one, "waits")


def _unpublished(one: Publication, what: str) -> Need:
    name = f"Revision {one.revision} of {one.tree} {what}"
    return Need(name, reverse("repositories"), one.problem, one.created_at)


def stopped_adoptions() -> Iterator[Need]:
    """Adopted trees whose folder was not taken over when it was looked at last."""
    rows = Adoption.objects.exclude(Q(stopped="") | Q(tree__adopts="")).select_related("tree")
    for one in rows.filter(tree__retired_at=None).order_by("tree__name"):
        url = reverse("tree", args=[one.tree.name])
        yield Need(f"The folder of {one.tree} is not taken over", url, one.stopped, one.looked_at)


def waiting_releases() -> Iterator[Need]:
    """Trees with releases that a coordinator looks at or publishes next.

    Which, the tree's page tells, to those who may know of them.
    """
    states = (ReleaseState.UNLISTED, ReleaseState.REVIEWED)
    rows = Release.objects.filter(state__in=states, publication=None, tree__retired_at=None)
    for name, count, since in (
        rows.values_list("tree__name").annotate(Count("pk"), Min("put_at")).order_by("tree__name")
    ):
        what = f"{counted(count, 'release')} of {name} {'waits' if count == 1 else 'wait'}"
        why = "A coordinator looks at what is unlisted, and publishes what is reviewed."
        yield Need(what, reverse("tree", args=[name]), why, since, "wait")


def silent_builders(now: datetime) -> Iterator[Need]:
    """Builders that should be there and were not heard of."""
    silent = Builder.objects.filter(cordoned_at=None).filter(
        Q(last_seen_at=None) | Q(last_seen_at__lte=now - SILENT_AFTER)
    )
    for one in silent.order_by("name"):
        yield Need(
            f"Builder {one.name} is silent",
            reverse("builder", args=[one.name]),
            "Its agent does not ask for work. Start it, or cordon the builder.",
            one.last_seen_at,
        )


def lost_mirrors() -> Iterator[Need]:
    """Mirrors that serve altered bytes, do not answer or cannot be scanned.

    Why is told on their pages, to those who run them.
    """
    found = [one for one in standings(Mirror.registered().order_by("name")) if one.needs_a_person]
    for one in sorted(found, key=lambda one: not one.mirror.quarantine):
        url, since = reverse("mirror", args=[one.mirror.name]), one.since
        match one.state:
            case "quarantined":
                why = "It served bytes that are not ours. Nobody is sent there."
                yield Need(f"Mirror {one.mirror} is quarantined", url, why, since)
            case "down":
                why = "Nobody is sent there until it answers well again."
                yield Need(f"Mirror {one.mirror} is down", url, why, since, "wait")
            case "up":
                why = "Nobody is sent there for new files until a scan goes well."
                yield Need(f"Mirror {one.mirror} cannot be scanned", url, why, since, "wait")


def refused_estate() -> Iterator[Need]:
    """A commit of the estate that is not loaded, or a branch that cannot be fetched."""
    followed = Following.current()
    if followed is None:
        return
    if followed.refused:
        first, *more = followed.refused["problems"]
        why = str(Problem(**first)) + (f", and {len(more)} more" if more else "")
        what = f"Commit {followed.refused['commit'][:12]} of the estate is not loaded"
        yield Need(what, reverse("estate"), why, followed.judged_at)
    if followed.problem:
        what = "The estate's repository cannot be read"
        yield Need(what, reverse("estate"), followed.problem["text"], followed.fetched_at, "wait")


def failed_jobs(now: datetime) -> Iterator[Need]:
    """Jobs that failed lately, unless the same source was built for the target since."""
    failed = Job.objects.filter(state=JobState.FAILED, ended_at__gt=now - RECENT)
    for one in failed.select_related("build__source", "target").order_by("-ended_at"):
        better = Job.objects.filter(
            pk__gt=one.pk,
            target=one.target,
            build__source__name=one.build.source.name,
            state=JobState.SUCCEEDED,
        )
        if not better.exists():
            yield Need(
                f"{one.build.source} failed on {one.target}",
                reverse("job", args=[one.pk]),
                one.state_reason,
                one.ended_at,
            )
