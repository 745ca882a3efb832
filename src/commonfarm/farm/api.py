"""The farm's API."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from ninja import Path, Query, Router, Status

from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import Project
from commonfarm.farm import agent_api, log, waiting
from commonfarm.farm.agent_api import Id
from commonfarm.farm.models import Build, Job, Lease
from commonfarm.farm.schemas import (
    BuildIn,
    BuildOut,
    ExplainOut,
    JobDetailOut,
    LogOut,
)
from commonfarm.farm.submission import Brought, submit, take_in, targets_of
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason
from commonfarm.store.interface import Blob, Offset, finished_upload

router = Router(tags=["farm"])
agent_router = agent_api.router

Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.post("/builds", response={201: BuildOut})
def submit_build(request: HttpRequest, body: BuildIn) -> Status[Build]:
    """Check a source package whose files were uploaded, and have it built."""
    who = require(request, Role.SUBMITTER).label
    project = Project.named(body.project)
    targets = targets_of(project, body.targets)
    brought = Brought(
        dsc=_uploaded(who, "dsc", body.dsc, None),
        files={
            one.name: _uploaded(who, one.name, one.sha256, one.size)
            for one in body.files
            if one.sha256 != body.dsc
        },
    )
    source = take_in(brought, targets)
    build = submit(source, project, targets, who=who, needs=body.needs.dict(exclude_defaults=True))
    return Status(HTTPStatus.CREATED, _builds().get(pk=build.pk))


@router.get("/builds", response=Page[BuildOut])
def builds(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    """Return builds, the newest first."""
    require(request, Role.READER)
    return newest_first(_builds(), paging, lambda build: build)


@router.get("/builds/{build_id}", response=BuildOut)
def build(request: HttpRequest, build_id: Id) -> Build:
    """Return one build with its jobs."""
    require(request, Role.READER)
    found = _builds().filter(pk=build_id).first()
    if found is None:
        raise NotFoundError(
            Reason("no-such-build", f"there is no build {build_id}", "`commonfarm builds`")
        )
    return found


@router.get("/jobs/{job_id}", response=JobDetailOut)
def job(request: HttpRequest, job_id: Id) -> Job:
    """Return one job with its leases."""
    require(request, Role.READER)
    return Job.numbered(job_id)


@router.get("/jobs/{job_id}/explain", response=ExplainOut)
def explain(request: HttpRequest, job_id: Id) -> dict[str, Any]:
    """Say why a job waits."""
    require(request, Role.READER)
    found = Job.numbered(job_id)
    return {
        "job": found.pk,
        "state": found.state,
        "state_reason": found.state_reason,
        "reasons": [asdict(reason) for reason in waiting.explain(found, timezone.now())],
    }


@router.get("/jobs/{job_id}/log", response=LogOut)
def job_log(
    request: HttpRequest,
    job_id: Id,
    offset: Offset = 0,
    lease: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> dict[str, Any]:
    """Return part of a job's log: of its newest attempt, or of the one that is asked for."""
    require(request, Role.READER)
    found = Job.numbered(job_id)
    leases = Lease.objects.filter(job=found)
    if lease is not None:
        leases = leases.filter(pk=lease)
    newest = leases.order_by("-pk").first()
    if newest is None:
        return {"lease": None, "offset": offset, "next": offset, "complete": found.over, "text": ""}
    part = log.read_log(newest, offset)
    data = part.data if part.complete else log.whole_characters(part.data)
    return {
        "lease": newest.pk,
        "offset": offset,
        "next": offset + len(data),
        "complete": part.complete,
        "text": data.decode("utf-8", "replace"),
    }


@router.post("/jobs/{job_id}/cancel", response=JobDetailOut)
def cancel(request: HttpRequest, job_id: Id) -> Job:
    """Cancel a job that waits; ask the builder of one that runs to end it."""
    found = Job.numbered(job_id)
    found.cancel(who=require(request, Role.SUBMITTER).label, now=timezone.now())
    return Job.numbered(job_id)


@router.post("/jobs/{job_id}/retry", response=JobDetailOut)
def retry(request: HttpRequest, job_id: Id) -> Job:
    """Let a job that failed or was cancelled wait again."""
    found = Job.numbered(job_id)
    found.retry(who=require(request, Role.SUBMITTER).label)
    return Job.numbered(job_id)


def _builds() -> QuerySet[Build]:
    return Build.objects.select_related("source", "project").prefetch_related("jobs__target")


def _uploaded(who: str, name: str, sha256: str, size: int | None) -> Blob:
    try:
        blob = finished_upload(who, sha256)
    except NotFoundError:
        what = f"{sha256} was not uploaded by you"
        raise BadInputError(Problem(name, 0, 0, what, "upload it first")) from None
    if size is not None and blob.size != size:
        what = f"it has {blob.size} bytes, not {size}"
        raise BadInputError(Problem(name, 0, 0, what, "send its size"))
    return blob
