"""Builders and the tokens by which they enrol."""

from __future__ import annotations

from django.db import models


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
    pool = models.ForeignKey("estate.Pool", on_delete=models.PROTECT, related_name="builders")
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
    cores = models.PositiveIntegerField(default=1)
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


class EnrolmentToken(models.Model):
    """Lets one builder enrol once, within 15 minutes."""

    digest = models.CharField(max_length=64, unique=True)
    pool = models.ForeignKey("estate.Pool", on_delete=models.PROTECT)
    made_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"into {self.pool} until {self.expires_at}"
