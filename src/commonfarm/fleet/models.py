"""Builders, their generations, and the tokens by which they enrol."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models, transaction
from django.db.models.functions import Greatest

from commonfarm.agent.protocol import Facts
from commonfarm.estate.interface import Pool
from commonfarm.fleet.events import BuilderCleaned, BuilderCordoned, BuilderUncordoned
from commonfarm.fleet.facts import check_facts, columns
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason

MOST_REASON = 500
SILENT_AFTER = timedelta(seconds=90)


class Cleanliness(models.TextChoices):
    """Whether a builder may take a job. DIRTY is committed before a job is given out."""

    CLEAN = "clean"
    DIRTY = "dirty"


class Builder(models.Model):
    """A host in the role of building.

    `generation` counts its lives: each enrolment begins a new one, and what an older one sends is
    refused. `facts` is what the builder says of itself: a claim, shown as one.
    """

    name = models.CharField(max_length=100, unique=True)
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="builders")
    generation = models.PositiveIntegerField(default=0)
    credential_digest = models.CharField(max_length=64, unique=True)
    cleanliness = models.CharField(
        max_length=10, choices=Cleanliness.choices, default=Cleanliness.CLEAN
    )
    cordoned_at = models.DateTimeField(null=True, blank=True)
    cordon_reason = models.TextField(blank=True)
    slots = models.PositiveSmallIntegerField(default=1)
    running = models.PositiveSmallIntegerField(default=0)
    architecture = models.CharField(max_length=20)
    features = models.JSONField(default=list)
    cores = models.PositiveBigIntegerField(default=1)
    memory_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)
    facts = models.JSONField(default=dict)
    enrolled_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """How the journal names this life of the builder."""
        return f"builder:{self.name}@{self.generation}"

    @classmethod
    def named(cls, name: str) -> Builder:
        """Return the builder `name`; raise NotFoundError when there is none."""
        found = cls.objects.select_related("pool").filter(name=name).first()
        if found is None:
            raise NotFoundError(
                Reason(
                    "no-such-builder",
                    f"there is no builder {name[:80]!r}",
                    "`commonfarm fleet builders` lists them",
                )
            )
        return found

    def seen(self, now: datetime, facts: Facts) -> None:
        """Note that the builder was heard of, and what it says of itself now.

        Raises BadInputError for facts that cannot be ones.
        """
        check_facts(facts)
        self.last_seen_at = now
        for column, value in columns(facts).items():
            setattr(self, column, value)
        self.save(update_fields=["last_seen_at", *columns(facts)])

    def cordon(self, reason: str, *, who: str, now: datetime) -> None:
        """Give the builder no new job, for `reason`, until `uncordon`; its running ones go on."""
        reason = reason.strip()
        if not reason or len(reason) > MOST_REASON or not reason.isprintable():
            raise BadInputError(
                Problem("reason", 0, 0, "is empty, or no single line", "say in a few words why")
            )
        with transaction.atomic():
            locked = Builder.objects.select_for_update().get(pk=self.pk)
            if locked.cordoned_at is None or locked.cordon_reason != reason:
                locked.cordoned_at = locked.cordoned_at or now
                locked.cordon_reason = reason
                locked.save(update_fields=["cordoned_at", "cordon_reason"])
                record(BuilderCordoned(locked.label), who=who, why=reason)
        self.refresh_from_db()

    def uncordon(self, *, who: str) -> None:
        """Let the builder have jobs again; nothing happens when it is not cordoned."""
        with transaction.atomic():
            lifted = Builder.objects.filter(pk=self.pk, cordoned_at__isnull=False).update(
                cordoned_at=None, cordon_reason=""
            )
            if lifted:
                record(BuilderUncordoned(self.label), who=who)
        self.refresh_from_db()

    def mark_clean(self, generation: int) -> bool:
        """Believe this generation that nothing of an earlier job is left; say if that was news.

        A builder that runs a job is not clean, whatever it says.
        """
        with transaction.atomic():
            cleaned = Builder.objects.filter(
                pk=self.pk, generation=generation, running=0, cleanliness=Cleanliness.DIRTY
            ).update(cleanliness=Cleanliness.CLEAN)
            if cleaned:
                record(BuilderCleaned(self.label), who=self.label)
        return bool(cleaned)

    def job_ended(self, generation: int) -> None:
        """Count one job less for this generation. The builder stays DIRTY until it has cleaned.

        A later generation began with none, so an older one's end changes nothing.
        """
        Builder.objects.filter(pk=self.pk, generation=generation).update(
            running=Greatest(models.F("running") - 1, 0)
        )

    def refusal(self, generation: int) -> Reason | None:
        """Say why this builder gets no job now when it asks as `generation`; None if it may."""
        if generation != self.generation:
            return generation_over(self.name, generation, self.generation)
        if self.cordoned_at is not None:
            return Reason(
                "cordoned",
                f"{self.name} is cordoned: {self.cordon_reason}",
                f"commonfarm fleet uncordon {self.name}",
            )
        if self.running >= self.slots:
            return Reason(
                "busy", f"{self.name} runs as many jobs as it may", "the end of its running job"
            )
        if self.cleanliness != Cleanliness.CLEAN:
            return Reason(
                "dirty",
                f"{self.name} has not yet cleaned up after its last job",
                "its agent cleans up and says so at its next poll",
            )
        return None

    def state(self, now: datetime) -> str:
        """Return the one word by which pages and the command line show the builder."""
        if self.cordoned_at is not None:
            return "cordoned"
        if self.last_seen_at is None or now - self.last_seen_at > SILENT_AFTER:
            return "silent"
        if self.running:
            return "building"
        return "ready" if self.cleanliness == Cleanliness.CLEAN else "cleaning"


class Generation(models.Model):
    """One life of a builder. Kept, so that an old credential is told apart from an unknown one."""

    builder = models.ForeignKey(Builder, on_delete=models.CASCADE, related_name="generations")
    number = models.PositiveIntegerField()
    credential_digest = models.CharField(max_length=64, unique=True)
    token_made_by = models.CharField(max_length=200)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["builder", "number"], name="one_row_per_generation")
        ]

    def __str__(self) -> str:
        return f"{self.builder}@{self.number}"


class EnrolmentToken(models.Model):
    """Lets one builder enrol once, within 15 minutes."""

    LIFETIME = timedelta(minutes=15)

    digest = models.CharField(max_length=64, unique=True)
    # With "+" the pool does not know of it: a token alone does not make a pool be in use.
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="+")
    made_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"into {self.pool} until {self.expires_at}"


def generation_over(name: str, old: int, current: int) -> Reason:
    """Return the reason that is given to whoever acts as a past generation of a builder."""
    return Reason(
        "generation-over",
        f"generation {old} of {name} is over; it is at {current} now",
        "enrol again with a new token",
    )
