"""Sources, builds, jobs and leases."""

from __future__ import annotations

from django.db import models


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


class JobState(models.TextChoices):
    """Where a job stands."""

    WAITING = "waiting"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(models.Model):
    """One unit of work that is leased to one builder at a time.

    `rebuild_suffix` N builds the version with `+bN` behind it; null builds it as it is. `needs` is
    {"features": [...], "memory_bytes": int, "disk_bytes": int}. `results` lists what the archive
    did with each artifact: [{"filename", "verdict", "path"}].
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
