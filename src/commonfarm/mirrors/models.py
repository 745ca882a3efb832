"""Mirrors, and what scans saw on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import models, transaction

from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.mirrors import events


class Mirror(models.Model):
    """A server that carries a release tree at `url` (http or https, with a slash at its end)."""

    name = models.CharField(max_length=100)
    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="mirrors")
    url = models.CharField(max_length=500)
    rsync_url = models.CharField(max_length=500, blank=True)
    country = models.CharField(max_length=2)
    enabled = models.BooleanField(default=True)
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(removed_at=None), name="one_mirror_per_name"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """How the journal names this mirror."""
        return f"mirror:{self.name}"

    @classmethod
    def named(cls, name: str) -> Mirror:
        """Return the registered mirror `name`; raise NotFoundError that names those there are."""
        known = cls.objects.filter(removed_at=None).select_related("tree")
        found = known.filter(name=name).first() if "\0" not in name else None
        if found is None:
            names = ", ".join(known.order_by("name").values_list("name", flat=True)[:20])
            raise NotFoundError(
                Reason(
                    "no-such-mirror",
                    f"there is no mirror {name[:100]!r}",
                    f"there are: {names}" if names else "add one: commonfarm mirror add NAME",
                )
            )
        return found

    @classmethod
    def add(
        cls, name: str, tree: ReleaseTree, *, url: str, country: str, rsync_url: str, who: str
    ) -> Mirror:
        """Register a mirror; RefusedError when the name is taken."""
        with transaction.atomic():
            mirror, made = cls.objects.get_or_create(
                name=name,
                removed_at=None,
                defaults={
                    "tree": tree,
                    "url": url,
                    "country": country,
                    "rsync_url": rsync_url,
                    "added_by": who,
                },
            )
            if not made:
                raise RefusedError(
                    Reason(
                        "mirror-exists",
                        f"there is a mirror {name} already, at {mirror.url}",
                        f"change it: commonfarm mirror edit {name}",
                    )
                )
            record(
                events.MirrorAdded(mirror.subject, tree=tree.name, url=url, country=country),
                who=who,
            )
        return mirror

    def edit(self, changes: dict[str, str], *, who: str) -> None:
        """Change `url`, `rsync_url` or `country`. A new address has to be scanned anew."""
        changed = {key: value for key, value in changes.items() if getattr(self, key) != value}
        if not changed:
            return
        with transaction.atomic():
            for key, value in changed.items():
                setattr(self, key, value)
            self.save(update_fields=list(changed))
            record(events.MirrorEdited(self.subject, changes=changed), who=who)

    def enable(self, *, who: str, why: str = "") -> None:
        """Let clients be sent here again; nothing happens when they are."""
        self._set_enabled(True, events.MirrorEnabled(self.subject), who, why)

    def disable(self, *, who: str, why: str = "") -> None:
        """Send nobody here until it is enabled; nothing happens when that is so already."""
        self._set_enabled(False, events.MirrorDisabled(self.subject), who, why)

    def _set_enabled(
        self, enabled: bool, event: events.MirrorEnabled | events.MirrorDisabled, who: str, why: str
    ) -> None:
        if self.enabled == enabled:
            return
        with transaction.atomic():
            self.enabled = enabled
            self.save(update_fields=["enabled"])
            record(event, who=who, why=why)

    def remove(self, now: datetime, *, who: str, why: str = "") -> None:
        """Take it from the registry. Its row and scans stay as history, its name is free again."""
        with transaction.atomic():
            self.removed_at = now
            self.save(update_fields=["removed_at"])
            record(events.MirrorRemoved(self.subject), who=who, why=why)

    def last_scan(self) -> Scan | None:
        """Return the last scan that came to an end at the present address."""
        return self.scans.filter(url=self.url).exclude(ok=None).order_by("-id").first()

    def state(self, last: Scan | None) -> str:
        """Return `removed`, `disabled`, `unscanned`, `up` or `down`, given the last scan."""
        if self.removed_at is not None:
            return "removed"
        if not self.enabled:
            return "disabled"
        if last is None:
            return "unscanned"
        return "up" if last.ok else "down"


class Scan(models.Model):
    """One look at a mirror: which files of the tree's revision it had, and what went wrong.

    `ok` is null while the scan runs, and stays null when it was cut off. `missing` are paths.
    `addresses` are those that the mirror's name stood for.
    """

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="scans")
    url = models.CharField(max_length=500)
    revision = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    ok = models.BooleanField(null=True)
    problem = models.TextField(blank=True)
    files_expected = models.PositiveIntegerField(default=0)
    files_found = models.PositiveIntegerField(default=0)
    missing = models.JSONField(default=list)
    addresses = models.JSONField(default=list)

    class Meta:
        indexes = [models.Index(fields=["mirror", "-id"], name="scan_newest_first")]

    def __str__(self) -> str:
        return f"scan of {self.mirror} at {self.started_at}"

    @classmethod
    def start(cls, mirror: Mirror, revision: int, now: datetime) -> Scan:
        """Begin a scan; one that was cut off before is closed. The caller holds the mirror's lock.

        Not an event: a scan is a row of its own, and only what it changes goes to the journal.
        """
        with transaction.atomic():
            mirror.scans.filter(finished_at=None).update(
                finished_at=now, problem="the scan was cut off"
            )
            return cls.objects.create(
                mirror=mirror, url=mirror.url, revision=revision, started_at=now
            )

    def finish(
        self,
        now: datetime,
        *,
        expected: int,
        missing: Sequence[str],
        problem: str,
        addresses: Sequence[str],
    ) -> None:
        """Write down what was seen; the journal is told when the mirror went down or came up."""
        before = self.mirror.last_scan()
        self.finished_at = now
        self.ok = not problem
        self.problem = problem
        self.files_expected = expected
        self.files_found = 0 if problem else expected - len(missing)
        self.missing = [] if problem else list(missing)
        self.addresses = list(addresses)
        event: Any = None
        if problem and (before is None or before.ok):
            event = events.MirrorWentDown(self.mirror.subject, problem=problem)
        elif not problem and (before is None or not before.ok):
            event = events.MirrorCameUp(
                self.mirror.subject, files_found=self.files_found, files_expected=expected
            )
        with transaction.atomic():
            self.save()
            if event is not None:
                record(event, who="process:worker")


class MapWritten(models.Model):
    """A mirror map that was made for the redirectors.

    `digest` is that of its content without generation and date, so that the same content is not
    written twice.
    """

    generation = models.BigIntegerField(primary_key=True)
    written_at = models.DateTimeField()
    digest = models.CharField(max_length=64)
    blob = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")

    class Meta:
        verbose_name_plural = "maps written"

    def __str__(self) -> str:
        return f"mirror map {self.generation}"

    @classmethod
    def payload_of(cls, generation: int) -> str:
        """Return the SHA-256 of a map's payload; raise NotFoundError when there is no such map."""
        found = cls.objects.filter(generation=generation).first()
        if found is None:
            raise NotFoundError(
                Reason("no-such-mirror-map", f"mirror map {generation} was never made")
            )
        return found.blob_id
