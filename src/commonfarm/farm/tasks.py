"""Background work of the farm."""

from __future__ import annotations

from procrastinate.contrib.django import app

from commonfarm.farm import log


@app.task(name="farm.join_log", queue="default", retry=5)
def join_log(lease: int) -> None:
    """Make one blob of an ended lease's log."""
    log.join(lease)
