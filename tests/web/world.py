"""Rows of every room, as many as wanted, for pages and streams to show."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from commonfarm.estate.models import Pool, Project, Target
from commonfarm.farm.models import Build, Job, JobState, Lease, Source
from commonfarm.fleet.models import Builder
from commonfarm.store.models import Blob


def builder(name: str = "local", seen: timedelta = timedelta(seconds=5)) -> Builder:
    """Return a builder that was seen so long ago, made when it is not there."""
    now = timezone.now()
    pool, _ = Pool.objects.get_or_create(name="local", defaults={"architecture": "amd64"})
    return Builder.objects.get_or_create(
        name=name,
        defaults={
            "pool": pool,
            "generation": 1,
            "credential_digest": f"digest-{name}",
            "architecture": "amd64",
            "cores": 2,
            "memory_bytes": 4 << 30,
            "disk_bytes": 20 << 30,
            "enrolled_at": now,
            "last_seen_at": now - seen,
        },
    )[0]


def job(state: JobState = JobState.WAITING, name: str = "hello", version: str = "2.10-3") -> Job:
    """Return a job in this state, of a build of its own."""
    now = timezone.now()
    target, _ = Target.objects.get_or_create(
        name="bookworm-amd64",
        defaults={"declared_suite": "host", "suite": "bookworm", "architecture": "amd64"},
    )
    project, _ = Project.objects.get_or_create(name="demo")
    project.targets.add(target)
    digest = f"{Source.objects.count():064x}"
    blob, _ = Blob.objects.get_or_create(sha256=digest, defaults={"size": 1000})
    source = Source.objects.create(name=name, version=version, dsc=blob)
    build = Build.objects.create(source=source, project=project, submitted_by="user:anna")
    ended = state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    return Job.objects.create(
        build=build,
        target=target,
        state=state,
        attempts=0 if state == JobState.WAITING else 1,
        state_reason="dpkg-buildpackage ended with 2" if state == JobState.FAILED else "",
        ended_at=now if ended else None,
    )


def running_lease(name: str = "hello") -> Lease:
    """Return the lease of a job that runs now."""
    now = timezone.now()
    return Lease.objects.create(
        job=job(JobState.LEASED, name),
        builder=builder(),
        generation=1,
        epoch=1,
        given_at=now,
        deadline_at=now + timedelta(seconds=60),
    )
