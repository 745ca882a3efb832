"""Adopted trees: a folder that something else fills, looked at again and again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.archive import hashing, renewal, rsync_modules
from commonfarm.archive import tasks as archive_tasks
from commonfarm.archive.adding import ask_publication
from commonfarm.archive.adoption import applying, looking, reading, tasks
from commonfarm.archive.adoption.comparing import File, Gone, Left, New, Row, Same, Waits, compare
from commonfarm.archive.adoption.findings import known_files
from commonfarm.archive.adoption.models import Adoption
from commonfarm.archive.columns import file_columns, file_hashes, joined
from commonfarm.archive.models import FileHashes, Publication, TreeAlias, TreeFile
from commonfarm.archive.releases.application_tree import walk
from commonfarm.archive.signer import approve_map
from commonfarm.archive.trees import aliases_of, current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import BusyError
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.redirector.mirror_map import Tree
from commonfarm.redirector.mirror_map.writing import Columns, Head, Payload, build, stage

HOUR = timedelta(hours=1)


class Adopted:
    """A folder, its tree, and a clock on which every change was long ago at the next look."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.tree = ReleaseTree.objects.create(name="pub", adopts=str(folder), **policy)
        self.now = timezone.now() + HOUR

    def put(self, path: str, text: str = "x") -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def look(self, *, asked: bool = True, later: timedelta = HOUR) -> Adoption:
        self.now += later
        return looking.look(self.tree, self.now, asked=asked)

    def seen(self) -> dict[str, int]:
        files = files_of(self.tree, current_revision(self.tree))
        return dict(files.values_list("path", "size"))

    def aliases(self) -> dict[str, str]:
        found = aliases_of(self.tree, current_revision(self.tree))
        return dict(found.values_list("path", "target"))

    def allow_loss(self) -> None:
        looking.adoption_of(self.tree).allow_loss(who="user:anna")


@pytest.fixture
def adopted(
    db: None, installation: Config, published_calls: list[tuple[str, int]], tmp_path: Path
) -> Adopted:
    return Adopted(tmp_path / "pub")


# What is compared ------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(["a", "b", "a-", "a.b", "b0", "é"]), min_size=1, max_size=3)
PATHS = st.dictionaries(NAMES.map("/".join), st.integers(0, 2), max_size=12)


def compared(
    files: dict[str, int], rows: dict[str, int], left: tuple[str, ...] = (), young: str = ""
) -> list[New | Gone | Same | Waits]:
    """Compare by sizes; a row's number is its place, and of `young` the last change is late."""
    found: list[File | Left] = [
        File(path.encode(), size, 0, 9 if path == young else 0) for path, size in files.items()
    ]
    found += [Left(path.encode()) for path in left]
    found.sort(key=lambda one: one.path + (b"/" if isinstance(one, Left) else b""))
    known = [Row(path.encode(), at, size, 0) for at, (path, size) in enumerate(rows.items())]
    return list(compare(found, sorted(known), lambda _: 5))


@given(PATHS, PATHS)
@settings(deadline=None)
def test_what_comes_of_a_comparison_is_the_folder(
    files: dict[str, int], rows: dict[str, int]
) -> None:
    steps = compared(files, rows)
    names = list(rows)
    result = {names[one.number]: rows[names[one.number]] for one in steps if isinstance(one, Same)}
    result |= {one.file.path.decode(): one.file.size for one in steps if isinstance(one, New)}
    assert result == files
    ended = [one.number for one in steps if isinstance(one, Gone)]
    ended += [one.replaces for one in steps if isinstance(one, New) and one.replaces is not None]
    same = [one.number for one in steps if isinstance(one, Same)]
    assert sorted(ended + same) == list(range(len(rows)))


@given(PATHS, PATHS, st.sampled_from(["a", "b", "a/a", "é"]))
@settings(deadline=None)
def test_nothing_is_gone_where_nothing_could_be_seen(
    files: dict[str, int], rows: dict[str, int], left: str
) -> None:
    files = {path: size for path, size in files.items() if not f"{path}/".startswith(f"{left}/")}
    names = list(rows)
    gone = {names[one.number] for one in compared(files, rows, (left,)) if isinstance(one, Gone)}
    assert not [path for path in gone if path.startswith(f"{left}/")]
    assert {path for path in rows if f"{path}/".startswith(f"{left}/")}.isdisjoint(gone - {left})


def test_what_may_still_be_written_waits_and_its_row_stays() -> None:
    assert compared({"a": 1}, {}, young="a") == [Waits(b"a")]
    assert compared({"a": 1}, {"a": 2}, young="a") == [Waits(b"a"), Same(0)]
    assert compared({"a": 1}, {"a": 1}, young="a") == [Same(0)]


@given(st.sets(NAMES.map("/".join), max_size=12))
@settings(deadline=None, max_examples=30)
def test_a_folder_is_walked_in_the_order_of_the_database(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str]
) -> None:
    top = tmp_path_factory.mktemp("walk")
    made: set[str] = set()
    for path in sorted(paths):
        if not any(f"{path}/".startswith(f"{one}/") for one in made):
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            if not (top / path).exists():
                (top / path).touch()
                made.add(path)
    found = [one.path for one in walk(top) if not (top / os.fsdecode(one.path)).is_dir()]
    assert found == sorted(path.encode() for path in made)
    shutil.rmtree(top)


# A folder is looked at ---------------------------------------------------------------------------


def test_a_folder_is_taken_over_as_it_is(
    adopted: Adopted, published_calls: list[tuple[str, int]]
) -> None:
    adopted.put("4/Turtle.xo", "turtle")
    adopted.put("4/.Turtle.xo.Xa12Bc", "rsync is at it")
    adopted.put(".htaccess")
    adopted.put("dists/s/InRelease", "in")
    (adopted.folder / "latest").symlink_to("4")
    (adopted.folder / "4/old").symlink_to("../latest/Turtle.xo")
    found = adopted.look()
    assert (found.looks, found.files, found.waiting, found.problems) == (1, 2, 0, [])
    assert adopted.seen() == {"4/Turtle.xo": 6, "dists/s/InRelease": 2}
    assert adopted.aliases() == {"latest": "4", "4/old": "latest/Turtle.xo"}
    assert published_calls == [("pub", 1)]
    turtle = TreeFile.objects.get(path="4/Turtle.xo")
    status = (adopted.folder / "4/Turtle.xo").stat()
    assert turtle.modified_ns == status.st_mtime_ns
    assert turtle.modified_at is not None
    assert int(turtle.modified_at.timestamp()) == int(status.st_mtime)
    # Mirrors may have had for years what is there when a tree is adopted.
    assert (turtle.mirrors_from, turtle.blob) == (None, None)
    assert (turtle.changes, turtle.sha256) == (False, "")
    assert TreeFile.objects.get(path="dists/s/InRelease").changes
    assert Publication.objects.get().why == f"2 new, 0 changed, 0 gone in {adopted.folder}"
    assert Entry.objects.get(what="tree published").subject == "tree:pub@1"


def test_without_a_change_there_is_no_revision(
    adopted: Adopted, published_calls: list[tuple[str, int]]
) -> None:
    adopted.put("a")
    adopted.look()
    assert adopted.look().looks == 2
    assert published_calls == [("pub", 1)]
    (adopted.folder / "a").chmod(0o755)  # which changes neither bytes nor time
    adopted.look()
    assert current_revision(adopted.tree) == 1


def test_what_comes_goes_and_changes_is_a_revision(adopted: Adopted) -> None:
    for name in ("a", "b", "c"):
        adopted.put(name)
    adopted.look()
    before = TreeFile.objects.get(path="b")
    adopted.put("b", "yy")
    adopted.put("d/e")
    (adopted.folder / "c").unlink()
    (adopted.folder / "link").symlink_to("d")
    adopted.look()
    assert adopted.seen() == {"a": 1, "b": 2, "d/e": 1}
    assert adopted.aliases() == {"link": "d"}
    assert Publication.objects.get(revision=2).why.startswith("1 new, 1 changed, 1 gone")
    before.refresh_from_db()
    assert before.until_revision == 2
    # New files come from ourselves alone until mirrors had time.
    new = TreeFile.objects.get(path="d/e")
    assert new.mirrors_from == adopted.now + timedelta(seconds=1800)
    shutil.rmtree(adopted.folder / "d")
    (adopted.folder / "link").unlink()
    adopted.put("d", "a file now")
    adopted.look()
    assert adopted.seen() == {"a": 1, "b": 2, "d": 10}
    assert adopted.aliases() == {}


def test_the_same_size_within_one_microsecond_is_a_change(adopted: Adopted) -> None:
    place = adopted.put("a", "x")
    os.utime(place, ns=(10**18, 10**18))
    adopted.look()
    place.write_text("y")
    os.utime(place, ns=(10**18, 10**18 + 7))
    adopted.look()
    assert current_revision(adopted.tree) == 2


def test_files_being_written_wait(adopted: Adopted) -> None:
    adopted.put("old")
    adopted.look()
    adopted.put("new")
    real = timezone.now()
    adopted.now = real - HOUR
    assert adopted.look(asked=False, later=HOUR).waiting == 1  # changed this very moment
    assert "new" not in adopted.seen()
    # Quiet for long enough now, but it has changed since the look before; asked, that is enough.
    Adoption.objects.update(looked_at=real - HOUR)
    assert adopted.look(asked=False, later=timedelta(minutes=1)).waiting == 1
    assert adopted.look(asked=False, later=timedelta(minutes=1)).waiting == 0
    assert adopted.seen() == {"old": 1, "new": 1}
    adopted.put("newer")
    Adoption.objects.update(looked_at=real - HOUR)
    assert adopted.look(asked=True, later=timedelta(minutes=1)).waiting == 0


def test_an_index_that_changes_in_place_waits_for_no_second_look(adopted: Adopted) -> None:
    adopted.put("x/repodata/repomd.xml", "1")
    adopted.look()
    adopted.put("x/repodata/repomd.xml", "22")
    Adoption.objects.update(looked_at=timezone.now() - HOUR)
    adopted.look(asked=False)
    assert adopted.seen() == {"x/repodata/repomd.xml": 2}


def test_problems_are_told_and_the_rest_is_taken_over(adopted: Adopted) -> None:
    adopted.put("good")
    adopted.put("secret").chmod(0o600)
    adopted.put("closed/file")
    (adopted.folder / "closed").chmod(0o700)
    os.mkfifo(adopted.folder / "pipe")
    (adopted.folder / "passwd").symlink_to("/etc/passwd")
    (adopted.folder / "up").symlink_to("../elsewhere")
    (adopted.folder / "nowhere").symlink_to("gone")
    (adopted.folder / "around").symlink_to("around")
    (adopted.folder / "line\nend").touch()
    (adopted.folder / "odd\tfolder").mkdir()
    adopted.put("odd\tfolder/file")
    Path(os.fsdecode(os.fsencode(adopted.folder) + b"/latin\xe9")).touch()
    found = adopted.look()
    assert adopted.seen() == {"good": 1}
    assert adopted.aliases() == {}
    said = "\n".join(f"{one['path']}: {one['what']}; {one['to_do']}" for one in found.problems)
    for fault in (
        "secret: is a file with mode 0600 of ",
        "chmod o+r secret",
        "closed: is a folder with mode 0700 of ",
        "pipe: is a pipe, which cannot be published",
        "passwd: is a link to /etc/passwd, which leaves the tree",
        "up: is a link to ../elsewhere, which leaves the tree",
        "nowhere: is a link to gone, where there is nothing",
        "around: is a link to around, and the links lead around in a circle",
        "line\\nend: has control characters",
        "odd\\tfolder: has control characters",
        "latin\\xe9: has control characters, or is not UTF-8",
    ):
        assert fault in said, said
    assert found.problem_count == len(found.problems) == 10
    # Told once, and again when it is something else.
    adopted.look()
    judged = Entry.objects.filter(what="adopted folder judged")
    assert judged.count() == 1
    (adopted.folder / "pipe").unlink()
    assert adopted.look().problem_count == 9
    assert judged.count() == 2


def test_what_cannot_be_judged_is_not_gone(adopted: Adopted) -> None:
    adopted.put("a/b")
    adopted.put("a/c/d")
    adopted.put("e")
    (adopted.folder / "a/link").symlink_to("b")
    adopted.look()
    (adopted.folder / "a").chmod(0o700)
    (adopted.folder / "e").chmod(0o600)
    found = adopted.look()
    assert found.problem_count == 2
    assert adopted.seen() == {"a/b": 1, "a/c/d": 1, "e": 1}
    assert adopted.aliases() == {"a/link": "a/b"}
    assert current_revision(adopted.tree) == 1


def test_very_many_problems_are_counted(adopted: Adopted) -> None:
    adopted.put("good")
    for number in range(120):
        (adopted.folder / f"p{number:03}").symlink_to("/etc")
    found = adopted.look()
    assert (found.problem_count, len(found.problems)) == (120, 50)


# What is no wish to have nothing -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "empty", "a link", "most gone", "a file"])
def test_a_disk_that_is_not_mounted_takes_nothing_away(adopted: Adopted, how: str) -> None:
    for name in ("a", "b", "c"):
        adopted.put(name)
    adopted.look()
    away = adopted.folder.with_name("away")
    adopted.folder.rename(away)
    match how:
        case "empty":
            adopted.folder.mkdir()
        case "a link":
            adopted.folder.symlink_to(away)
        case "a file":
            adopted.folder.touch()
        case "most gone":
            adopted.folder.mkdir()
            shutil.copy2(away / "a", adopted.folder / "a")
    found = adopted.look()
    said = {
        "missing": f"{adopted.folder}: does not exist",
        "empty": f"{adopted.folder}: it is empty; is a disk not mounted?",
        "a link": f"{adopted.folder}: is a symlink to {away}: {adopted.folder} is really {away}",
        "most gone": f"{adopted.folder}: 2 of 3 files are gone; is a disk not mounted?",
        "a file": f"{adopted.folder}: is no folder",
    }[how]
    assert said in found.stopped
    assert adopted.seen() == {"a": 1, "b": 1, "c": 1}
    assert Entry.objects.filter(what="adopted folder judged").count() == 1
    if how in ("empty", "most gone"):
        assert "commonfarm tree adopt pub --yes" in found.stopped
        adopted.allow_loss()
        assert adopted.look().stopped == ""
        assert adopted.seen() == ({"a": 1} if how == "most gone" else {})
        assert not Adoption.objects.get().loss_allowed
    else:
        shutil.rmtree(adopted.folder, ignore_errors=True)
        adopted.folder.unlink(missing_ok=True)
        away.rename(adopted.folder)
        assert adopted.look().stopped == ""
        assert current_revision(adopted.tree) == 1


def test_a_folder_that_cannot_be_read_is_said(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(looking, "walk", closed)
    assert adopted.look().stopped == (
        f"{adopted.folder}: Permission denied; let the worker's user read it"
    )


def test_an_empty_folder_may_be_adopted_before_it_is_filled(adopted: Adopted) -> None:
    assert adopted.look().stopped == ""
    assert current_revision(adopted.tree) == 0
    adopted.put("a")
    adopted.look()
    assert adopted.seen() == {"a": 1}


def test_what_is_allowed_while_a_look_goes_on_is_for_the_next(
    adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        adopted.put(name)
    adopted.look()
    for name in ("a", "b"):
        (adopted.folder / name).unlink()
    real = walk

    def allowed_meanwhile(*args: Any, **kwargs: Any) -> Iterator[Any]:
        Adoption.objects.update(loss_allowed=True)
        return real(*args, **kwargs)

    monkeypatch.setattr(looking, "walk", allowed_meanwhile)
    assert "2 of 3 files are gone" in adopted.look().stopped
    monkeypatch.setattr(looking, "walk", real)
    adopted.look()
    assert adopted.seen() == {"c": 1}


def test_a_tree_that_is_not_adopted_is_refused(adopted: Adopted) -> None:
    other = ReleaseTree.objects.create(name="other")
    with pytest.raises(RefusedError, match="declare it in the estate with `adopts"):
        looking.look(other, timezone.now())


def test_nothing_is_assembled_in_an_adopted_tree(adopted: Adopted) -> None:
    adopted.put("a")
    adopted.look()
    with pytest.raises(RefusedError, match="the tree pub is adopted"):
        ask_publication(adopted.tree, "anew", who="user:anna")
    renewal.renew(timezone.now() + timedelta(days=999))
    assert adopted.seen() == {"a": 1}
    assert Publication.objects.count() == 1


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
    deadline = time.monotonic() + 20
    while True:
        try:
            adopted.look()
            break
        except BusyError:  # PostgreSQL has not seen yet that it is gone
            assert time.monotonic() < deadline
            time.sleep(0.05)
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
