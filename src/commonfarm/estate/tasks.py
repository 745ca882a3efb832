"""Background work of the estate."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import transaction
from procrastinate.contrib.django import app

from commonfarm.estate import answering, following
from commonfarm.guard.interface import defer_once


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


@app.task(name="estate.follow", queue="default")
def follow() -> None:
    """Fetch what is followed, and load what is new there."""
    if following.follow(now) is not None:
        want_answers()


@app.task(name="estate.answer", queue="answers")
def answer(kind: str) -> None:
    """Make the answer of a kind, unless another did meanwhile."""
    today = now().date()
    if kind in answering.due(today):
        answering.answer(kind, today)


@app.periodic(cron="* * * * *")
@app.task(name="estate.reconcile", queue="default", queueing_lock="estate.reconcile")
def reconcile_estate(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: look at what is followed, and have those answers made that are missing."""
    with transaction.atomic():
        want_follow()
        want_answers()


def want_follow() -> None:
    """Have what is followed fetched soon."""
    defer_once(follow, "estate.follow")


def want_answers() -> None:
    """Have the answers made that are not of the estate in force and of today."""
    for kind in answering.due(now().date()):
        defer_once(answer, f"estate.answer:{kind}", kind=kind)
