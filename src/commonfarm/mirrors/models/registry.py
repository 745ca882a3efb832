"""The registry of mirrors. Values come checked: see `registering`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models import QuerySet

from commonfarm.accounts.interface import User
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.lib.ids import new_token
from commonfarm.mirrors import events
from commonfarm.store.interface import Blob

if TYPE_CHECKING:
    from commonfarm.mirrors.models.looks import Scan

ADDRESSES = ("http", "https", "rsync_url")
"""The fields that say where a mirror is: control is shown of each of them."""


class Push(models.TextChoices):
    """How a mirror is told to pull: a signed request to its webhook, or SSH as Debian's mirrors."""

    NONE = ""
    WEBHOOK = "webhook"
    SSH = "ssh"


class State(StrEnum):
    """Where a mirror stands; clients are sent to those that are up, for what they hold."""

    REMOVED = "removed"
    DISABLED = "disabled"
    UNPROVED = "unproved"
    QUARANTINED = "quarantined"
    UNPROBED = "unprobed"
    DOWN = "down"
    UNSCANNED = "unscanned"
    UP = "up"


class Mirror(models.Model):
    """A server that carries a release tree, or its folder `subtree`, as its administrator says.

    `http` and `https` are the addresses of that folder there, with a slash at the end; one may be
    empty. `as_number` 0 is unknown, `budget_bytes` (a UTC day) 0 has no limit. What of it answers,
    and how, is not believed but probed: `answers` are the bits of `mirror_map.Answers`. It is sent
    clients only once `proved_at` is set: its administrator showed control of it by a file with
    `token`, or a coordinator vouched for it. `quarantine` says what an audit found,
    `country_problem` where its addresses are if not in `country`: that is shown, and no more.
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
    proof_tried_at = models.DateTimeField(null=True, blank=True)
    proof_problem = models.TextField(blank=True)
    enabled = models.BooleanField(default=True)
    quarantine = models.TextField(blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    answers = models.PositiveSmallIntegerField(default=0)
    local = models.BooleanField(default=False)
    probed_at = models.DateTimeField(null=True, blank=True)
    probe_problem = models.TextField(blank=True)
    country_problem = models.TextField(blank=True)
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

    @property
    def addresses(self) -> list[str]:
        """Its addresses: http, https, rsync, those that it has."""
        return [url for url in (getattr(self, name) for name in ADDRESSES) if url]

    @classmethod
    def registered(cls) -> QuerySet[Mirror]:
        """Return the mirrors that are registered now."""
        return cls.objects.filter(removed_at=None).select_related("tree")

    @classmethod
    def named(cls, name: str) -> Mirror:
        """Return the registered mirror `name`; raise NotFoundError that names those there are."""
        found = cls.registered().filter(name=name).first() if "\0" not in name else None
        if found is None:
            names = ", ".join(cls.registered().order_by("name").values_list("name", flat=True)[:20])
            raise NotFoundError(
                Reason(
                    "no-such-mirror",
                    f"there is no mirror {name[:100]!r}",
                    f"there are: {names}" if names else "add one: commonfarm mirror add NAME",
                )
            )
        return found

    @classmethod
    def add(cls, name: str, tree: ReleaseTree, fields: Mapping[str, Any], *, who: str) -> Mirror:
        """Register a mirror with checked `fields`; RefusedError when the name is taken.

        Nobody is sent there before control of it is proved.
        """
        with transaction.atomic():
            made, new = cls.objects.get_or_create(
                name=name,
                removed_at=None,
                defaults={**fields, "tree": tree, "added_by": who, "token": _token()},
            )
            if not new:
                raise RefusedError(
                    Reason(
                        "mirror-exists",
                        f"there is a mirror {name} already",
                        "take another name; `commonfarm mirror list` shows those there are",
                    )
                )
            event = events.MirrorAdded(made.subject, tree.name, made.addresses, made.country)
            record(event, who=who)
        return made

    def edit(self, changes: Mapping[str, Any], *, who: str) -> None:
        """Change checked fields. With another address control has to be proved anew."""
        changed = {key: value for key, value in changes.items() if getattr(self, key) != value}
        if not changed:
            return
        moved = any(changed.get(name) for name in ADDRESSES)
        with transaction.atomic():
            if moved:
                self.proved_at, self.proof_tried_at, self.proof_problem = None, None, ""
                self.token = _token()
            if {"http", "https"} & changed.keys():
                self.answers, self.probed_at, self.probe_problem = 0, None, ""
            for key, value in changed.items():
                setattr(self, key, value)
            self.save()
            if moved or "subtree" in changed:  # what was seen, was seen elsewhere
                from commonfarm.mirrors.models.looks import Holdings  # it refers to this table

                Holdings.objects.filter(mirror=self).delete()
            record(events.MirrorEdited(self.subject, changes=changed), who=who)

    def give_to(self, administrators: list[User], *, who: str) -> None:
        """Make these its administrators, and no others."""
        before = set(self.administrators.values_list("username", flat=True))
        names = sorted(user.username for user in administrators)
        if before == set(names):
            return
        with transaction.atomic():
            self.administrators.set(administrators)
            record(events.MirrorEdited(self.subject, changes={"administrators": names}), who=who)

    def is_run_by(self, user: User) -> bool:
        """Say whether `user` is one of its administrators."""
        return user.is_active and self.administrators.filter(pk=user.pk).exists()

    def show_logo(self, logo: Blob | None, *, who: str) -> None:
        """Show this picture as its sponsor's logo, or none."""
        with transaction.atomic():
            self.logo = logo
            self.save(update_fields=["logo"])
            changes = {"logo": logo.sha256 if logo else ""}
            record(events.MirrorEdited(self.subject, changes=changes), who=who)

    def prove(self, now: datetime, *, how: str, who: str, why: str = "") -> None:
        """Take control of it as shown: `how` is `file`, or `vouched` by a coordinator."""
        with transaction.atomic():
            self.proved_at, self.proof_problem = now, ""
            self.save(update_fields=["proved_at", "proof_problem"])
            record(events.MirrorProved(self.subject, how=how), who=who, why=why)

    def quarantine_for(self, problem: str, now: datetime, *, who: str) -> None:
        """Send nobody here until a coordinator lifts it; the first problem found is kept."""
        with transaction.atomic():
            found = Mirror.objects.select_for_update().get(pk=self.pk)
            if not found.quarantine:
                found.quarantine, found.quarantined_at = problem, now
                found.save(update_fields=["quarantine", "quarantined_at"])
                record(events.MirrorQuarantined(self.subject, problem=problem), who=who)
        self.quarantine, self.quarantined_at = found.quarantine, found.quarantined_at

    def lift_quarantine(self, *, who: str, why: str) -> None:
        """Let clients be sent here again; nothing happens when it is in no quarantine."""
        if not self.quarantine:
            return
        with transaction.atomic():
            self.quarantine, self.quarantined_at = "", None
            self.save(update_fields=["quarantine", "quarantined_at"])
            record(events.MirrorQuarantineLifted(self.subject), who=who, why=why)

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
        """Return the last scan that came to an end."""
        return self.scans.exclude(ok=None).order_by("-id").first()

    def standing(self, last: Scan | None) -> tuple[State, Reason | None]:
        """Return where it stands, given the last scan, and why nobody is sent there if so."""
        if self.removed_at is not None:
            return State.REMOVED, Reason("mirror-removed", "it is removed", "register it anew")
        if not self.enabled:
            return State.DISABLED, Reason("mirror-disabled", "it is disabled", "enable it")
        if self.proved_at is None:
            return State.UNPROVED, Reason(
                "mirror-not-proved",
                "nobody has shown yet that they run it",
                "put the token's file there, or have a coordinator vouch for it",
            )
        if self.quarantine:
            return State.QUARANTINED, Reason(
                "mirror-quarantined",
                f"it served bytes that are not ours: {self.quarantine}",
                "an audit that finds it well, and a coordinator who lifts the quarantine",
            )
        if self.probed_at is None:
            return State.UNPROBED, Reason(
                "mirror-not-probed", "it was not probed yet", "a probe, within a minute or two"
            )
        if not self.answers:
            return State.DOWN, Reason(
                "mirror-down", self.probe_problem or "it does not answer", "a probe it answers well"
            )
        if last is None or last.started_at < self.proved_at:
            return State.UNSCANNED, Reason(
                "mirror-not-scanned",
                "it was not scanned yet",
                "a scan, which follows once its tree is published",
            )
        return State.UP, None


def _token() -> str:
    # Its random part is 43 characters of the URL alphabet (lib.ids).
    return new_token("cf_mirror")
