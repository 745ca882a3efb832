"""Looks at mirrors: each starts from the tables, can be cut off anywhere, and is made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.archive.models import Publication, TreeFile
from commonfarm.guard.interface import BusyError
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import Reason
from commonfarm.mirrors import scanning, schedule, tasks
from commonfarm.mirrors.holdings import bits_of
from commonfarm.mirrors.models import Arrival, Audit, Mirror, Scan, ScanKind
from commonfarm.mirrors.scanning import Checked, Code
from commonfarm.mirrors.steps import audit, check, mapping, scan
from commonfarm.store.interface import put_bytes
from tests.locks import wait_until_free
from tests.mirrors.conftest import BY_HASH, DEB, IN_RELEASE, NOW, Signer, Tree, register
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db


def held(mirror: Mirror) -> set[str]:
    numbers = bits_of(mirror).numbers().tolist()
    return set(TreeFile.objects.filter(pk__in=numbers).values_list("path", flat=True))


def look(mirror: Mirror) -> Scan:
    done = scan.scan(mirror.pk, lambda: NOW)
    assert done is not None
    return done


def happened() -> list[str]:
    return list(Entry.objects.order_by("id").values_list("what", flat=True))[2:]


def test_a_mirror_is_scanned_by_its_web_index(mirror: Mirror) -> None:
    done = look(mirror)
    assert (done.ok, done.kind, done.files_found, done.problem) == (True, ScanKind.HTTP, 2, "")
    assert held(mirror) == {DEB, BY_HASH}


def test_where_one_way_fails_the_next_is_taken(mirror: Mirror) -> None:
    Mirror.objects.update(rsync_url="rsync://127.0.0.1:1/demo/")
    done = look(mirror)
    assert (done.ok, done.kind) == (True, ScanKind.HTTP)
    assert done.problem.startswith("rsync: ")
    assert held(mirror) == {DEB, BY_HASH}


def test_without_an_index_each_file_is_asked_for(mirror: Mirror, tree: Tree, web: Web) -> None:
    for folder in ("", "pool/", "dists/", "dists/s/"):
        web.put(f"{folder}index.html", b"<html>welcome</html>")
    tree.publish("pool/missing")
    done = look(mirror)
    assert (done.ok, done.missing) == (True, ["pool/missing"])
    assert held(mirror) == {DEB, BY_HASH}
    assert not (web.folder / "pool/missing").exists()
    with pytest.MonkeyPatch.context() as patch:
        # Of what asking failed for nothing is known: what was there before still counts.
        broken = Reason("mirror-answer-broken", "it broke off")
        seen = Checked(held=[BY_HASH], unknown={DEB: broken, "pool/missing": broken})
        patch.setattr(scan, "check", lambda *_: seen)
        done = look(mirror)
        assert (done.ok, done.missing) == (True, ["pool/missing"])
        patch.setattr(scan, "MOST_ASKED", 2)
        assert look(mirror).ok is False
    assert held(mirror) == {DEB, BY_HASH}


def test_a_mirror_that_is_away_is_told_of_once(mirror: Mirror, web: Web) -> None:
    look(mirror)
    Mirror.objects.update(http="http://127.0.0.1:1/")
    for _ in range(2):
        assert look(mirror).ok is False
    assert held(mirror) == {DEB, BY_HASH}
    assert happened() == ["mirror scanned", "mirror scan failed"]


def test_a_sudden_loss_is_believed_only_if_the_files_are_gone(
    mirror: Mirror, tree: Tree, web: Web
) -> None:
    paths = [f"many/{number:02}" for number in range(20)]
    tree.publish(*paths)
    tree.fill(web)
    assert look(mirror).files_found == 22
    web.put("many/index.html", b"<html>nothing here</html>")
    done = look(mirror)
    assert (done.ok, done.problem) == (False, "its listing lacks files that it serves")
    assert len(held(mirror)) == 22
    for path in paths:
        (web.folder / path).unlink()
    assert look(mirror).ok
    assert held(mirror) == {DEB, BY_HASH}
    assert "mirror lost files" in happened()


def test_who_is_looked_at_and_when(mirror: Mirror, tree: Tree, web: Web) -> None:
    assert scan.due(NOW) == [mirror]
    look(mirror)
    assert scan.due(NOW) == []
    assert scan.due(NOW + timedelta(minutes=14)) == []
    assert scan.due(NOW + timedelta(minutes=16)) == [mirror]
    mirror.disable(who="user:anna")
    assert scan.due(NOW + timedelta(hours=1)) == []
    assert scan.scan(mirror.pk, lambda: NOW) is None
    mirror.enable(who="user:anna")
    mirror.edit({"http": "http://127.0.0.1:2/"}, who="user:anna")
    assert scan.due(NOW + timedelta(hours=1)) == [], "nobody has shown that they run this one"
    mirror.prove(NOW + timedelta(hours=1), how="vouched", who="user:anna")
    assert scan.due(NOW + timedelta(hours=1)) == [mirror], "nothing is known of this address"
    tree.row.publications.all().delete()
    assert scan.due(NOW + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("looks", "minutes"),
    [
        ("", None),
        ("+", 15),
        ("-", 1),
        ("--+", 2),
        ("----", 8),
        ("--------", 60),
        ("?", 5),
        ("+-", 15),
    ],
)
def test_how_soon_a_mirror_is_scanned_again(looks: str, minutes: int | None) -> None:
    found = [schedule.Look(one in "+?", one == "?", NOW, NOW) for one in looks]
    at = schedule.next_scan(found)
    assert at == (None if minutes is None else NOW + timedelta(minutes=minutes))


def test_a_long_scan_is_made_less_often() -> None:
    def after(minutes: int) -> timedelta:
        done = schedule.Look(True, False, NOW - timedelta(minutes=minutes), NOW)
        at = schedule.next_scan([done])
        assert at is not None
        return at - NOW

    assert after(1) == timedelta(minutes=50)
    assert after(60) == timedelta(hours=6)


@contextmanager
def another_process_at(name: str) -> Iterator[None]:
    place = connection.settings_dict
    with psycopg.connect(
        host=place["HOST"], port=place["PORT"], dbname=place["NAME"], user=place["USER"]
    ) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
        yield
    wait_until_free()


def test_two_workers_do_not_look_at_once_and_forget_nothing(mirror: Mirror) -> None:
    for name, task, step in (
        ("scan", tasks.scan_mirror, lambda: scan.scan(mirror.pk, lambda: NOW)),
        ("check", tasks.check_mirror, lambda: check.check(mirror.pk, NOW)),
    ):
        with another_process_at(f"{name} of mirror {mirror.pk}"):
            with pytest.raises(BusyError, match=f"another process is at the {name}"):
                step()
            for _ in range(2):
                task.func(mirror.pk)
            [job] = ProcrastinateJob.objects.filter(task_name=f"mirrors.{name}")
            assert job.scheduled_at is not None
        step()


def test_new_files_are_asked_for_until_they_are_there(mirror: Mirror, tree: Tree, web: Web) -> None:
    look(mirror)
    check.check(mirror.pk, NOW, whole=True)
    assert held(mirror) == {DEB, BY_HASH, IN_RELEASE}
    assert list(Arrival.objects.values_list("revision", flat=True)) == [1]
    tree.publish("pool/b.deb", IN_RELEASE)
    web.asked.clear()
    done = check.check(mirror.pk, NOW + timedelta(seconds=1))
    assert (done.news, done.again) == (False, 2)
    assert web.asked == ["/pool/b.deb"], "InRelease is fetched, which is not noted here"
    web.put("pool/b.deb", tree.data("pool/b.deb"))
    done = check.check(mirror.pk, NOW + timedelta(minutes=1))
    assert (done.news, done.again) == (True, 10)
    assert Arrival.objects.count() == 1, "its InRelease is of the revision before"
    assert TreeFile.objects.get(path=IN_RELEASE, since_revision=1).pk in bits_of(mirror).numbers()
    tree.fill(web)
    done = check.check(mirror.pk, NOW + timedelta(hours=1))
    assert (done.news, done.again) == (True, None)
    assert sorted(Arrival.objects.values_list("revision", flat=True)) == [1, 2]
    assert check.due(NOW) == []
    web.asked.clear()
    check.check(mirror.pk, NOW)
    assert web.asked == []


def test_many_new_files_are_asked_for_once_some_are_there(
    mirror: Mirror, tree: Tree, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(mirror)
    check.check(mirror.pk, NOW)
    paths = {f"pool/{number}.deb" for number in range(6)}
    tree.publish(*paths)
    monkeypatch.setattr(check, "ASKED_FIRST", 4)
    web.asked.clear()
    assert check.check(mirror.pk, NOW).news is False
    assert len(web.asked) == 4, "none of some: it has not pulled yet"
    tree.fill(web)

    def slow(*arguments: Any) -> Checked:
        done = scanning.check(*arguments)
        if len(arguments[1]) == 2:
            done.problem = Reason(Code.TOO_SLOW, "the time is over")
            done.held.pop()
        return done

    monkeypatch.setattr(check, "ask", slow)
    assert check.check(mirror.pk, NOW).news
    assert len(held(mirror) & paths) == 5, "what was seen until then counts"
    assert check.check(mirror.pk, NOW).news
    assert held(mirror) >= paths


def test_what_changes_in_place_counts_by_its_bytes(mirror: Mirror, tree: Tree, web: Web) -> None:
    check.check(mirror.pk, NOW, whole=True)
    assert IN_RELEASE in held(mirror)
    web.put(IN_RELEASE, tree.data(IN_RELEASE)[::-1])
    check.check(mirror.pk, NOW, whole=True)
    assert IN_RELEASE not in held(mirror)


def test_a_check_of_a_mirror_that_fails_says_nothing(mirror: Mirror, tree: Tree, web: Web) -> None:
    look(mirror)
    tree.publish("pool/b.deb")
    tree.fill(web)
    web.behaviour = "broken"
    assert check.check(mirror.pk, NOW).news is False
    assert held(mirror) == {DEB, BY_HASH}


@pytest.mark.parametrize(
    ("seconds", "again"), [(0, 2), (30, 10), (600, 60), (4000, 600), (30_000, None), (-600, 60)]
)
def test_new_files_are_asked_for_less_and_less(seconds: int, again: int | None) -> None:
    assert schedule.check_again(timedelta(seconds=seconds)) == again


def test_publishing_has_mirrors_asked_for_new_files(
    mirror: Mirror, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("other", Tree("other"), "http://127.0.0.1:1/")
    tasks.tree_published(tree.row, 1)
    jobs = ProcrastinateJob.objects.order_by("id").values_list("task_name", "args")
    assert list(jobs)[:2] == [
        ("mirrors.check", {"mirror_id": mirror.pk}),
        ("mirrors.write_map", {}),
    ]
    monkeypatch.setattr(tasks, "MOST_FOLLOWED", 2)
    tasks.tree_published(tree.row, 1)
    assert ProcrastinateJob.objects.filter(task_name="mirrors.scan").count() == 1


def test_a_new_publication_does_not_wait_for_what_is_asked_again_later(
    mirror: Mirror, tree: Tree
) -> None:
    def jobs() -> list[bool]:
        found = ProcrastinateJob.objects.filter(task_name="mirrors.check").order_by("id")
        return [job.scheduled_at is not None for job in found]

    def again_at() -> datetime:
        found = ProcrastinateJob.objects.get(queueing_lock__endswith=":again").scheduled_at
        assert isinstance(found, datetime)
        return found

    now = datetime.now(NOW.tzinfo)
    tree.publish("pool/missing", at=now)
    Publication.objects.update(published_at=now - timedelta(hours=2))
    tasks.check_mirror.func(mirror.pk)
    tasks.reconcile_mirrors.func(0)
    assert jobs() == [True], "the sweep asks no sooner"
    assert again_at() > now + timedelta(minutes=9)
    tree.publish("pool/new", at=now)
    tasks.tree_published(tree.row, 3)
    assert jobs() == [True, False]
    tasks.check_mirror.func(mirror.pk)
    assert again_at() < now + timedelta(minutes=1), "a mirror that was just told still pulls"


def test_a_mirror_that_is_down_is_not_asked(mirror: Mirror, web: Web) -> None:
    Mirror.objects.update(answers=0)
    assert check.check(mirror.pk, NOW) == check.Done()
    assert check.due(NOW) == []
    assert web.asked == []


def test_one_full_map_is_enough(mirror: Mirror, signer: Signer) -> None:
    tasks.write_map.func()
    assert ProcrastinateJob.objects.get().task_name == "mirrors.write_full_map"
    for _ in range(2):
        tasks.write_full_map.func()
    assert signer.asked == [1]


def test_a_publication_is_redirected_at_once(
    mirror: Mirror, tree: Tree, web: Web, signer: Signer
) -> None:
    """By the tasks that publishing defers, in their order, without a minute's sweep."""
    tasks.write_full_map.func()
    tree.publish("pool/b.deb")
    Publication.objects.update(published_at=datetime.now(NOW.tzinfo))
    tree.fill(web)
    tasks.tree_published(tree.row, 2)
    tasks.check_mirror.func(mirror.pk)
    tasks.write_map.func()
    found = signer.map().find("demo/pool/b.deb")
    assert found is not None and found.mirrors == 1


def test_altered_bytes_quarantine_a_mirror_at_once(
    mirror: Mirror, tree: Tree, web: Web, signer: Signer
) -> None:
    look(mirror)
    mapping.write_full_map(NOW)
    assert audit.due(NOW) == [mirror]
    done = audit.audit(mirror.pk, NOW)
    assert done is not None and (done.ok, done.pieces) == (True, 2)
    assert audit.due(NOW + timedelta(minutes=14)) == []
    assert audit.due(NOW + timedelta(minutes=15)) == [mirror]
    web.put(DEB, tree.data(DEB)[::-1])
    tasks.audit_mirror.func(mirror.pk)
    mirror.refresh_from_db()
    assert mirror.quarantine.startswith(f"piece 0 of {DEB} has SHA-256")
    tasks.write_map.func()
    assert signer.map().mirrors[0].problem.startswith("it served bytes that are not ours")
    assert Audit.objects.filter(ok=False).count() == 1
    assert happened()[-1] == "mirror quarantined"


def test_a_mirror_that_cannot_be_audited_is_told_why_and_stays_new(
    mirror: Mirror, tree: Tree, web: Web
) -> None:
    look(mirror)
    shutil.rmtree(web.folder)
    web.folder.mkdir()
    for minutes in range(0, 15 * schedule.AUDITS_OF_A_NEW_ONE, 15):
        done = audit.audit(mirror.pk, NOW + timedelta(minutes=minutes))
        assert done is not None and (done.ok, done.pieces) == (True, 0)
        assert "404" in done.problem
        assert audit.due(NOW + timedelta(minutes=minutes + 14)) == []
        assert audit.due(NOW + timedelta(minutes=minutes + 15)) == [mirror]
    mirror.refresh_from_db()
    assert not mirror.quarantine


def test_large_files_are_audited_by_a_piece(mirror: Mirror, tree: Tree, web: Web) -> None:
    from hashlib import sha256

    from commonfarm.archive.models import FileHashes
    from commonfarm.mirrors.holdings import record_check

    data = bytes(range(256)) * 40
    blob = put_bytes(data)
    pieces = b"".join(sha256(data[at : at + 4096]).digest() for at in range(0, len(data), 4096))
    FileHashes.objects.create(
        sha256=blob.sha256, size=len(data), sha1=b"", md5=b"", piece_bytes=4096, pieces=pieces
    )
    file = TreeFile.objects.create(
        tree=tree.row, path="big", blob=blob, sha256=blob.sha256, size=len(data), since_revision=1
    )
    web.put("big", data)
    record_check(mirror, 1, [file.pk], now=NOW)
    for _ in range(5):
        done = audit.audit(mirror.pk, NOW)
        assert done is not None and done.ok, done
    web.put("big", bytes(len(data)))
    done = audit.audit(mirror.pk, NOW)
    assert done is not None and not done.ok


def test_the_archive_tells_the_mirrors(tree: Tree) -> None:
    from commonfarm.archive.ports import tree_published

    assert tree_published.get() is tasks.tree_published


def test_each_minute_what_is_due_is_planned(mirror: Mirror, tree: Tree) -> None:
    Publication.objects.update(published_at=datetime.now(NOW.tzinfo))
    tasks.reconcile_mirrors.func(0)
    names = set(ProcrastinateJob.objects.values_list("task_name", flat=True))
    assert names == {f"mirrors.{name}" for name in ("probe", "scan", "audit", "check", "write_map")}


def test_one_failed_request_says_nothing_of_what_changes_in_place(
    mirror: Mirror, tree: Tree, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(mirror)
    check.check(mirror.pk, NOW, whole=True)
    assert IN_RELEASE in held(mirror)
    slow = Checked(unknown={IN_RELEASE: Reason("mirror-too-slow", "no answer")})
    monkeypatch.setattr(check, "ask", lambda *_: slow)
    check.check(mirror.pk, NOW, whole=True)
    assert IN_RELEASE in held(mirror)
