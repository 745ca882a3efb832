"""A release and its files, and the steps it takes; each is recorded with what it changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models

from commonfarm.archive import events
from commonfarm.journal.interface import Event, record


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
    have its link. `visible_from` is the end of its embargo, and `staged_at` when registered mirrors
    could fetch it ahead of that. `publication` is the revision that
    makes or made it public, `withdrawn_by_publication` the one that takes or took it back, with its
    files gone at once if `leaves_at_once`. `why` is the last word on it: of its review, or why it
    could not be published.
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
    staged_at = models.DateTimeField(null=True, blank=True)
    why = models.TextField(blank=True)
    publication = models.ForeignKey(
        "archive.Publication",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="releases",
    )
    withdrawn_by_publication = models.ForeignKey(
        "archive.Publication",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="withdrawals",
    )
    leaves_at_once = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tree", "number"], name="one_release_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.tree} release {self.number}"

    @property
    def label(self) -> str:
        """How the journal names it."""
        return f"release:{self.tree.name}/{self.number}"

    @property
    def waits_for_publication(self) -> bool:
        """Whether a publication has taken it, and users do not see it yet."""
        before = (ReleaseState.REVIEWED, ReleaseState.EMBARGOED)
        return self.publication_id is not None and self.state in before

    def close(self, link_digest: str, *, who: str) -> None:
        """Let no more be added; it can be looked at from now on."""
        event = events.ReleaseClosed(self.label)
        self._becomes(ReleaseState.UNLISTED, event, who=who, link_digest=link_digest)

    def change_link(self, digest: str, *, who: str) -> None:
        """Have another link lead to it, and the one before to nothing."""
        self._becomes(self.state, events.ReleaseLinked(self.label), who=who, link_digest=digest)

    def approve(self, now: datetime, *, who: str, why: str = "") -> None:
        """Note that it was looked at, and may be published."""
        event = events.ReleaseReviewed(self.label)
        fields = {"reviewed_by": who, "reviewed_at": now, "why": why}
        self._becomes(ReleaseState.REVIEWED, event, who=who, **fields)

    def reject(self, now: datetime, *, who: str, why: str) -> None:
        """End its way: it is never published."""
        event = events.ReleaseRejected(self.label)
        fields = {"reviewed_by": who, "reviewed_at": now, "why": why}
        self._becomes(ReleaseState.REJECTED, event, who=who, **fields)

    def embargo(self, until: datetime, *, who: str) -> None:
        """Keep it from everybody but registered mirrors until a time, and then publish it."""
        event = events.ReleaseEmbargoed(self.label)
        self._becomes(ReleaseState.EMBARGOED, event, who=who, visible_from=until, why="")

    def stage(self, now: datetime, *, who: str) -> None:
        """Note that registered mirrors can fetch it."""
        self._becomes(self.state, events.ReleaseStaged(self.label), who=who, staged_at=now)

    def join(self, publication: Any, *, who: str) -> None:
        """Be made public by a publication; its state changes when users see it."""
        event = events.ReleaseJoined(self.label, revision=publication.revision)
        self._becomes(self.state, event, who=who, publication=publication, why="")

    def appear(self, *, who: str) -> None:
        """Note that users see it."""
        assert self.publication is not None
        event = events.ReleasePublished(self.label, revision=self.publication.revision)
        self._becomes(ReleaseState.PUBLIC, event, who=who)

    def hold_back(self, why: str, *, who: str) -> None:
        """Take it out of its publication, for a fault that a person has to mend.

        The journal, which everybody reads, is not told why: that names files nobody may know of.
        """
        fields = {"publication": None, "visible_from": None, "staged_at": None, "why": why}
        event, told = events.ReleaseHeldBack(self.label), "what is shown of it says why"
        self._becomes(ReleaseState.REVIEWED, event, told, who=who, **fields)

    def leave_by(self, publication: Any, *, at_once: bool, who: str, why: str) -> None:
        """Be taken back by a publication; its state changes when users no longer see it."""
        event = events.WithdrawalAsked(self.label, publication.revision, at_once=at_once)
        fields = {"withdrawn_by_publication": publication, "leaves_at_once": at_once, "why": why}
        self._becomes(self.state, event, who=who, **fields)

    def stay(self, why: str, *, who: str) -> None:
        """Note that it could not be taken back."""
        fields = {"withdrawn_by_publication": None, "leaves_at_once": False, "why": why}
        self._becomes(self.state, events.WithdrawalFailed(self.label), who=who, **fields)

    def disappear(self, publication: Any, *, who: str, why: str = "") -> None:
        """Note that it is no longer part of the tree; None: it never was, and will not be."""
        event = events.ReleaseWithdrawn(
            self.label, revision=publication.revision if publication else 0
        )
        fields = {"withdrawn_by_publication": publication} | ({"why": why} if why else {})
        self._becomes(ReleaseState.WITHDRAWN, event, who=who, **fields)

    def reappear(self, publication: Any, *, who: str) -> None:
        """Note that a rollback has brought it back."""
        event = events.ReleasePublished(self.label, revision=publication.revision)
        self._becomes(ReleaseState.PUBLIC, event, who=who, withdrawn_by_publication=None)

    def _becomes(
        self, state: str, event: Event, told: str = "", /, *, who: str, **fields: Any
    ) -> None:
        self.state = state
        for name, value in fields.items():
            setattr(self, name, value)
        self.save(update_fields=["state", *fields])
        record(event, who=who, why=told or str(fields.get("why", "")))


class ReleaseFile(models.Model):
    """A file of a release, by its path in the tree; or an alias, which has a `target` instead.

    The target is as in a symlink: relative to the folder that the alias lies in.
    """

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
