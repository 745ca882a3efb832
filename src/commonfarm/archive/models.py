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

    `assembled_at` is the date its indexes bear. `problem` is why it failed or waits. `manifest` is
    the blob that says what this revision changes (or all it holds, `manifest_base` then being this
    very revision), `statement` the signed statement that pins it and those before it.
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
    manifest = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    manifest_base = models.PositiveIntegerField(null=True, blank=True)
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

    `until_revision` is the first revision without it; null while it is current. A file that was
    withdrawn still lies there until `leaves_at`, but is in no manifest from `leaving_revision` on.
    A file of an adopted tree has no `blob`, and no `sha256` until it was hashed. `changes` says
    that its bytes may change while its path stays; mirrors are sent clients for it from
    `mirrors_from` on. `pk` is the file's number in mirrors' holdings and in mirror maps.
    """

    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="files")
    path = models.CharField(max_length=1000)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    blob = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    modified_at = models.DateTimeField(null=True, blank=True)
    changes = models.BooleanField(default=False)
    mirrors_from = models.DateTimeField(null=True, blank=True)
    since_revision = models.PositiveIntegerField()
    leaving_revision = models.PositiveIntegerField(null=True, blank=True)
    leaves_at = models.DateTimeField(null=True, blank=True)
    until_revision = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["tree", "path"], name="tree_file_path"),
            models.Index(fields=["tree", "since_revision"], name="tree_file_since"),
            models.Index(
                fields=["tree", "until_revision"],
                name="tree_file_until",
                condition=models.Q(until_revision__isnull=False),
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
    """A path of a tree, of a file or a folder, that stands for another: a symlink that was kept."""

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


class ReleaseState(models.TextChoices):
    """How far a release is on its way from an upload to the public."""

    OPEN = "open"
    UNLISTED = "unlisted"
    REVIEWED = "reviewed"
    EMBARGOED = "embargoed"
    PUBLIC = "public"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Release(models.Model):
    """Files on their way into a release tree, put together and published together.

    While it is open files can be added; then it is unlisted: seen by those who are signed in, or
    have its link. `visible_from` is the end of its embargo. `publication` is the revision that made
    it public, `withdrawn_by_publication` the one that took it back.
    """

    tree = models.ForeignKey(
        "estate.ReleaseTree", on_delete=models.PROTECT, related_name="releases"
    )
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=20, choices=ReleaseState.choices, default=ReleaseState.OPEN)
    origin = models.CharField(max_length=1000, blank=True)
    put_by = models.CharField(max_length=200)
    put_at = models.DateTimeField(auto_now_add=True)
    reviewed_by = models.CharField(max_length=200, blank=True)
    reviewed_at = models.DateTimeField(null=True, blank=True)
    link_digest = models.CharField(max_length=64, blank=True)
    visible_from = models.DateTimeField(null=True, blank=True)
    why = models.TextField(blank=True)
    publication = models.ForeignKey(
        Publication, null=True, blank=True, on_delete=models.PROTECT, related_name="releases"
    )
    withdrawn_by_publication = models.ForeignKey(
        Publication, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tree", "number"], name="one_release_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.tree} release {self.number}"


class ReleaseFile(models.Model):
    """A file of a release, by its path in the tree; or an alias, which has a `target` instead."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=1000)
    blob = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    target = models.CharField(max_length=1000, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "path"], name="one_file_per_release_path")
        ]

    def __str__(self) -> str:
        return self.path
