"""Which installation this database belongs to."""

from __future__ import annotations

import uuid

from django.db import models


class Identity(models.Model):
    """One row: the installation that owns this database; the same id stands in its store."""

    row = models.PositiveSmallIntegerField(primary_key=True, default=1)
    id = models.UUIDField(default=uuid.uuid4)
    name = models.CharField(max_length=40)
    made_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
