"""Sources, builds, jobs and leases.

Who locks several rows locks them in this order: builder, job, lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, models, transaction

from commonfarm.farm.events import (
    CancelAsked,
    JobEnded,
    JobFreed,
    JobRetried,
    RebuildQueued,
)
from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError

QUEUE_CHANNEL = "farm_jobs"
MOST_ATTEMPTS = 3
LEASE_TIME = timedelta(seconds=180)
RENEW_SECONDS = 20.0


def tell_scheduler(jobs: Iterable[int]) -> None:
    """Wake the scheduler, when the transaction commits, to look at these jobs again."""
    with connection.cursor() as cursor:
        # A notification holds less than 8000 bytes; an empty one says: look at all.
        ids = ",".join(map(str, jobs))
        cursor.execute("SELECT pg_notify(%s, %s)", [QUEUE_CHANNEL, ids if len(ids) < 7000 else ""])


class Source(models.Model):
    """A source package whose files were verified against its .dsc."""

    name = models.CharField(max_length=200)
    version = models.CharField(max_length=200)
    dsc = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")
    signed_by = models.CharField(max_length=200, blank=True)
    control = models.JSONField(default=dict)
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dsc"], name="one_source_per_dsc")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class SourceFile(models.Model):
    """One file of a source package, the .dsc included."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=255)
    blob = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "name"], name="one_file_per_name")]

    def __str__(self) -> str:
        return self.name


class Build(models.Model):
    """One source, built for some targets of a project."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="builds")
    project = models.ForeignKey("estate.Project", on_delete=models.PROTECT)
    submitted_by = models.CharField(max_length=200)
    submitted_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"build {self.pk} of {self.source}"

    @property
    def state(self) -> str:
        """One word for all its jobs: the state of the one that people would look at first."""
        states = {job.state for job in self.jobs.all()}
        return next((str(state) for state in _LOOKED_AT_FIRST if state in states), "")


class JobState(models.TextChoices):
    """Where a job stands."""

    WAITING = "waiting"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_LOOKED_AT_FIRST = (
    JobState.LEASED,
    JobState.WAITING,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.SUCCEEDED,
)


class Job(models.Model):
    """One unit of work that is leased to one builder at a time.

    `rebuild_suffix` N builds the version with `+bN` behind it; null builds it as it is. `needs` is
    {"features": [...], "memory_bytes": int, "disk_bytes": int}. `results` lists what the archive
    did with each artifact: [{"filename", "sha256", "verdict", "path"}].
    """

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="jobs")
    target = models.ForeignKey("estate.Target", on_delete=models.PROTECT)
    state = models.CharField(max_length=20, choices=JobState.choices, default=JobState.WAITING)
    state_reason = models.TextField(blank=True)
    priority = models.SmallIntegerField(default=0)
    needs = models.JSONField(default=dict)
    rebuild_suffix = models.PositiveIntegerField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    results = models.JSONField(default=list)

    class Meta:
        indexes = [models.Index(fields=["state", "-priority", "id"], name="job_queue")]

    def __str__(self) -> str:
        return f"job {self.pk}"

    @property
    def label(self) -> str:
        """How the journal and the archive name this job."""
        return f"job:{self.pk}"

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.ended_at is not None

    @classmethod
    def numbered(cls, number: int) -> Job:
        """Return the job with this id; raise NotFoundError when there is none."""
        found = (
            cls.objects.select_related("build__source", "build__project", "target")
            .filter(pk=number)
            .first()
        )
        if found is None:
            raise NotFoundError(
                Reason("no-such-job", f"there is no job {number}", "`commonfarm builds` lists them")
            )
        return found

    def cancel(self, *, who: str, now: datetime) -> None:
        """End a waiting job; have a running one ended by its builder.

        Raises RefusedError when it is over.
        """
        with transaction.atomic():
            self._lock()
            if self.state == JobState.WAITING:
                self.end(JobState.CANCELLED, f"cancelled by {who}", who=who, now=now)
                tell_scheduler([self.pk])
            elif self.state == JobState.LEASED:
                if self.cancel_asked_at is None:
                    self.cancel_asked_at = now
                    self.state_reason = f"{who} asked to cancel it"
                    self.save(update_fields=["cancel_asked_at", "state_reason"])
                    record(CancelAsked(self.label), who=who)
            else:
                raise self._refused("cancel", "only what waits or runs can be cancelled")

    def retry(self, *, who: str) -> None:
        """Let a failed or cancelled job wait again; raise RefusedError for any other."""
        with transaction.atomic():
            self._lock()
            if self.state not in (JobState.FAILED, JobState.CANCELLED):
                raise self._refused("retry", "only what failed or was cancelled can be tried again")
            self._reset(f"{who} asked to try it again")
            self.attempts = 0
            self.save()
            record(JobRetried(self.label), who=who)
            tell_scheduler([self.pk])

    def wait_again(self, lease: Lease, *, who: str, now: datetime) -> None:
        """Free the job of a lease that brought no result; the caller holds the job's lock.

        A job that was to be cancelled ends so, and one that was freed too often fails.
        """
        if self.cancel_asked_at is not None:
            self.end(JobState.CANCELLED, self.state_reason, who=who, now=now)
            return
        self.attempts += 1
        why = f"attempt {self.attempts} of {MOST_ATTEMPTS}: {lease.reason}"
        if self.attempts >= MOST_ATTEMPTS:
            self.end(JobState.FAILED, why, who=who, now=now)
            return
        self._reset(why)
        self.save()
        record(
            JobFreed(self.label, lease=lease.pk, outcome=lease.outcome, attempts=self.attempts),
            who=who,
            why=lease.reason,
        )
        tell_scheduler([self.pk])

    def end(
        self,
        state: JobState,
        reason: str,
        *,
        who: str,
        now: datetime,
        results: list[dict[str, Any]] | None = None,
    ) -> None:
        """Let the job be over; the caller holds its lock."""
        self.state = state
        self.state_reason = reason
        self.ended_at = now
        self.results = results or []
        self.save()
        record(JobEnded(self.label, state=str(state)), who=who, why=reason)

    def rebuild(self, reason: str, *, who: str) -> Job:
        """Make a job that builds the same source under the version with the next `+bN`."""
        suffix = (self.rebuild_suffix or 0) + 1
        made = Job.objects.create(
            build=self.build,
            target=self.target,
            priority=self.priority,
            needs=self.needs,
            rebuild_suffix=suffix,
            state_reason=reason,
        )
        record(
            RebuildQueued(made.label, instead_of=self.pk, rebuild_suffix=suffix),
            who=who,
            why=reason,
        )
        tell_scheduler([made.pk])
        return made

    def _reset(self, reason: str) -> None:
        self.state = JobState.WAITING
        self.state_reason = reason
        self.cancel_asked_at = None
        self.ended_at = None
        self.results = []

    def _lock(self) -> None:
        self.refresh_from_db(from_queryset=Job.objects.select_for_update(of=("self",)))

    def _refused(self, verb: str, lifted_by: str) -> RefusedError:
        return RefusedError(
            Reason(f"cannot-{verb}", f"job {self.pk} is {self.state} already", lifted_by)
        )


class Lease(models.Model):
    """A job in the hands of one generation of a builder, until a deadline that is renewed."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="leases")
    builder = models.ForeignKey("fleet.Builder", on_delete=models.PROTECT, related_name="leases")
    generation = models.PositiveIntegerField()
    epoch = models.BigIntegerField()
    given_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    reason = models.TextField(blank=True)
    facts = models.JSONField(default=dict)
    log = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(ended_at=None), name="one_active_lease_per_job"
            )
        ]

    def __str__(self) -> str:
        return f"lease {self.pk} of job {self.job_id}"

    @property
    def label(self) -> str:
        """How the store names what this lease brings."""
        return f"lease:{self.pk}"

    def renew(self, now: datetime) -> None:
        """Move the deadline on, unless the lease has ended meanwhile (then nothing changes)."""
        self.deadline_at = now + LEASE_TIME
        Lease.objects.filter(pk=self.pk, ended_at=None).update(deadline_at=self.deadline_at)

    def end(self, outcome: str, reason: str, now: datetime) -> None:
        """End the lease and count it off its builder; the caller holds the locks of all three."""
        self.outcome, self.reason, self.ended_at = outcome, reason, now
        self.save(update_fields=["outcome", "reason", "ended_at", "facts"])
        self.builder.job_ended(self.generation)

    def over(self) -> Reason | None:
        """Say how the lease ended; None while it runs."""
        if self.ended_at is None:
            return None
        return Reason(
            "lease-over",
            f"lease {self.pk} is over: {self.outcome}"
            + (f" ({self.reason})" if self.reason else ""),
            "drop the job and ask for another",
        )


class LogPiece(models.Model):
    """At most 64 KiB of a running job's log; the pieces become one blob at the end."""

    lease = models.ForeignKey(Lease, on_delete=models.CASCADE, related_name="log_pieces")
    offset = models.BigIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lease", "offset"], name="one_piece_per_offset")
        ]

    def __str__(self) -> str:
        return f"{self.lease}: {self.offset}"


class SchedulerEpoch(models.Model):
    """One row: raised by each scheduler that is elected, checked in every lease's transaction."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=200, blank=True)
    since_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"epoch {self.epoch} held by {self.holder}"
