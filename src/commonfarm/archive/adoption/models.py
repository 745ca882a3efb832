"""What was last found in the folder of an adopted tree."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import F

from commonfarm.archive.events import AdoptedFolderJudged, LossAllowed
from commonfarm.journal.interface import record

LEAST_INTERVAL = timedelta(minutes=1)
SHARE = 0.05
"""Looking takes at most so much of the time, however large the folder is."""
MOST_TOLD = 50


class Adoption(models.Model):
    """The last look at an adopted tree's folder; `looks` counts them.

    `waiting` files were still being written. `problems` are the first faults (`path`, `what`,
    `to_do`) of `problem_count`. `stopped` says why what lies there was not taken over at all: users
    keep what they had. `asked` counts how often somebody wanted a look at once, `answered` is what
    it was when the last look began. `loss_allowed`: a person said that a large loss is meant.
    """

    tree = models.OneToOneField(
        "estate.ReleaseTree", on_delete=models.PROTECT, related_name="adoption"
    )
    folder = models.CharField(max_length=1000)
    looks = models.PositiveIntegerField(default=0)
    asked = models.PositiveIntegerField(default=0)
    answered = models.PositiveIntegerField(default=0)
    looked_at = models.DateTimeField(null=True, blank=True)
    took_seconds = models.FloatField(default=0)
    next_at = models.DateTimeField(null=True, blank=True)
    files = models.PositiveBigIntegerField(default=0)
    waiting = models.PositiveBigIntegerField(default=0)
    problems = models.JSONField(default=list)
    problem_count = models.PositiveBigIntegerField(default=0)
    stopped = models.TextField(blank=True)
    loss_allowed = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.tree} from {self.folder}"

    def ask(self) -> None:
        """Note that somebody wants a look at once."""
        Adoption.objects.filter(pk=self.pk).update(asked=F("asked") + 1)
        self.refresh_from_db()

    def allow_loss(self, *, who: str) -> None:
        """Let the next look take over whatever it finds."""
        self.loss_allowed = True
        self.save(update_fields=["loss_allowed"])
        record(LossAllowed(f"tree:{self.tree.name}"), who=who)

    def is_due(self, now: datetime) -> bool:
        """Say whether it is time for another look; after one by a clock that was ahead, too."""
        if self.next_at is None or self.looked_at is None:
            return True
        return self.next_at <= now or self.looked_at > now + LEAST_INTERVAL

    def looked(
        self,
        begun: datetime,
        took: timedelta,
        *,
        files: int,
        waiting: int,
        problems: list[dict[str, Any]],
        count: int,
        who: str,
    ) -> None:
        """Note a look whose outcome is what users see now."""
        told = problems[:MOST_TOLD]
        self._judged("", told, count, who)
        self.files, self.waiting = files, waiting
        self._end(begun, took)
        if self.loss_allowed:  # not what was allowed since this look began
            self.loss_allowed = False
            self.save(update_fields=["loss_allowed"])

    def stop(self, begun: datetime, took: timedelta, why: str, *, who: str) -> None:
        """Note a look that found what is better not taken over without a person."""
        self._judged(why, self.problems, self.problem_count, who)
        self._end(begun, took)

    def _judged(self, stopped: str, problems: list[dict[str, Any]], count: int, who: str) -> None:
        """Record what is wrong when that is something else than before."""
        if (stopped, count, problems) != (self.stopped, self.problem_count, self.problems):
            event = AdoptedFolderJudged(f"tree:{self.tree.name}", count=count)
            record(event, who=who, why=stopped)
        self.stopped, self.problems, self.problem_count = stopped, problems, count

    def _end(self, begun: datetime, took: timedelta) -> None:
        self.looks, self.answered = self.looks + 1, self.asked
        self.looked_at, self.took_seconds = begun, took.total_seconds()
        self.next_at = begun + took + max(LEAST_INTERVAL, took / SHARE - took)
        told = ("stopped", "problems", "problem_count", "files", "waiting")
        self.save(
            update_fields=["looks", "answered", "looked_at", "took_seconds", "next_at", *told]
        )
