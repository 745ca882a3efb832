"""The farm's pages: builds, one build, one job with its log."""

from __future__ import annotations

from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.interface import Artifact
from commonfarm.farm import log, waiting
from commonfarm.farm.models import Build, Job, JobState, Lease
from commonfarm.farm.schemas import limits_of
from commonfarm.http.interface import Paging, newest_first, page
from commonfarm.lib.errors import NotFoundError, Reason

SHOWN_LOG_BYTES = 256 * 1024


@page()
def builds(request: HttpRequest) -> HttpResponse:
    """List the builds, the newest first; those of one source if asked."""
    after = request.GET.get("after", "")
    paging = Paging(after=int(after) if after.isdecimal() and len(after) < 19 else None, limit=50)
    rows = Build.objects.select_related("source", "project").prefetch_related("jobs__target")
    source = request.GET.get("source", "").replace("\0", "").strip()[:200]
    if source:
        rows = rows.filter(source__name=source)
    found = newest_first(rows, paging, lambda row: row)
    shown = {"builds": found["items"], "following": found["next"], "source": source}
    return render(request, "farm/builds.html", shown)


@page()
def build(request: HttpRequest, build_id: int) -> HttpResponse:
    """Show one build: its source and its jobs."""
    found = (
        Build.objects.select_related("source", "project")
        .prefetch_related("jobs__target", "source__files__blob")
        .filter(pk=build_id)
        .first()
    )
    if found is None:
        raise NotFoundError(Reason("no-such-build", f"there is no build {build_id}", "see Builds"))
    jobs = sorted(found.jobs.all(), key=lambda job: job.pk)
    return render(request, "farm/build.html", {"build": found, "jobs": jobs})


@page()
def job(request: HttpRequest, job_id: int) -> HttpResponse:
    """Show one job: why it waits or how it went, its log, and who had it."""
    found = Job.numbered(job_id)
    leases = list(found.leases.select_related("builder").order_by("-pk"))
    shown = {
        "job": found,
        "reasons": waiting.explain(found, timezone.now()),
        "leases": leases,
        "results": _results(found),
        "may_cancel": found.state in (JobState.WAITING, JobState.LEASED),
        "may_retry": found.state in (JobState.FAILED, JobState.CANCELLED),
        "may_change": cast("User", request.user).may(Role.SUBMITTER),
    }
    if leases:
        shown |= _log(leases[0]) | {"limits": limits_of(leases[0])}
    return render(request, "farm/job.html", shown)


@require_POST
@page(Role.SUBMITTER)
def cancel(request: HttpRequest, job_id: int) -> HttpResponse:
    """Cancel a job."""
    who = cast("User", request.user).label
    Job.numbered(job_id).cancel(who=who, now=timezone.now())
    return redirect("job", job_id)


@require_POST
@page(Role.SUBMITTER)
def retry(request: HttpRequest, job_id: int) -> HttpResponse:
    """Try a job again."""
    Job.numbered(job_id).retry(who=cast("User", request.user).label)
    return redirect("job", job_id)


def _log(lease: Lease) -> dict[str, Any]:
    """Return what of a log the page holds: a running one comes live, of an ended one the end."""
    if lease.ended_at is None:
        return {"live": True, "log_text": "", "log_begins": 0}
    size = log.size_of(lease)
    begins = max(0, size - SHOWN_LOG_BYTES)
    part = log.read_log(lease, begins, SHOWN_LOG_BYTES)
    return {"live": False, "log_text": part.data.decode("utf-8", "replace"), "log_begins": begins}


def _results(found: Job) -> list[dict[str, Any]]:
    """Return what became of each artifact, with the archive's number of it."""
    artifacts = dict(Artifact.objects.filter(producer=found.label).values_list("filename", "pk"))
    return [{**one, "artifact": artifacts.get(one["filename"])} for one in found.results]
