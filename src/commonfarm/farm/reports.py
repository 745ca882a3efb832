"""What becomes of a job when its builder reports: it is published, it fails, or it waits again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from itertools import chain
from typing import Any

from django.db import transaction
from pydantic import BaseModel, ConfigDict, ValidationError

from commonfarm.agent import protocol
from commonfarm.archive.interface import NewArtifact, Verdict, add_build
from commonfarm.farm import leases
from commonfarm.farm.models import JobState, Lease
from commonfarm.fleet.interface import generation_over
from commonfarm.http.interface import ProblemError
from commonfarm.lib.errors import (
    BadInputError,
    NotFoundError,
    Problem,
    RefusedError,
)
from commonfarm.lib.paths import is_file_name, is_sha256
from commonfarm.store.interface import finished_upload

MOST_REASON = 2000
MOST_FACTS_BYTES = 2**20
MOST_FACTS_LEVELS = 8
DIFFERS = "differs"
STAGES = ("root", "dependencies", "build", "upload")


class _BaseRoot(BaseModel):
    model_config = ConfigDict(strict=True)
    digest: str = ""
    packages: list[str] = []


class _Facts(BaseModel):
    """The facts that are read again; what else a builder tells is only kept."""

    model_config = ConfigDict(strict=True)
    base_root: _BaseRoot = _BaseRoot()
    packages: list[str] = []
    limits: dict[str, str] = {}


def take(lease_id: int, report: protocol.Report, now: datetime) -> None:
    """Carry out a report, in one transaction; the same report again changes nothing.

    Raises ProblemError (410) when the lease is over or of a past generation, BadInputError for a
    report that cannot be true, such as an artifact that this lease did not upload. Facts that no
    provenance can tell are raised, too, but end the lease as broken: no later report would do it.
    """
    _check(report)
    fault = fault_of(report.facts)
    if fault is not None:
        reason = f"what the builder says of the build: {fault}"
        report = replace(report, outcome=protocol.BROKEN, reason=reason, facts={})
    report = replace(report, reason=report.reason[:MOST_REASON])
    _record(lease_id, report, now)
    if fault is not None:
        raise BadInputError(fault)


def _record(lease_id: int, report: protocol.Report, now: datetime) -> None:
    with transaction.atomic():
        lease = leases.lock(lease_id)
        builder = lease.builder
        if report.generation != lease.generation or lease.generation != builder.generation:
            reason = generation_over(builder.name, report.generation, builder.generation)
            raise ProblemError(HTTPStatus.GONE, reason)
        over = lease.over()
        if over is not None:
            if lease.outcome == report.outcome:
                return
            raise ProblemError(HTTPStatus.GONE, over)
        lease.facts = report.facts
        leases.close(lease, report.outcome, report.reason, now)
        _OUTCOMES[report.outcome](lease, report, now)


def _check(report: protocol.Report) -> None:
    problems = []

    def fault(where: str, what: str, to_do: str) -> None:
        problems.append(Problem(where, 0, 0, what, to_do))

    if report.outcome not in protocol.OUTCOMES:
        fault("outcome", f"is {report.outcome[:40]!r}", f"send one of {protocol.OUTCOMES}")
    if report.stage not in STAGES:
        fault("stage", f"is {report.stage[:40]!r}", f"send one of {STAGES}")
    if len(report.artifacts) > protocol.MOST_ARTIFACTS:
        to_do = f"send at most {protocol.MOST_ARTIFACTS}"
        fault("artifacts", f"are {len(report.artifacts)}", to_do)
    names = [one.name for one in report.artifacts]
    for one in report.artifacts:
        if not is_file_name(one.name) or not is_sha256(one.sha256) or names.count(one.name) > 1:
            fault("artifacts", f"{one.name[:80]!r} is odd or named twice", "use plain names")
    if problems:
        raise BadInputError(*problems)


def fault_of(facts: dict[str, Any]) -> Problem | None:
    """Return the first reason why no provenance can be made of what a builder says."""

    def fault(what: str, where: str = "facts") -> Problem:
        return Problem(where[:80], 0, 0, what, "update the agent, or replace it if it was changed")

    level: list[Any] = [facts]
    for _ in range(MOST_FACTS_LEVELS):
        dicts = (one.values() for one in level if isinstance(one, dict))
        level = [*chain(*dicts), *chain(*(one for one in level if isinstance(one, list)))]
    if any(isinstance(one, dict | list) for one in level):
        return fault(f"they have more than {MOST_FACTS_LEVELS} levels")
    size = len(json.dumps(facts))
    if size > MOST_FACTS_BYTES:
        return fault(f"they have {size} bytes of JSON, more than {MOST_FACTS_BYTES}")
    try:
        _Facts.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        return fault(first["msg"], ".".join(map(str, ("facts", *first["loc"]))))
    return None


def _succeeded(lease: Lease, report: protocol.Report, now: datetime) -> None:
    job, who = lease.job, lease.builder.label
    files = _uploaded(lease, report)
    try:
        with transaction.atomic():
            verdicts = add_build(
                job.label,
                job.build.project,
                job.target,
                files,
                statement_facts(lease, report, now),
                who=who,
            )
    except (RefusedError, BadInputError) as error:
        # Built again it would be refused again, so this is the job's end and not the lease's.
        job.end(JobState.FAILED, f"the archive refused it: {error}", who=who, now=now)
        return
    sha256 = {one.filename: one.blob_sha256 for one in files}
    results = [
        {
            "filename": one.filename,
            "sha256": sha256[one.filename],
            "verdict": str(one.verdict),
            "path": one.path,
        }
        for one in verdicts
    ]
    differing = [one for one in verdicts if one.verdict == DIFFERS]
    reason = _rebuild_reason(differing) if differing else ""
    job.end(JobState.SUCCEEDED, reason, who=who, now=now, results=results)
    if differing:
        job.rebuild(reason, who=who)


def _failed(lease: Lease, report: protocol.Report, now: datetime) -> None:
    reason = f"failed in {report.stage}: {report.reason}"
    lease.job.end(JobState.FAILED, reason, who=lease.builder.label, now=now)


def _broken(lease: Lease, _report: protocol.Report, now: datetime) -> None:
    lease.job.wait_again(lease, who=lease.builder.label, now=now)


def _cancelled(lease: Lease, _report: protocol.Report, now: datetime) -> None:
    job = lease.job
    if job.cancel_asked_at is None:
        # Nobody here asked for it (the agent was stopped, say), so somebody else builds it.
        job.wait_again(lease, who=lease.builder.label, now=now)
        return
    job.end(JobState.CANCELLED, job.state_reason, who=lease.builder.label, now=now)


_OUTCOMES = {
    protocol.SUCCEEDED: _succeeded,
    protocol.FAILED: _failed,
    protocol.BROKEN: _broken,
    protocol.CANCELLED: _cancelled,
}


def _uploaded(lease: Lease, report: protocol.Report) -> list[NewArtifact]:
    """Return the artifacts, each of which this very lease must have brought in full."""
    found, problems = [], []
    for one in report.artifacts:
        try:
            blob = finished_upload(lease.label, one.sha256)
        except NotFoundError:
            what = f"{one.name} was not uploaded under this lease"
            problems.append(Problem("artifacts", 0, 0, what, "upload it, then report again"))
            continue
        if blob.size != one.size:
            what = f"{one.name} has {blob.size} bytes, not {one.size}"
            problems.append(Problem("artifacts", 0, 0, what, "report what was uploaded"))
        found.append(NewArtifact(filename=one.name, blob_sha256=one.sha256))
    if problems:
        raise BadInputError(*problems)
    return found


def statement_facts(lease: Lease, report: protocol.Report, now: datetime) -> dict[str, Any]:
    """Return what the provenance of a job's artifacts tells: what the hub knows itself, and
    under `agent` what the builder says.
    """
    job = lease.job
    source = job.build.source
    return {
        "build": job.build_id,
        "job": job.pk,
        "lease": lease.pk,
        "project": job.build.project.name,
        "submitted_by": job.build.submitted_by,
        "target": job.target.name,
        "architecture": job.target.architecture,
        "package_sources": job.target.package_sources,
        "rebuild_suffix": job.rebuild_suffix,
        "source": {
            "name": source.name,
            "version": source.version,
            "signed_by": source.signed_by,
            "files": [
                {"name": one.name, "sha256": one.blob_id} for one in source.files.order_by("name")
            ],
        },
        "builder": lease.builder.label,
        "started_at": lease.given_at.isoformat(),
        "finished_at": now.isoformat(),
        "agent": report.facts,
    }


def _rebuild_reason(differing: list[Verdict]) -> str:
    names = ", ".join(f"{one.filename}" for one in differing[:5])
    return (
        f"{names}: published before with other bytes, and a published file is never replaced;"
        " built again with a rebuild suffix"
    )
