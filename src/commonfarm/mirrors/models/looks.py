"""What was seen of mirrors, and what was made of it: scans, holdings, probes, audits, maps."""

from __future__ import annotations

from django.db import models

from commonfarm.mirrors.models.registry import Mirror


class ScanKind(models.TextChoices):
    """How a mirror was looked at: its whole listing, or just the paths of a new revision."""

    RSYNC = "rsync"
    HTTP = "http"
    CHECK = "check"


class Scan(models.Model):
    """One look at a mirror: how much of the tree's revision it had, and what went wrong.

    `ok` is null while the scan runs, and stays null when it was cut off. `missing` are the first
    MOST_MISSING paths that it lacks; `Holdings` has all.
    """

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="scans")
    kind = models.CharField(max_length=10, choices=ScanKind.choices)
    url = models.CharField(max_length=500)
    revision = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    ok = models.BooleanField(null=True)
    problem = models.TextField(blank=True)
    files_expected = models.PositiveIntegerField(default=0)
    files_found = models.PositiveIntegerField(default=0)
    missing = models.JSONField(default=list)

    class Meta:
        indexes = [models.Index(fields=["mirror", "-id"], name="scan_newest_first")]

    def __str__(self) -> str:
        return f"scan of {self.mirror} at {self.started_at}"


class Holdings(models.Model):
    """Which files of its tree a mirror was seen to have: bit n is TreeFile number `first` + n.

    Bits are in little-endian order within each byte, as numpy's `packbits(bitorder="little")`.
    """

    mirror = models.OneToOneField(Mirror, on_delete=models.CASCADE, related_name="holdings")
    first = models.BigIntegerField(default=0)
    bits = models.BinaryField(default=bytes)
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "holdings"

    def __str__(self) -> str:
        return f"holdings of {self.mirror}"


class Arrival(models.Model):
    """When a mirror was first seen to have all new files of a revision."""

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="arrivals")
    revision = models.PositiveIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["mirror", "revision"], name="one_arrival_per_mirror_and_revision"
            )
        ]

    def __str__(self) -> str:
        return f"{self.mirror} has revision {self.revision}"


class Probe(models.Model):
    """One probe of a mirror: which of its schemes and address families answered, and how fast.

    `answers` are the bits of `mirror_map.Answers`; `problems` maps the others to why not.
    """

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="probes")
    at = models.DateTimeField()
    answers = models.PositiveSmallIntegerField()
    problems = models.JSONField(default=dict)
    seconds = models.FloatField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["mirror", "-at"], name="probe_newest_first")]

    def __str__(self) -> str:
        return f"probe of {self.mirror} at {self.at}"


class Audit(models.Model):
    """One comparison of a mirror's bytes with our hashes.

    `problem` names the first difference, or why no piece could be compared.
    """

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="audits")
    at = models.DateTimeField()
    pieces = models.PositiveIntegerField()
    ok = models.BooleanField()
    problem = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["mirror", "-at"], name="audit_newest_first")]

    def __str__(self) -> str:
        return f"audit of {self.mirror} at {self.at}"


class PushAttempt(models.Model):
    """One time that a mirror was told to pull a revision, and what came of it."""

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="pushes")
    revision = models.PositiveIntegerField()
    at = models.DateTimeField()
    ok = models.BooleanField()
    problem = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["mirror", "-at"], name="push_newest_first")]

    def __str__(self) -> str:
        return f"push to {self.mirror} at {self.at}"


class MapWritten(models.Model):
    """A mirror map that was made for the redirectors; `base` is 0 for a full one.

    `digest` is that of its content without generation and date, so that the same content is not
    written twice.
    """

    generation = models.BigIntegerField(primary_key=True)
    base = models.BigIntegerField(default=0)
    written_at = models.DateTimeField()
    digest = models.CharField(max_length=64)
    files = models.PositiveIntegerField(default=0)
    mirrors = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "maps written"

    def __str__(self) -> str:
        return f"mirror map {self.generation}"
