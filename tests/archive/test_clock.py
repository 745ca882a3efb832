"""A clock that jumps between publications."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from commonfarm.archive import renewal
from commonfarm.archive.models import Publication
from commonfarm.archive.publishing import _wait_for_another_second
from tests.archive.releases import Releases


def test_what_was_signed_by_a_clock_ahead_is_signed_anew(releases: Releases) -> None:
    releases.published({"a": "a"})
    now = timezone.now()
    assert renewal.renew(now) == 0
    assert renewal.renew(now - timedelta(hours=1)) == 1
    assert "a clock that was ahead" in Publication.objects.latest("pk").why


@pytest.mark.parametrize(("ahead", "waits"), [(3, True), (0, True), (-5, False), (60, False)])
def test_a_clock_that_was_put_back_a_little_is_waited_for(
    releases: Releases, monkeypatch: pytest.MonkeyPatch, ahead: int, waits: bool
) -> None:
    releases.published({"a": "a"})
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)  # or a second may end meanwhile
    at = now + timedelta(seconds=ahead)
    Publication.objects.update(published_at=at.replace(microsecond=0))
    _wait_for_another_second(Publication.objects.get())
    assert bool(slept) == waits
    assert all(ahead - 1 < one <= ahead + 1 for one in slept)
