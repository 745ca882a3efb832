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


class Push(models.TextChoices):
    """How a mirror is told to pull: a signed request to its webhook, or SSH as Debian's mirrors."""

    NONE = ""
    WEBHOOK = "webhook"
    SSH = "ssh"


class Mirror(models.Model):
    """A server that carries a release tree, or its folder `subtree`, as its administrator says.

    `http` and `https` are the addresses of that folder there, with a slash at the end; one may be
    empty. `as_number` 0 is unknown, `budget_bytes` (a UTC day) 0 has no limit. What of it answers,
    and how, is not believed but probed: `answers` are the bits of `mirror_map.Answers`. It is sent
    clients only once `proved_at` is set: its administrator showed control of it by a file with
    `token`, or a coordinator vouched for it. `quarantine` says what an audit found.
    """

    name = models.CharField(max_length=100)
    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="mirrors")
    subtree = models.CharField(max_length=500, blank=True)
    http = models.CharField(max_length=500, blank=True)
    https = models.CharField(max_length=500, blank=True)
    rsync_url = models.CharField(max_length=500, blank=True)
    country = models.CharField(max_length=2)
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    as_number = models.BigIntegerField(default=0)
    prefixes = models.JSONField(default=list)
    only_countries = models.JSONField(default=list)
    only_networks = models.JSONField(default=list)
    weight = models.PositiveIntegerField(default=100)
    budget_bytes = models.BigIntegerField(default=0)
    sponsor = models.CharField(max_length=200, blank=True)
    sponsor_url = models.CharField(max_length=500, blank=True)
    logo = models.ForeignKey(
        "store.Blob", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    pledge = models.CharField(max_length=100, blank=True)
    push = models.CharField(max_length=10, blank=True, choices=Push.choices)
    push_to = models.CharField(max_length=500, blank=True)
    administrators = models.ManyToManyField("accounts.User", related_name="mirrors", blank=True)
    token = models.CharField(max_length=64, blank=True)
    proved_at = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    quarantine = models.TextField(blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    answers = models.PositiveSmallIntegerField(default=0)
    local = models.BooleanField(default=False)
    probed_at = models.DateTimeField(null=True, blank=True)
    probe_problem = models.TextField(blank=True)
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
    """One comparison of a mirror's bytes with our hashes; `problem` names the first that differs."""

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


class CountBatch(models.Model):
    """A batch of counts that a redirector sent; its id is kept so that it is counted once."""

    id = models.UUIDField(primary_key=True)
    taken_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "count batches"

    def __str__(self) -> str:
        return str(self.id)


class MirrorCount(models.Model):
    """Downloads and bytes of a day by mirror (empty: ourselves) and country. No address is kept."""

    day = models.DateField()
    tree = models.CharField(max_length=100)
    mirror = models.CharField(max_length=100, blank=True)
    country = models.CharField(max_length=2)
    downloads = models.BigIntegerField()
    size = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "tree", "mirror", "country"], name="one_count_per_mirror_and_country"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.tree} {self.mirror or 'ourselves'} {self.country}"


class FileCount(models.Model):
    """Downloads and bytes of a day by file."""

    day = models.DateField()
    tree = models.CharField(max_length=100)
    path = models.CharField(max_length=1000)
    downloads = models.BigIntegerField()
    size = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "tree", "path"], name="one_count_per_file")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.tree}/{self.path}"
