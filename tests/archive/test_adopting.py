"""Adopted trees: a folder that something else fills, looked at again and again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.archive import renewal
from commonfarm.archive.adding import ask_publication
from commonfarm.archive.adoption import looking
from commonfarm.archive.adoption.comparing import File, Gone, Left, New, Row, Same, Waits, compare
from commonfarm.archive.adoption.models import Adoption
from commonfarm.archive.models import Publication, TreeFile
from commonfarm.archive.releases.application_tree import walk
from commonfarm.archive.trees import current_revision
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import RefusedError
from tests.archive.adopted import HOUR, Adopted

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
    adopted.put(".disk/info", "a CD")
    adopted.put("dists/s/InRelease", "in")
    (adopted.folder / "latest").symlink_to("4")
    (adopted.folder / "4/old").symlink_to("../latest/Turtle.xo")
    found = adopted.look()
    assert (found.looks, found.files, found.waiting, found.problems) == (1, 3, 0, [])
    assert adopted.seen() == {".disk/info": 4, "4/Turtle.xo": 6, "dists/s/InRelease": 2}
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
    assert Publication.objects.get().why == f"3 new, 0 changed, 0 gone in {adopted.folder}"
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
    assert "secret" not in str(list(judged.values("why", "details")))


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
