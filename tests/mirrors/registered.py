"""People who call the API or look at pages, a tree with files, and mirrors in all states."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors.models import Mirror, Scan

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILES = ("activities/4/Turtle.xo", "activities/5/Paint.xo", "soas/image.iso")


class Caller:
    """Calls the API as a user of some role."""

    def __init__(self, name: str, role: Role = Role.READER) -> None:
        self.user = User.add(name, role, who="test")
        self.token = ApiToken.make(self.user, "test", who="test").reveal()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        return Client().generic(
            method,
            f"/api/v1/mirrors{path}",
            data=raw,
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )

    def edit(self, name: str, change: dict[str, Any]) -> Any:
        """Edit a mirror from the version that there is now."""
        return self("PATCH", f"/{name}", change, **{"If-Match": self("GET", f"/{name}")["ETag"]})


def published(name: str = "demo", files: tuple[str, ...] = FILES) -> ReleaseTree:
    """Return a tree of which one revision with these files is published."""
    tree = ReleaseTree.objects.create(name=name)
    for number, path in enumerate(files, 1):
        TreeFile.objects.create(
            tree=tree, path=path, size=1000 * number, sha256=f"{number:064x}", since_revision=1
        )
    Publication.objects.create(
        tree=tree, revision=1, state=PublicationState.PUBLISHED, published_at=NOW
    )
    return tree


def registered(tree: ReleaseTree, name: str, country: str = "DE", **fields: Any) -> Mirror:
    """Return a mirror that is proved, probed and answers, unless `fields` say otherwise."""
    told = {"https": f"https://{name}.example.org/pub/", "answers": 12, "probed_at": NOW}
    told |= {"proved_at": NOW - timedelta(days=9), "token": "t", "added_by": "user:anna"}
    return Mirror.objects.create(name=name, tree=tree, country=country, **(told | fields))


def jobs() -> list[str]:
    """Return what the worker was asked to do."""
    return sorted(ProcrastinateJob.objects.values_list("task_name", flat=True))


class Browser:
    """Looks at pages as somebody, or as nobody."""

    def __init__(self, name: str = "", role: Role = Role.READER) -> None:
        self.client = Client()
        if name:
            self.user = User.objects.filter(username=name).first() or User.add(
                name, role, who="test"
            )
            self.client.force_login(self.user)

    def see(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.content
        return unescape(answer.content.decode()).partition("<main")[2]

    def send(self, path: str, **fields: Any) -> Any:
        return self.client.post(path, fields)


def scanned(mirror: Mirror, found: int = 3, **fields: Any) -> Scan:
    told = {"ok": True, "files_expected": 3, "files_found": found, "kind": "rsync"}
    return Scan.objects.create(
        mirror=mirror, revision=1, started_at=NOW, finished_at=NOW, **(told | fields)
    )
