"""Which of the processes that do background work live."""

from __future__ import annotations

from django.db import models


class Heartbeat(models.Model):
    """When a process last said that it works: one row for each host and name, such as `operator`.

    The queue's own workers have no names there, so by them one process stood for another.
    """

    host = models.CharField(max_length=255)
    process = models.CharField(max_length=40)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["host", "process"], name="one_heartbeat_per_process")
        ]

    def __str__(self) -> str:
        return f"{self.process} on {self.host}"
