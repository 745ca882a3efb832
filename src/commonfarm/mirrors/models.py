"""Mirrors, and what scans saw on them."""

from __future__ import annotations

from django.db import models


class Mirror(models.Model):
    """A server that carries a release tree at `url` (http or https, with a slash at its end)."""

    name = models.CharField(max_length=100, unique=True)
    tree = models.ForeignKey("estate.ReleaseTree", on_delete=models.PROTECT, related_name="mirrors")
    url = models.URLField(max_length=500)
    rsync_url = models.CharField(max_length=500, blank=True)
    country = models.CharField(max_length=2)
    enabled = models.BooleanField(default=True)
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Scan(models.Model):
    """One look at a mirror: which files of the tree's revision it had, and what went wrong."""

    mirror = models.ForeignKey(Mirror, on_delete=models.CASCADE, related_name="scans")
    revision = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    ok = models.BooleanField(null=True)
    problem = models.TextField(blank=True)
    files_expected = models.PositiveIntegerField(default=0)
    files_found = models.PositiveIntegerField(default=0)
    missing = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"scan of {self.mirror} at {self.started_at}"


class MapWritten(models.Model):
    """A mirror map that was written for the redirector."""

    generation = models.BigAutoField(primary_key=True)
    written_at = models.DateTimeField(auto_now_add=True)
    blob = models.ForeignKey("store.Blob", on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"mirror map {self.generation}"
