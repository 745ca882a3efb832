"""The store's background work."""

from __future__ import annotations

from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.store import uploads


@app.periodic(cron="20 3 * * *")
@app.task(queueing_lock="store-drop-abandoned")
def drop_abandoned_uploads(timestamp: int) -> None:  # noqa: ARG001 - given by name
    """Drop once a day what nobody finished uploading."""
    uploads.drop_abandoned(timezone.now())
