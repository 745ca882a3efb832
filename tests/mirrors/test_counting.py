"""Counts of redirectors: each batch once, whole or not at all, and nothing that there never was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import NotFoundError
from commonfarm.mirrors import counting
from commonfarm.mirrors.counting import BadBatchError, parse
from commonfarm.mirrors.models import CountBatch, FileCount, MirrorCount, Redirector
from commonfarm.redirector.counts import Counts, Spool, key_end, lines_of
from tests.locks import wait_until_free
from tests.mirrors.registered import FILES, NOW, Caller, published, registered

TODAY = NOW.date()
TURTLE, PAINT, ISO = FILES


def batch(*rows: Any, day: date = TODAY, name: str = "") -> bytes:
    head = {"format": 1, "id": name or uuid.uuid4().hex, "day": day.isoformat()}
    return "".join(json.dumps(line) + "\n" for line in (head, *rows)).encode()


@pytest.fixture
def demo(db: None) -> ReleaseTree:
    tree = published()
    registered(tree, "north")
    return tree


def by_mirror() -> list[tuple[str, str, int, int]]:
    fields = ("mirror", "country", "downloads", "size")
    return sorted(MirrorCount.objects.values_list(*fields))


def by_file() -> list[tuple[str, int, int]]:
    return sorted(FileCount.objects.values_list("path", "downloads", "size"))


def test_what_the_redirector_writes_is_taken_up_once(demo: ReleaseTree, tmp_path: Path) -> None:
    counts = Counts(TODAY.isoformat())
    counts.add(f"demo/{TURTLE}".encode(), key_end("north", "DE"), 1, 100)
    counts.add(f"demo/{TURTLE}".encode(), key_end("north", "DE"), 1, 100)
    counts.add(f"demo/{TURTLE}".encode(), key_end("", "FR"), 1, 100)
    counts.add(f"demo/{PAINT}".encode(), key_end("north", "DE"), 0, 7)
    counts.close()
    name, data = counts.waiting[0].id, b"".join(lines_of(counts.waiting[0]))
    spool = Spool(tmp_path)
    spool.write(name, data)
    spool.keep_spent(counts.day, {"north": 207})
    assert counting.take_up(tmp_path, NOW) == 1
    assert spool.waiting() == (0, 0)
    assert by_mirror() == [("", "FR", 1, 100), ("north", "DE", 2, 207)]
    assert by_file() == [(TURTLE, 3, 300), (PAINT, 0, 7)]
    # As after a kill between the commit and the removal.
    spool.write(name, data)
    assert counting.take_up(tmp_path, NOW) == 0
    assert spool.waiting() == (0, 0)
    assert by_mirror() == [("", "FR", 1, 100), ("north", "DE", 2, 207)]
    assert (tmp_path / "spent.json").exists()


def test_batches_of_a_day_add_up(demo: ReleaseTree) -> None:
    for _ in range(3):
        data = batch(["demo", TURTLE, "north", "DE", 2, 10], ["demo", ISO, "", "DE", 1, 5])
        assert counting.take(parse(data, TODAY), NOW)
    yesterday = batch(["demo", TURTLE, "north", "DE", 1, 1], day=TODAY - timedelta(days=1))
    counting.take(parse(yesterday, TODAY), NOW)
    assert by_mirror() == [("", "DE", 3, 15), ("north", "DE", 1, 1), ("north", "DE", 6, 30)]
    assert CountBatch.objects.count() == 4


def test_what_there_never_was_is_left_out(demo: ReleaseTree) -> None:
    data = batch(
        ["demo", "not/published", "north", "DE", 1, 1],
        ["demo", "x", "", "DE", 1, 1],
        ["none", TURTLE, "north", "DE", 1, 1],
        ["demo", TURTLE, "nobody", "DE", 1, 1],
        ["demo", TURTLE, "north", "DE", 1, 1],
    )
    assert counting.take(parse(data, TODAY), NOW)
    assert by_mirror() == [("north", "DE", 1, 1)]
    assert by_file() == [(TURTLE, 1, 1)]


def test_a_mirror_that_was_removed_meanwhile_counts(demo: ReleaseTree) -> None:
    registered(demo, "gone", removed_at=NOW)
    counting.take(parse(batch(["demo", TURTLE, "gone", "DE", 1, 1]), TODAY), NOW)
    assert by_mirror() == [("gone", "DE", 1, 1)]


KILLED = """
import os, sys
from pathlib import Path
from unittest import mock
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from django.utils import timezone
from commonfarm.mirrors import counting
with mock.patch(sys.argv[2], lambda *_, **__: os.kill(os.getpid(), 9)):
    counting.take_up(Path(sys.argv[3]), timezone.now())
"""


@pytest.mark.django_db(transaction=True)
def test_a_kill_between_any_steps_counts_once(tmp_path: Path) -> None:
    registered(published(), "north")
    now = timezone.now()
    for step, counted in {
        "commonfarm.mirrors.counting._add": 0,
        "pathlib.Path.unlink": 1,
    }.items():
        (tmp_path / "a.counts").write_bytes(batch(ROW, day=now.date()))
        MirrorCount.objects.all().delete()
        FileCount.objects.all().delete()
        name = connection.settings_dict["NAME"]
        command = [sys.executable, "-c", KILLED, name, step, str(tmp_path)]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL, step
        wait_until_free()
        assert len(by_mirror()) == counted, step
        counting.take_up(tmp_path, now)
        assert by_mirror() == [("north", "DE", 1, 1)], step
        assert by_file() == [(TURTLE, 1, 1)], step
        assert list(tmp_path.iterdir()) == []


ROW = ["demo", TURTLE, "north", "DE", 1, 1]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut short"),
        (batch(ROW)[:-3], "cut short"),
        (b"\n", "line 1 is no JSON"),
        (b"[]\n", "does not say format 1"),
        (b'{"format": 2}\n', "does not say format 1"),
        (b'{"format": 1, "id": "x", "day": "2026-11-21"}\n', "no id or no day"),
        (b'{"format": 1, "id": 5, "day": "2026-11-21"}\n', "no id or no day"),
        (batch(ROW, day=TODAY - timedelta(days=41)), "it is of 2026-10-11"),
        (batch(ROW, day=TODAY + timedelta(days=2)), "it is of 2026-11-23"),
        (batch(ROW[:5]), "line 2 is no row"),
        (batch(ROW, {"tree": 1}), "line 3 is no row"),
        (batch(["demo", TURTLE, "north", "Germany", 1, 1]), "the country 'Germany'"),
        (batch(["demo", TURTLE, "north", "DE", -1, 1]), "a count that is none"),
        (batch(["demo", TURTLE, "north", "DE", True, 1]), "a count that is none"),
        (batch(["demo", TURTLE, "north", "DE", 1.5, 1]), "a count that is none"),
        (batch(["demo", TURTLE, "north", "DE", 1, 2**60]), "a count that is none"),
        (batch(["demo", TURTLE, None, "DE", 1, 1]), "no text"),
        (batch(["demo", "a\0b", "north", "DE", 1, 1]), "no text"),
        (batch(["demo", "\udc80", "north", "DE", 1, 1]), "no text"),
        (batch() + b"[" * 100_000 + b"\n", "line 2 is no JSON"),
        (batch() + b"[]\n" * 100_001, "over 100000 rows"),
        (batch() + b" " * (16 * 2**20) + b"\n", "larger than"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(data: bytes, why: str) -> None:
    with pytest.raises(BadBatchError, match=why):
        parse(data, TODAY)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_batch_or_refused(data: bytes) -> None:
    for tried in (data, data + b"\n", batch() + data + b"\n"):
        try:
            parse(tried, TODAY)
        except BadBatchError as error:
            assert error.reason.text.isprintable()


def test_sums_beyond_the_column_change_nothing(demo: ReleaseTree) -> None:
    MirrorCount.objects.create(
        day=TODAY, tree="demo", mirror="north", country="DE", downloads=1, size=2**63 - 2
    )
    data = batch(["demo", TURTLE, "north", "DE", 1, 10])
    with pytest.raises(BadBatchError, match="beyond what is kept"):
        counting.take(parse(data, TODAY), NOW)
    assert by_mirror() == [("north", "DE", 1, 2**63 - 2)]
    assert (by_file(), CountBatch.objects.count()) == ([], 0)


def test_a_bad_file_is_set_aside_with_its_reason_and_the_others_count(
    demo: ReleaseTree, tmp_path: Path
) -> None:
    (tmp_path / "a.counts").write_bytes(b"\x00rubbish")
    (tmp_path / "b.counts").write_bytes(batch(ROW))
    (tmp_path / "c.counts").symlink_to("/etc/passwd")
    (tmp_path / "d.counts").mkdir()
    (tmp_path / ".e.counts.new").write_bytes(b"under way")
    assert counting.take_up(tmp_path, NOW) == 1
    refused = tmp_path / "refused"
    assert [file.name for file in refused.glob("*.reason")] == ["a.reason"]
    assert "cut short" in (refused / "a.reason").read_text()
    assert (refused / "a.counts").read_bytes() == b"\x00rubbish"
    assert Entry.objects.filter(what="counts set aside").count() == 1
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == [".e.counts.new", "c.counts", "d.counts", "refused"]
    assert counting.take_up(tmp_path, NOW) == 0


def test_no_more_refused_ones_are_kept_than_some(
    demo: ReleaseTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_REFUSED", 3)
    for number in range(6):
        (tmp_path / f"{number}.counts").write_bytes(b"x")
    counting.take_up(tmp_path, NOW)
    assert len(list((tmp_path / "refused").glob("*.counts"))) == 3
    assert len(list((tmp_path / "refused").glob("*.reason"))) == 3


@pytest.mark.django_db
def test_what_is_old_is_removed(demo: ReleaseTree) -> None:
    for days in (0, 89, 91, 399, 401):
        day = TODAY - timedelta(days=days)
        MirrorCount.objects.create(day=day, tree="demo", country="DE", downloads=1, size=1)
        FileCount.objects.create(day=day, tree="demo", path="x", downloads=1, size=1)
        CountBatch.objects.create(id=uuid.uuid4(), taken_at=NOW - timedelta(days=days))
    gone = counting.prune(NOW)
    assert gone == {"count batches": 4, "counts by mirror": 1, "counts by file": 3}
    # An id is kept for longer than its batch would be taken.
    assert counting.LATE + timedelta(days=1) < counting.BATCHES_KEPT


def post(token: str, data: bytes) -> Any:
    return Client().post(
        "/api/v1/mirrors/counts",
        data,
        content_type="application/octet-stream",
        headers={"Authorization": f"Bearer {token}"},
    )


def test_a_redirector_elsewhere_sends_its_batches(demo: ReleaseTree) -> None:
    admin = Caller("chief", Role.ADMIN)
    made = admin("POST", "/redirectors", {"name": "edge"})
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    token, data = made.json()["token"], batch(ROW, day=timezone.now().date())
    assert post(token, data).json() == {"counted": True}
    assert post(token, data).json() == {"counted": False}
    assert by_mirror() == [("north", "DE", 1, 1)]
    bad = post(token, data[:-2])
    assert (bad.status_code, bad.json()["type"]) == (409, "urn:commonfarm:problem:bad-counts")
    for wrong in ("", "cf_counts_x", admin.token, "\x00"):
        assert post(wrong, data).status_code == 401, wrong
    [shown] = admin("GET", "/redirectors").json()
    assert (shown["name"], shown["token"]) == ("edge", None)
    assert shown["heard_at"]
    assert token not in Redirector.objects.get().digest
    assert admin("DELETE", "/redirectors/edge").status_code == 204
    assert post(token, batch(ROW)).status_code == 401
    with pytest.raises(NotFoundError):
        Redirector.named("edge")


def test_only_admins_let_redirectors_count(db: None) -> None:
    for role in (Role.READER, Role.COORDINATOR):
        caller = Caller(f"a-{role}", role)
        assert caller("POST", "/redirectors", {"name": "edge"}).status_code == 403
        assert caller("DELETE", "/redirectors/edge").status_code == 403
