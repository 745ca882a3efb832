"""Steps that can be cut off anywhere and go on from the tables."""

from __future__ import annotations

import time
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.guard.interface import BusyError
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import Reason, UnreachableError
from commonfarm.mirrors import reconcile, tasks
from commonfarm.mirrors.models import MapWritten, Mirror, Scan
from commonfarm.redirector import mirror_map
from tests.mirrors.conftest import BY_HASH, DEB, IN_RELEASE, NOW, Signer, Tree
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db


def scan(mirror: Mirror) -> Scan:
    done = reconcile.scan(mirror.pk, lambda: NOW)
    assert done is not None
    return done


def happened() -> list[str]:
    return list(Entry.objects.order_by("id").values_list("what", flat=True))


def test_a_scan_is_written_down_and_becomes_the_map(
    mirror: Mirror, signer: Signer, web: Web
) -> None:
    done = scan(mirror)
    assert (done.ok, done.files_expected, done.files_found, done.missing) == (True, 2, 2, [])
    assert f"/{IN_RELEASE}" not in web.asked
    assert reconcile.write_map(NOW) == 1
    the_map = signer.map()
    assert [(one.name, one.local, one.problem) for one in the_map.mirrors] == [("north", True, "")]
    assert set(the_map.trees["demo"]) == {DEB, BY_HASH}
    assert all(file.mirrors == {0} for file in the_map.trees["demo"].values())
    assert happened() == ["mirror added", "mirror up", "mirror map written"]


def test_an_unchanged_map_is_neither_signed_nor_written_again(
    mirror: Mirror, signer: Signer
) -> None:
    scan(mirror)
    reconcile.write_map(NOW)
    before = settings.COMMONFARM.mirror_map.stat()
    scan(mirror)
    assert reconcile.write_map(NOW + timedelta(hours=1)) == 1
    assert signer.asked == [1]
    assert settings.COMMONFARM.mirror_map.stat().st_mtime_ns == before.st_mtime_ns


def test_a_new_revision_is_not_sent_to_a_mirror_before_it_was_scanned(
    mirror: Mirror, signer: Signer, tree: Tree, web: Web
) -> None:
    scan(mirror)
    tree.publish("pool/b.deb", removed=(DEB,))
    reconcile.write_map(NOW)
    files = signer.map().trees["demo"]
    assert set(files) == {BY_HASH, "pool/b.deb"}
    assert files["pool/b.deb"].mirrors == frozenset()
    assert scan(mirror).missing == ["pool/b.deb"]
    tree.fill(web)
    scan(mirror)
    reconcile.write_map(NOW)
    assert signer.map().trees["demo"]["pool/b.deb"].mirrors == {0}


def test_a_mirror_that_fails_is_left_out_and_told_of_once(
    mirror: Mirror, signer: Signer, web: Web
) -> None:
    scan(mirror)
    web.behaviour = "broken"
    scan(mirror)
    scan(mirror)
    reconcile.write_map(NOW)
    [entry] = signer.map().mirrors
    assert entry.problem.startswith("down: it answers 500")
    assert happened().count("mirror down") == 1
    web.behaviour = ""
    scan(mirror)
    reconcile.write_map(NOW)
    assert signer.map().mirrors[0].problem == ""
    assert happened().count("mirror up") == 2


def test_a_new_address_is_not_believed_before_it_was_scanned(
    mirror: Mirror, signer: Signer
) -> None:
    scan(mirror)
    mirror.edit({"url": "http://127.0.0.1:1/"}, who="user:anna")
    reconcile.write_map(NOW)
    assert [one.problem for one in signer.map().mirrors] == ["never scanned"]
    assert reconcile.due(NOW) == [mirror]


def test_disabled_and_removed_mirrors_are_sent_nobody(mirror: Mirror, signer: Signer) -> None:
    scan(mirror)
    mirror.disable(who="user:anna", why="moving")
    reconcile.write_map(NOW)
    assert [one.problem for one in signer.map().mirrors] == ["disabled"]
    assert reconcile.due(NOW) == []
    mirror.enable(who="user:anna")
    reconcile.write_map(NOW)
    assert [one.problem for one in signer.map().mirrors] == [""]
    mirror.remove(NOW, who="user:anna")
    assert reconcile.write_map(NOW) == 3
    assert signer.map().mirrors == ()
    assert reconcile.scan(mirror.pk, lambda: NOW) is None


def test_when_a_mirror_is_due(mirror: Mirror, tree: Tree, web: Web) -> None:
    assert reconcile.due(NOW) == [mirror]
    scan(mirror)
    assert reconcile.due(NOW) == []
    assert reconcile.due(NOW + timedelta(minutes=14)) == []
    assert reconcile.due(NOW + timedelta(minutes=16)) == [mirror]
    tree.publish("pool/c.deb")
    assert reconcile.due(NOW) == [mirror]
    scan(mirror)
    assert reconcile.due(NOW + timedelta(seconds=30)) == []
    assert reconcile.due(NOW + timedelta(seconds=90)) == [mirror], "it lacks c.deb"
    web.behaviour = "broken"
    scan(mirror)
    assert reconcile.due(NOW + timedelta(seconds=30)) == []
    assert reconcile.due(NOW + timedelta(seconds=90)) == [mirror]


def test_an_unpublished_tree_has_nothing_to_scan(mirror: Mirror, tree: Tree) -> None:
    tree.row.publications.all().delete()
    assert reconcile.due(NOW) == []
    assert reconcile.scan(mirror.pk, lambda: NOW) is None


def test_a_scan_that_was_cut_off_is_closed_by_the_next(mirror: Mirror) -> None:
    cut = Scan.start(mirror, 1, NOW)
    assert mirror.last_scan() is None
    scan(mirror)
    cut.refresh_from_db()
    assert (cut.ok, cut.finished_at, cut.problem) == (None, NOW, "the scan was cut off")
    last = mirror.last_scan()
    assert last is not None and last.ok


def test_two_scans_of_one_mirror_do_not_run_at_once(mirror: Mirror) -> None:
    place = connection.settings_dict
    with psycopg.connect(
        host=place["HOST"], port=place["PORT"], dbname=place["NAME"], user=place["USER"]
    ) as other:
        name = f"scan of mirror {mirror.pk}"
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
        with pytest.raises(BusyError, match="another process is at the scan"):
            reconcile.scan(mirror.pk, lambda: NOW)
        # What was asked for meanwhile is not forgotten: it is put off, once.
        for _ in range(2):
            tasks.scan_mirror.func(mirror.pk)
        [job] = ProcrastinateJob.objects.filter(task_name="mirrors.scan")
        assert job.scheduled_at is not None
    # The lock goes with its session, as it does when a worker is killed; not at the same instant.
    deadline = time.monotonic() + 10
    while True:
        try:
            assert reconcile.scan(mirror.pk, lambda: NOW) is not None
            return
        except BusyError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_map_is_finished_when_the_signer_was_away(
    mirror: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(generation: int) -> bytes:
        raise UnreachableError(Reason("signer-unreachable", "the signer does not answer"))

    scan(mirror)
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "sign_mirror_map", away)
        with pytest.raises(UnreachableError):
            reconcile.write_map(NOW)
    assert not settings.COMMONFARM.mirror_map.exists()
    assert MapWritten.objects.count() == 1
    assert reconcile.write_map(NOW) == 1
    assert signer.map().generation == 1


@pytest.mark.parametrize("lost", [b"", b"rubbish"])
def test_a_map_file_that_was_lost_or_spoiled_is_written_again(
    mirror: Mirror, signer: Signer, lost: bytes
) -> None:
    scan(mirror)
    reconcile.write_map(NOW)
    mirror_map.write(settings.COMMONFARM.mirror_map, lost)
    assert reconcile.write_map(NOW) == 1
    assert signer.map().generation == 1
    assert MapWritten.objects.count() == 1


def test_publishing_has_the_mirrors_scanned(mirror: Mirror, tree: Tree) -> None:
    tasks.tree_published(tree.row, 2)
    tasks.tree_published(tree.row, 3)
    jobs = ProcrastinateJob.objects.order_by("id").values_list("task_name", "args")
    assert list(jobs) == [("mirrors.scan", {"mirror_id": mirror.pk}), ("mirrors.write_map", {})]


def test_the_archive_tells_the_mirrors(tree: Tree) -> None:
    from commonfarm.archive.ports import tree_published

    assert tree_published.get() is tasks.tree_published
