"""Blobs and the uploads that bring them in."""

from __future__ import annotations

import uuid

from django.db import models


class Blob(models.Model):
    """Bytes under their SHA-256. The file and its folder are synced before this row is written."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    stored_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.sha256


class Upload(models.Model):
    """An upload in chunks that can be resumed: what it claims to be, and how far it came.

    `owner` is plain text naming who may continue it (`lease:7`, `user:anna`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "sha256"], name="one_upload_per_owner_and_blob"
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner}: {self.sha256}"
