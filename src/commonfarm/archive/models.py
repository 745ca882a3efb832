"""Artifacts, what repositories hold of them, and what was published when."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from commonfarm.archive.adoption.models import Adoption
from commonfarm.archive.releases.models import Release, ReleaseFile, ReleaseState
from commonfarm.journal.interface import Event, record

__all__ = [
    "UNFINISHED",
    "Adoption",
    "Artifact",
    "Entry",
    "FileHashes",
    "Publication",
    "PublicationState",
    "Release",
    "ReleaseFile",
    "ReleaseState",
    "TreeAlias",
    "TreeFile",
]


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
    `architecture` is that of the artifact, so that counting them takes one table.
    """

    repository = models.ForeignKey("estate.Repository", on_delete=models.PROTECT)
    distribution = models.CharField(max_length=100)
    component = models.CharField(max_length=100, default="main")
    architecture = models.CharField(max_length=20, blank=True)
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

    `assembled_at` is the date its indexes bear. `problem` is why it failed or waits. `manifest` is
    the blob that says what this revision changes, or all it holds, `statement` the signed statement
    that pins it and those before it.
    `rolls_back_to` is the revision whose files of releases it brings back.
    """

    tree = models.ForeignKey(
        "estate.ReleaseTree", on_delete=models.PROTECT, related_name="publications"
    )
    revision = models.PositiveIntegerField()
    state = models.CharField(
        max_length=20, choices=PublicationState.choices, default=PublicationState.PENDING
    )
    why = models.TextField(blank=True)
    rolls_back_to = models.PositiveIntegerField(null=True, blank=True)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    assembled_at = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    manifest = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    statement = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

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
        done = ["assembled_at", "manifest", "statement", "published_at"]
        self.save(update_fields=["state", "problem", *done])
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

    `until_revision` is the first revision without it; null while it is current. A file that was
    withdrawn still lies there until `leaves_at`, but is in no manifest from `leaving_revision` on.
    A file of an adopted tree has no `blob`, and no `sha256` until it was hashed; `modified_ns` is
    its time, in nanoseconds since 1970. `changes` says
    that its bytes may change while its path stays; mirrors are sent clients for it from
    `mirrors_from` on. `release` is the one that brought it; what repositories and manifests consist
    of has none. `pk` is the file's number in mirrors' holdings and in mirror maps.
    """

    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="files")
    path = models.CharField(max_length=1000)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    blob = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    release = models.ForeignKey(
        Release, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    modified_at = models.DateTimeField(null=True, blank=True)
    modified_ns = models.BigIntegerField(null=True, blank=True)
    changes = models.BooleanField(default=False)
    mirrors_from = models.DateTimeField(null=True, blank=True)
    since_revision = models.PositiveIntegerField()
    leaving_revision = models.PositiveIntegerField(null=True, blank=True)
    leaves_at = models.DateTimeField(null=True, blank=True)
    until_revision = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        indexes = [
            # By bytes, whatever the database sorts by: what lies below a folder is a range of it.
            models.Index(
                fields=["tree", "path"],
                name="tree_file_below",
                opclasses=["int8_ops", "varchar_pattern_ops"],
            ),
            models.Index(fields=["tree", "since_revision"], name="tree_file_since"),
            models.Index(
                fields=["tree", "until_revision"],
                name="tree_file_until",
                condition=models.Q(until_revision__isnull=False),
            ),
            models.Index(
                fields=["tree", "leaving_revision"],
                name="tree_file_leaving",
                condition=models.Q(leaving_revision__isnull=False),
            ),
            models.Index(
                fields=["leaves_at"],
                name="tree_file_leaves_at",
                condition=models.Q(leaves_at__isnull=False),
            ),
            models.Index(
                fields=["tree", "id"],
                name="tree_file_unread",
                condition=models.Q(sha256="", until_revision=None),
            ),
            models.Index(
                fields=["tree", "id"],
                name="tree_file_changing",
                condition=models.Q(changes=True),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tree", "path", "since_revision"], name="one_file_per_path_and_revision"
            )
        ]

    def __str__(self) -> str:
        return self.path


class TreeAlias(models.Model):
    """A path of a tree, of a file or a folder, that stands for another: a symlink that was kept.

    The target is a path of the tree, and may be, or lie behind, another alias.
    """

    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="aliases")
    path = models.CharField(max_length=1000)
    target = models.CharField(max_length=1000)
    since_revision = models.PositiveIntegerField()
    until_revision = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "tree aliases"
        constraints = [
            models.UniqueConstraint(
                fields=["tree", "path", "since_revision"], name="one_alias_per_path_and_revision"
            )
        ]

    def __str__(self) -> str:
        return f"{self.path} -> {self.target}"


class FileHashes(models.Model):
    """Further hashes of bytes: SHA-1, MD5, and the SHA-256 of each piece of `piece_bytes`.

    Without pieces (`piece_bytes` 0) the file is not longer than one.
    """

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    sha1 = models.BinaryField(max_length=20)
    md5 = models.BinaryField(max_length=16)
    piece_bytes = models.PositiveIntegerField(default=0)
    pieces = models.BinaryField(default=bytes)

    class Meta:
        verbose_name_plural = "file hashes"

    def __str__(self) -> str:
        return self.sha256
