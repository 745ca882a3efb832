"""What was downloaded, by day. No address of a client is kept."""

from __future__ import annotations

from datetime import datetime

from django.db import models, transaction

from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.lib.ids import hash_token, new_token
from commonfarm.lib.secret import Secret
from commonfarm.mirrors import events


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


class Redirector(models.Model):
    """A redirector on another machine, which sends its counts with a token, kept as a hash."""

    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField()
    heard_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(removed_at=None), name="one_redirector_per_name"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """How the journal names it."""
        return f"redirector:{self.name}"

    @classmethod
    def add(cls, name: str, *, who: str, now: datetime) -> Secret:
        """Register a redirector and return its token; RefusedError when the name is taken."""
        token = new_token("cf_counts")
        with transaction.atomic():
            made, new = cls.objects.get_or_create(
                name=name,
                removed_at=None,
                defaults={"digest": hash_token(token), "added_by": who, "added_at": now},
            )
            if not new:
                raise RefusedError(
                    Reason(
                        "redirector-exists",
                        f"there is a redirector {name} already",
                        f"take another name, or: commonfarm mirror redirector remove {name}",
                    )
                )
            record(events.RedirectorAdded(made.subject), who=who)
        return Secret(token)

    @classmethod
    def named(cls, name: str) -> Redirector:
        """Return the redirector `name`; raise NotFoundError for one that is not registered."""
        found = cls.objects.filter(name=name, removed_at=None).first() if "\0" not in name else None
        if found is None:
            raise NotFoundError(
                Reason(
                    "no-such-redirector",
                    f"there is no redirector {name[:100]!r}",
                    "commonfarm mirror redirector list names them",
                )
            )
        return found

    @classmethod
    def bearer(cls, token: str, now: datetime) -> Redirector | None:
        """Return the redirector that bears `token`, or None; note that it was heard of."""
        found = cls.objects.filter(digest=hash_token(token), removed_at=None).first()
        if found is not None:
            cls.objects.filter(pk=found.pk).update(heard_at=now)
        return found

    def remove(self, *, who: str, now: datetime) -> None:
        """End its token at once; what it counted stays."""
        with transaction.atomic():
            if Redirector.objects.filter(pk=self.pk, removed_at=None).update(removed_at=now):
                record(events.RedirectorRemoved(self.subject), who=who)
