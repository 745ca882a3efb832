"""The operator's word on where clients of a network are sent. Values come checked: see `overrides`.

An override names mirrors by their rows: if one is removed and somebody else registers another by
its name, nobody is sent there for that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db import models, transaction

from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.mirrors import events
from commonfarm.mirrors.models.registry import Mirror
from commonfarm.redirector import mirror_map


class Override(models.Model):
    """Clients of `network` count as of `country`, go to `mirrors` first, or are served by us.

    It says exactly one of these. Of networks that overlap the longest prefix counts.
    """

    network = models.CharField(max_length=43, unique=True)
    country = models.CharField(max_length=2, blank=True)
    mirrors = models.ManyToManyField(Mirror, related_name="overrides", blank=True)
    origin = models.BooleanField(default=False)
    why = models.TextField()
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.network

    @property
    def subject(self) -> str:
        """How the journal names this override."""
        return f"override:{self.network}"

    @property
    def names(self) -> list[str]:
        """The names of its mirrors, also of those that were removed meanwhile."""
        return sorted(mirror.name for mirror in self.mirrors.all())

    @property
    def problem(self) -> Reason | None:
        """Which of its mirrors no map names for it, and what to do; None when all is well."""
        mirrors = sorted(self.mirrors.all(), key=lambda one: one.name)
        removed = [one.name for one in mirrors if one.removed_at is not None]
        unproved = [one.name for one in mirrors if one.removed_at is None and one.proved_at is None]
        if not removed and not unproved:
            return None
        words = [f"{name} was removed" for name in removed]
        words += [f"{name} is not proved" for name in unproved]
        text = ", ".join(words)
        if len(words) == len(mirrors):
            text += ": clients are sent as others are"
        if removed:
            again = f"commonfarm mirror override remove {self.network}, and add what is right now"
            return Reason("override-mirror-removed", text, again)
        return Reason("override-mirror-unproved", text, "the proof of its administrator")

    @classmethod
    def add(
        cls,
        network: str,
        *,
        country: str,
        mirrors: Iterable[Mirror],
        origin: bool,
        why: str,
        who: str,
        now: datetime,
    ) -> Override:
        """Say where clients of a network are sent; RefusedError when that is said already."""
        told = {"country": country, "origin": origin, "why": why}
        with transaction.atomic():
            made, new = cls.objects.get_or_create(
                network=network, defaults={**told, "added_by": who, "added_at": now}
            )
            if not new:
                raise RefusedError(
                    Reason(
                        "override-exists",
                        f"there is an override of {network} already",
                        f"commonfarm mirror override remove {network} takes it away",
                    )
                )
            made.mirrors.set(mirrors)
            event = events.OverrideAdded(made.subject, country, made.names, origin)
            record(event, who=who, why=why)
        return made

    @classmethod
    def of(cls, network: str) -> Override:
        """Return the override of just this network; raise NotFoundError where there is none."""
        found = cls.objects.filter(network=network).first()
        if found is None:
            raise NotFoundError(
                Reason(
                    "no-such-override",
                    f"there is no override of {network}",
                    "commonfarm mirror override list shows those there are",
                )
            )
        return found

    @classmethod
    def in_map(cls, standing: Collection[int]) -> tuple[mirror_map.Override, ...]:
        """Return all as a map has them. `standing` are the keys of the mirrors in it.

        One that lost all its mirrors stays: its clients do not fall to a larger network's override.
        """
        rows = cls.objects.prefetch_related("mirrors").order_by("network")
        return tuple(
            mirror_map.Override(
                row.network,
                row.country,
                tuple(sorted(one.name for one in row.mirrors.all() if one.pk in standing)),
                row.origin,
            )
            for row in rows
        )

    def remove(self, *, who: str, why: str = "") -> None:
        """Have clients of the network sent as others are; the journal keeps what was said."""
        with transaction.atomic():
            event = events.OverrideRemoved(self.subject, self.country, self.names, self.origin)
            if Override.objects.filter(pk=self.pk).delete()[0]:
                record(event, who=who, why=why)
