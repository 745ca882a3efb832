"""Background work of the farm."""

from __future__ import annotations

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from commonfarm.farm import log
from commonfarm.guard.interface import defer_once


@app.task(
    name="farm.join_log",
    queue="default",
    retry=RetryStrategy(max_attempts=5, exponential_wait=4),
)
def join_log(lease: int) -> None:
    """Make one blob of an ended lease's log."""
    log.join(lease)


def want_join(lease_id: int) -> None:
    """Have the log of a lease become one blob soon."""
    defer_once(join_log, f"farm.join_log:{lease_id}", lease=lease_id)


@app.periodic(cron="* * * * *")
@app.task(name="farm.sweep", queue="default", queueing_lock="farm.sweep")
def sweep(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Once a minute: have the logs joined whose task was given up."""
    for lease_id in log.unjoined():
        want_join(lease_id)
