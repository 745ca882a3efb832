"""Adopted trees, after a look: hashes, when the next look comes, kills, and the mirror map."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.archive import hashing, rsync_modules
from commonfarm.archive import tasks as archive_tasks
from commonfarm.archive.adoption import applying, looking, reading, tasks
from commonfarm.archive.adoption.findings import known_files
from commonfarm.archive.columns import file_columns, file_hashes, joined
from commonfarm.archive.models import FileHashes, Publication, TreeAlias, TreeFile
from commonfarm.archive.signer import approve_map
from commonfarm.archive.trees import current_revision
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import BusyError
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.redirector.mirror_map import Tree
from commonfarm.redirector.mirror_map.writing import Columns, Head, Payload, build, stage
from tests.archive.adopted import HOUR, Adopted
from tests.locks import wait_until_free

# Hashes ------------------------------------------------------------------------------------------


def test_files_are_hashed_in_the_background(adopted: Adopted) -> None:
    adopted.put("a", "one")
    adopted.put("d/b", "two")
    adopted.look()
    assert reading.unread(adopted.tree).count() == 2
    assert reading.read_some(adopted.tree, 0, 20) is None
    row = TreeFile.objects.get(path="d/b")
    assert row.sha256 == hashlib.sha256(b"two").hexdigest()
    assert bytes(FileHashes.objects.get(pk=row.sha256).md5) == hashlib.md5(b"two").digest()
    assert not reading.unread(adopted.tree).exists()
    found = [hashes.md5 for _, hashes in file_hashes(adopted.tree, 1)]
    assert sorted(found) == sorted(hashlib.md5(text).digest() for text in (b"one", b"two"))
    [columns] = file_columns(adopted.tree, 1)
    assert columns.sha256.any(axis=1).all()


def test_a_file_that_changes_while_it_is_read_is_not_believed(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = adopted.put("a", "one")
    adopted.put("b", "two")
    adopted.look()
    real = hashing.hash_opened

    def changed_meanwhile(opened: Any) -> Any:
        hashes = real(opened)
        if hashes.sha256 == hashlib.sha256(b"one").hexdigest():
            place.write_text("uno")
        return hashes

    monkeypatch.setattr(hashing, "hash_opened", changed_meanwhile)
    assert reading.read_some(adopted.tree, 0, 20) is None
    assert [row.path for row in reading.unread(adopted.tree)] == ["a"]
    monkeypatch.setattr(hashing, "hash_opened", real)
    assert reading.read_some(adopted.tree, 0, 20) is None  # it differs from its row
    assert reading.unread(adopted.tree).exists()
    adopted.look()
    assert reading.read_some(adopted.tree, 0, 20) is None
    assert TreeFile.objects.get(path="a", until_revision=None).sha256 == (
        hashlib.sha256(b"uno").hexdigest()
    )


def test_no_link_that_was_slipped_in_is_followed(adopted: Adopted, tmp_path: Path) -> None:
    adopted.put("d/a", "one")
    adopted.look()
    secret = tmp_path / "secret"
    (adopted.folder / "d").rename(secret)
    (adopted.folder / "d").symlink_to(secret)
    assert reading.read_some(adopted.tree, 0, 20) is None
    assert reading.unread(adopted.tree).exists()


def test_reading_ends_with_its_time_and_goes_on_where_it_was(adopted: Adopted) -> None:
    for name in ("a", "b", "c", "repomd.xml"):
        adopted.put(f"repodata/{name}", name)
    adopted.look()
    reading.BATCH, kept = 1, reading.BATCH
    try:
        after = reading.read_some(adopted.tree, 0, 0)
        left = set(reading.unread(adopted.tree).values_list("path", flat=True))
        assert "repodata/repomd.xml" not in left  # what changes in place comes first
        turns = 1
        while after is not None:
            after = reading.read_some(adopted.tree, after, 0)
            turns += 1
    finally:
        reading.BATCH = kept
    assert not reading.unread(adopted.tree).exists()
    assert turns > 2


def test_older_hashes_of_an_index_are_kept_for_some_revisions(adopted: Adopted) -> None:
    ReleaseTree.objects.update(keep_revisions=2)
    adopted.tree.refresh_from_db()
    index = adopted.put("dists/s/InRelease", "0")
    adopted.look()
    reading.read_some(adopted.tree, 0, 20)
    for turn in range(1, 5):
        index.write_text("0" * (turn + 1))
        adopted.look()
        reading.read_some(adopted.tree, 0, 20)
    [(_, hashes)] = file_hashes(adopted.tree, 5)
    assert [len(one.sha256) for one in hashes.alternates] == [32, 32]
    assert [one.size for one in hashes.alternates] == [4, 3]


def test_rows_that_ended_long_ago_are_removed(adopted: Adopted) -> None:
    ReleaseTree.objects.update(keep_revisions=1)
    adopted.tree.refresh_from_db()
    adopted.put("keep")
    adopted.put("keep too")
    for turn in range(4):
        adopted.put("a", "x" * (turn + 1))
        (adopted.folder / "link").unlink(missing_ok=True)
        (adopted.folder / "link").symlink_to("a" if turn % 2 else "keep")
        adopted.look()
    assert TreeFile.objects.filter(path="a").count() == 4
    adopted.put("a", "at last")
    adopted.look(later=timedelta(days=30))
    ended = TreeFile.objects.filter(path="a").exclude(until_revision=None)
    assert [row.until_revision for row in ended] == [5]
    assert sorted(Publication.objects.values_list("revision", flat=True)) == [4, 5]
    assert TreeAlias.objects.filter(path="link").count() == 1
    assert adopted.seen() == {"a": 7, "keep": 1, "keep too": 1}


# When --------------------------------------------------------------------------------------------


def jobs() -> list[str]:
    return sorted(ProcrastinateJob.objects.values_list("task_name", flat=True))


def test_looking_takes_a_twentieth_of_the_time_at_most(adopted: Adopted) -> None:
    found = adopted.look()
    assert found.next_at is not None
    assert timedelta(0) <= found.next_at - adopted.now - timedelta(minutes=1) < timedelta(seconds=9)
    found.looked(
        adopted.now, timedelta(minutes=5), files=0, waiting=0, problems=[], count=0, who="t"
    )
    assert found.next_at - adopted.now == timedelta(minutes=100)


def test_the_sweep_has_folders_looked_at_when_it_is_time(adopted: Adopted) -> None:
    adopted.put("a")
    ReleaseTree.objects.create(name="plain")
    assert tasks.look_at_due(adopted.now) == 1
    assert jobs() == ["archive.look_at_folder"]
    ProcrastinateJob.objects.all()._raw_delete("default")
    looking.look(adopted.tree, timezone.now(), asked=True)
    tasks.read_soon(adopted.tree)
    assert jobs() in ([], ["archive.read_folder"])  # the file is of this very second
    adopted.look()
    assert tasks.look_at_due(adopted.now) == 0  # but what is not read yet is read
    assert jobs() == ["archive.read_folder"]
    assert tasks.look_at_due(adopted.now + HOUR) == 1
    assert tasks.look_at_due(adopted.now - HOUR) == 1  # the clock was ahead
    tasks.read_folder(adopted.tree.pk)
    assert not reading.unread(adopted.tree).exists()
    ReleaseTree.objects.filter(pk=adopted.tree.pk).update(adopts="")
    tasks.look_at_folder(adopted.tree.pk)
    tasks.read_folder(adopted.tree.pk)
    assert tasks.look_at_due(adopted.now + HOUR) == 0


def test_the_minutes_sweep_looks_after_adopted_folders(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rsync_modules, "write", lambda: None)
    archive_tasks.sweep(0)
    assert "archive.look_at_folder" in jobs()


def test_one_that_was_asked_for_comes_after_the_one_under_way(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise BusyError(Reason("busy", "another process is at it"))

    monkeypatch.setattr(looking, "look", busy)
    tasks.look_at_folder(adopted.tree.pk)
    assert jobs() == []
    tasks.ask_for_look(adopted.tree, who="user:anna", loss_is_meant=False)
    ProcrastinateJob.objects.all()._raw_delete("default")
    tasks.look_at_folder(adopted.tree.pk)
    assert jobs() == ["archive.look_at_folder"]


@pytest.mark.parametrize("where", ["_bring_aliases", "_forget"])
def test_cut_off_in_the_middle_nothing_has_happened(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    adopted.put("a")
    adopted.look()
    adopted.put("b")
    (adopted.folder / "link").symlink_to("b")

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(applying, where, killed)
        with pytest.raises(Killed):
            adopted.look()
    assert adopted.seen() == {"a": 1}
    assert TreeFile.objects.count() == 1
    assert TreeAlias.objects.count() == 0
    adopted.look()
    assert adopted.seen() == {"a": 1, "b": 1}
    assert current_revision(adopted.tree) == 2


LOOKS = """
import sys, time
from datetime import timedelta
import django
django.setup()
from django.utils import timezone
from commonfarm.archive.adoption import applying, looking
from commonfarm.estate.interface import ReleaseTree

def stops(real):
    def stop(*args, **kwargs):
        found = real(*args, **kwargs)
        print("now", flush=True)
        time.sleep(60)
        return found
    return stop

if sys.argv[1] == "walk":
    looking.known_files = stops(looking.known_files)
else:
    applying._forget = stops(applying._forget)
looking.look(ReleaseTree.objects.get(), timezone.now() + timedelta(hours=9), asked=True)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["walk", "apply"])
def test_killed_while_it_looks_the_next_look_does_it_all(
    installation: Config, published_calls: list[tuple[str, int]], tmp_path: Path, where: str
) -> None:
    adopted = Adopted(tmp_path / "pub")
    adopted.put("a")
    adopted.look()
    adopted.put("b")
    with subprocess.Popen(
        [sys.executable, "-c", LOOKS, where],
        env=os.environ | {"COMMONFARM_CONFIG": str(installation.file)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        with pytest.raises(BusyError):
            adopted.look()
        process.kill()
    wait_until_free()
    adopted.look()
    assert adopted.seen() == {"a": 1, "b": 1}
    assert current_revision(adopted.tree) == 2
    assert Publication.objects.count() == 2


def test_rows_pass_in_the_order_of_bytes_whatever_the_database_sorts_by(adopted: Adopted) -> None:
    names = ["a", "B", "a-", "a/b", "a0", "é", "Z/é", "z", "a b", "%", "_", "a.b/c"]
    for name in names:
        if name != "a":
            adopted.put(name)
    adopted.look()
    paths = [row.path for row in known_files(adopted.tree)]
    assert paths == sorted(name.encode() for name in names if name != "a")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('pg_temp.adoption_new')")
        assert cursor.fetchone() == (None,)
    assert adopted.look().files == len(names) - 1
    assert current_revision(adopted.tree) == 1


# The map -----------------------------------------------------------------------------------------


def map_of(adopted: Adopted, config: Config, revision: int, generation: int = 1) -> Payload:
    """Stage the map of an adopted tree, as its writer does, to be signed."""
    files = joined(file_columns(adopted.tree, revision))
    tree = Tree("pub", revision, adopted.aliases(), {}, folder=str(adopted.folder))
    hashes = dict(file_hashes(adopted.tree, revision))
    columns = Columns(
        paths=[b"pub/" + path for path in files.paths],
        sizes=files.sizes,
        sha256=files.sha256.copy(),
        rows=files.numbers,
        flags=files.changes.astype(np.uint8),
        holdings=np.zeros((len(files.paths), 1), np.uint8),
        hashes=[hashes[number] for number in files.numbers.tolist()],
    )
    payload = build(Head(generation, "2026-01-01T00:00:00+00:00", [], [tree]), columns)
    stage(config.mirror_map.parent, payload)
    return payload


def test_a_map_names_the_folder_and_is_signed_while_files_are_hashed(
    adopted: Adopted, installation: Config
) -> None:
    adopted.put("a", "one")
    adopted.put("b", "two")
    adopted.look()
    Publication.objects.update(published_at=timezone.now())
    folder = installation.mirror_map.parent
    payload = map_of(adopted, installation, 1)
    reading.read_some(adopted.tree, 0, 20)
    assert approve_map.header(folder, 1, delta=False) == payload.header
    assert f'"folder":"{adopted.folder}"'.encode() in payload.header.replace(b": ", b":")
    map_of(adopted, installation, 1, generation=2)
    approve_map.header(folder, 2, delta=False)
    TreeFile.objects.filter(path="b").update(sha256="0" * 63 + "1")
    with pytest.raises(RefusedError, match="pub/b what is not published"):
        approve_map.header(folder, 2, delta=False)
