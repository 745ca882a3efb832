"""The journal by API, page and command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.journal.interface import Event, record
from commonfarm.journal.models import Entry
from tests.web.served import served

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, slots=True)
class Happened(Event):
    what: ClassVar[str] = "tested"
    number: int


def happen(numbers: Iterator[int] | range, subject: str = "test:1") -> None:
    with transaction.atomic():
        for number in numbers:
            record(Happened(subject, number), who="user:anna", why=f"reason {number}")


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create(username="anna", role=Role.READER))
    return client


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["details"]["number"] for entry in entries]


def test_the_journal_is_read_page_by_page(reader: Client) -> None:
    happen(range(250))
    seen, after = [], ""
    while True:
        page = reader.get("/api/v1/journal", {"after": after} if after else {}).json()
        seen += numbers(page["items"])
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == list(range(250))
    last = page["items"][-1]["cursor"]
    assert reader.get("/api/v1/journal", {"after": last}).json() == {"items": [], "next": None}


def test_the_end_and_one_subject(reader: Client) -> None:
    happen(range(5), "test:a")
    happen(range(5, 10), "test:b")
    assert numbers(reader.get("/api/v1/journal/latest", {"limit": 3}).json()) == [7, 8, 9]
    of_a = reader.get("/api/v1/journal/latest?limit=3&subject=test:a").json()
    assert numbers(of_a) == [2, 3, 4]
    page = reader.get("/api/v1/journal?limit=2&subject=test:b").json()
    assert numbers(page["items"]) == [5, 6]


@pytest.mark.parametrize(
    "place", ["x", "1", "1-2-3", "-1-2", "1" * 30 + "-1", "\u0661-\u0661", "1-1 OR 1=1"]
)
def test_a_place_that_is_none_is_refused(reader: Client, place: str) -> None:
    answer = reader.get("/api/v1/journal", {"after": place})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert reader.get("/journal/", {"before": place}).status_code == 200


def test_the_page_shows_older_entries_and_escapes(reader: Client) -> None:
    happen(range(150))
    happen(range(1), "<script>alert(1)</script>")
    first = reader.get("/journal/").content.decode()
    assert first.count('data-label="What"') == 101  # and the template of a line
    assert "<script>alert" not in first and "&lt;script&gt;alert" in first
    following = Entry.objects.order_by("-id")[99]
    older = f"?before={following.transaction}-{following.id}"
    assert f'href="{older}"' in first
    second = reader.get(f"/journal/{older}").content.decode()
    assert second.count('data-label="What"') == 52
    assert "data-journal " not in second
    assert "reason 51</td>" not in second and "reason 50</td>" in second


@pytest.mark.parametrize("subject", ["", "test:1", "test:none"])
def test_the_page_is_followed_from_the_journal_s_end_whatever_it_shows(
    reader: Client, subject: str
) -> None:
    happen(range(3))
    happen(range(120), "test:other")
    newest = Entry.objects.latest("id")
    page = reader.get("/journal/", {"subject": subject}).content.decode()
    assert f'data-from="{newest.transaction}-{newest.id}"' in page


def test_nobody_reads_without_signing_in(client: Client) -> None:
    assert client.get("/journal/").status_code == 302
    assert client.get("/api/v1/journal").status_code == 401


def test_tail_follows_and_prints_one_line_each(tmp_path: Path) -> None:
    user = User.add("anna", Role.READER, who="user:root")
    token = ApiToken.make(user, "test", who="user:root").reveal()
    happen(range(3))
    with served(tmp_path, "hub") as site:
        environment = {**os.environ, "COMMONFARM_HUB": site.hub, "COMMONFARM_TOKEN": token}
        command = [sys.executable, "-m", "commonfarm.cli.main", "journal", "tail"]

        def printed(*more: str) -> list[str]:
            done = subprocess.run(
                [*command, *more], env=environment, capture_output=True, text=True, cwd="/"
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        lines = printed("-n", "2")
        assert len(lines) == 2
        assert lines[1].endswith("  tested  test:1  (user:anna): reason 2")
        assert numbers([json.loads(line) for line in printed("-n", "3", "--json")]) == [0, 1, 2]

        with subprocess.Popen(
            [*command, "-f", "--json", "--subject", "test:2"],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        ) as tail:
            assert tail.stdout is not None
            try:
                happen(range(7, 8), "test:other")
                happen(range(8, 10), "test:2")
                got = [json.loads(tail.stdout.readline()) for _ in "12"]
                assert numbers(got) == [8, 9]
            finally:
                tail.kill()

        happen(range(1), "evil\x1b[2J\nname")
        assert "\x1b" not in printed("-n", "1")[0]
