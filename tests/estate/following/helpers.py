"""A clock that tests move, and what they ask of a branch that is followed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from commonfarm.estate.models import Following
from commonfarm.journal.models import Entry
from tests.estate.repositories import Repository

WHO = "user:anna"
ONE = "hosts:\n  - {name: anvil, architecture: amd64, cores: 4, memory: 24 GiB}\n"
NOKIA = """\
sponsors:
  - {name: nokia, title: Nokia, logo: nokia.svg}
pledges:
  - {name: loan, sponsor: nokia, what: a server, from: 2026-01-01}
"""
SECRET = """\
sponsors:
  - {name: secretcorp, title: Secret}
pledges:
  - {name: secret-loan, sponsor: secretcorp, what: a server, disclosure: anonymous}
"""


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 15, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def later(self, **much: float) -> None:
        self.time += timedelta(**much)


def start(upstream: Repository, clock: Clock, branch: str = "main", folder: str = "") -> Following:
    return Following.start(upstream.url, branch, folder, who=WHO, now=clock())


def current() -> Following:
    found = Following.current()
    assert found is not None
    return found


def refused() -> dict[str, Any]:
    found = current().refused
    assert found is not None
    return dict(found)


def events(what: str) -> list[dict[str, Any]]:
    return [one.details for one in Entry.objects.filter(what=what).order_by("pk")]
