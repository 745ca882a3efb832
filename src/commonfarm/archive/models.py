"""Artifacts, what repositories hold of them, and what was published when."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from commonfarm.journal.interface import Event, record


class Artifact(models.Model):
    """A file that was built or uploaded, and is known to be what it says.

    `producer` is plain text naming what made it (`job:12`). `control` holds the fields of a
    binary package's control file. `provenance` is its signed in-toto statement (DSSE).
    """

    filename = models.CharField(max_length=255)
    blob = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")
    producer = models.CharField(max_length=100)
    package = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=200, blank=True)
    architecture = models.CharField(max_length=20, blank=True)
    control = models.JSONField(default=dict)
    statement = models.JSONField(default=dict)
    provenance = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["package"], name="artifact_package")]
        constraints = [
            models.UniqueConstraint(fields=["producer", "filename"], name="one_file_per_producer")
        ]

    def __str__(self) -> str:
        return self.filename


class Entry(models.Model):
    """A package in a distribution of a repository. Its path is never given to other bytes.

    `path` is below the repository, and `publication` the first revision of the tree that has it.
    """

    repository = models.ForeignKey("estate.Repository", on_delete=models.PROTECT)
    distribution = models.CharField(max_length=100)
    component = models.CharField(max_length=100, default="main")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT)
    path = models.CharField(max_length=500)
    publication = models.ForeignKey(
        "archive.Publication", on_delete=models.PROTECT, related_name="entries"
    )
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(fields=["repository", "path"], name="one_entry_per_path")
        ]

    def __str__(self) -> str:
        return f"{self.repository}: {self.path}"


class PublicationState(models.TextChoices):
    """How far a publication is; each step is recorded before the next one starts."""

    PENDING = "pending"
    ASSEMBLED = "assembled"
    SIGNED = "signed"
    PUBLISHED = "published"
    FAILED = "failed"


UNFINISHED = (PublicationState.PENDING, PublicationState.ASSEMBLED, PublicationState.SIGNED)


class Publication(models.Model):
    """One revision of a release tree, from the wish to publish to the switch.

    `assembled_at` is the date its indexes bear. `problem` is why it failed or waits.
    """

    tree = models.ForeignKey(
        "estate.ReleaseTree", on_delete=models.PROTECT, related_name="publications"
    )
    revision = models.PositiveIntegerField()
    state = models.CharField(
        max_length=20, choices=PublicationState.choices, default=PublicationState.PENDING
    )
    why = models.TextField(blank=True)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    assembled_at = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tree", "revision"], name="one_publication_per_revision"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tree} revision {self.revision}"

    @property
    def label(self) -> str:
        """How the journal names it."""
        return f"tree:{self.tree.name}@{self.revision}"

    def reached(self, state: PublicationState, event: Event, *, who: str, now: datetime) -> None:
        """Record that a step is done, in the transaction that did it."""
        self.state, self.problem = state, ""
        if state is PublicationState.ASSEMBLED:
            self.assembled_at = now
        if state is PublicationState.PUBLISHED:
            self.published_at = now
        self.save(update_fields=["state", "problem", "assembled_at", "published_at"])
        record(event, who=who)

    def waits(self, problem: str) -> None:
        """Note what keeps it from going on; it is tried again."""
        Publication.objects.filter(pk=self.pk).exclude(problem=problem).update(problem=problem)

    def begin_again(self, problem: str, event: Event, *, who: str) -> None:
        """Have it assembled once more, in the transaction that found out why."""
        self._refused(PublicationState.PENDING, problem, event, who)

    def fail(self, problem: str, event: Event, *, who: str) -> None:
        """Give it up for good, in the transaction that found out why; what users see stays."""
        self._refused(PublicationState.FAILED, problem, event, who)

    def _refused(self, state: PublicationState, problem: str, event: Event, who: str) -> None:
        self.state, self.problem = state, problem
        self.save(update_fields=["state", "problem"])
        record(event, who=who, why=problem)


class TreeFile(models.Model):
    """A file of a release tree: its path, its bytes, and the revisions it is part of.

    `until_revision` is the first revision without it; null while it is current.
    """

    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="files")
    path = models.CharField(max_length=1000)
    blob = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")
    since_revision = models.PositiveIntegerField()
    until_revision = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["tree", "path"], name="tree_file_path")]
        constraints = [
            models.UniqueConstraint(
                fields=["tree", "path", "since_revision"], name="one_file_per_path_and_revision"
            )
        ]

    def __str__(self) -> str:
        return self.path
