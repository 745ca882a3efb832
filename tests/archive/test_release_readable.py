"""Whether all who serve it can read it: Sugar Labs' document root of 2009, and worse."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from commonfarm.archive.releases import application_tree, readable, rules
from commonfarm.archive.releases.readable import Reader
from commonfarm.lib.errors import BadInputError

ROOT = os.getuid() == 0
SOMEBODY = 54321
"""A user that no machine has."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A good application tree."""
    tree = tmp_path / "activities"
    (tree / "4").mkdir(parents=True)
    (tree / "4/write.xo").write_bytes(b"write")
    (tree / "read me.txt").write_bytes(b"")
    (tree / "latest").symlink_to("4")
    (tree / "4/newest").symlink_to("../latest/write.xo")
    for one in tree.rglob("*"):
        if not one.is_symlink():
            one.chmod(0o755 if one.is_dir() else 0o644)
    tree.chmod(0o755)
    return tree


def faults(tree: Path) -> list[str]:
    with pytest.raises(BadInputError) as error:
        application_tree.check_folder(tree)
    return [str(problem) for problem in error.value.problems]


def test_a_good_folder_is_listed(tree: Path) -> None:
    found = application_tree.check_folder(tree)
    assert found.files == {"4/write.xo": 5, "read me.txt": 0}
    assert found.aliases == {"latest": "4", "4/newest": "../latest/write.xo"}


def test_every_fault_is_told_at_once_with_what_mends_it(tree: Path) -> None:
    (tree / "4/write.xo").chmod(0o640)
    (tree / "4").chmod(0o750)
    (tree / "out").symlink_to("../../etc")
    (tree / "absolute").symlink_to(tree / "4")
    (tree / "dangling").symlink_to("5")
    (tree / "around").symlink_to("around")
    os.mkfifo(tree / "pipe")
    (tree / "text").symlink_to(os.fsdecode(b"x\xff"))
    (tree / os.fsdecode(b"latin\xe9")).touch(0o644)
    (tree / "line\nend").touch(0o644)
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tree)  # the address of a socket is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    said = "\n".join(faults(tree))
    me = "root" if ROOT else ""
    for fault in (
        f"{tree}/4/write.xo: is a file with mode 0640 of {me}",
        f"chmod o+r {tree}/4/write.xo",
        f"{tree}/4: is a folder with mode 0750 of {me}",
        f"chmod o+rx {tree}/4",
        f"{tree}/out: is a link to ../../etc, which leaves the tree",
        f"{tree}/absolute: is a link to {tree}/4, which leaves the tree",
        f"{tree}/dangling: is a link to 5, where there is nothing",
        f"{tree}/around: is a link to around, and the links lead around in a circle",
        f"{tree}/pipe: is a pipe, which cannot be published",
        f"{tree}/socket: is a socket, which cannot be published",
        "latin\\xe9: has control characters, or is not UTF-8",
        "line\\nend: has control characters",
        f"{tree}/text: is a link to ",
    ):
        assert fault in said, said
    assert said.isprintable() or "\n" in said
    assert "\udce9" not in said


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_files_of_a_user_nobody_knows_are_named_with_the_chown(tree: Path) -> None:
    os.chown(tree / "4/write.xo", SOMEBODY, 0)
    (said,) = faults(tree)
    assert f"{tree}/4/write.xo: belongs to user {SOMEBODY} (mode 0644)" in said
    assert f"chown root {tree}/4/write.xo" in said


def test_a_root_behind_a_symlink_is_named_with_what_it_really_is(
    tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "htdocs").symlink_to("activities")
    (said,) = faults(tmp_path / "htdocs")
    assert f"{tmp_path}/htdocs: is a symlink to activities" in said
    assert f"{tmp_path}/htdocs is really {tree}" in said
    (tmp_path / "srv").symlink_to(tmp_path)
    (said,) = faults(tmp_path / "srv/activities")
    assert f"{tmp_path}/srv: is a symlink to {tmp_path}" in said
    assert "does not exist" in faults(tmp_path / "none")[0]
    assert "is no folder" in faults(tree / "4/write.xo")[0]


def test_what_is_too_much_is_refused_before_it_is_listed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_FILES", 3)
    assert "has more than 3 files" in faults(tree)[-1]


def test_folders_above_must_let_our_readers_through(tmp_path: Path) -> None:
    published = tmp_path / "a/published"
    published.mkdir(parents=True)
    for one in (published, published.parent):
        one.chmod(0o755)
    above = [one for one in tmp_path.parents if not one.stat().st_mode & 1] + [tmp_path]
    stranger = Reader("www-data", SOMEBODY, frozenset())
    said = [problem.file for problem in readable.place_problems(published, [stranger])]
    assert set(said) <= {str(one) for one in above}
    before = len(said)
    published.parent.chmod(0o750)
    published.chmod(0o711)
    problems = [str(one) for one in readable.place_problems(published, [stranger])]
    assert len(problems) == before + 2
    assert f"{published.parent}: is a folder with mode 0750 of " in problems[-2]
    assert f"it keeps www-data out; chmod o+x {published.parent}" in problems[-2]
    assert f"chmod o+rx {published}" in problems[-1]
    status = published.parent.stat()
    assert Reader("x", SOMEBODY, frozenset({status.st_gid})).may(status, 1)
    assert Reader("x", status.st_uid, frozenset()).may(status, 5)
    assert not stranger.may(status, 1)
    assert readable.place_problems(tmp_path / "none", [stranger]) == []


@pytest.mark.skipif(not ROOT, reason="only root gives folders away")
def test_a_published_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, 0)
    me = Reader("root", 0, frozenset())
    (problem,) = readable.place_problems(tmp_path, [me])
    assert f"belongs to user {SOMEBODY}, who could change what is published" in problem.what
    assert problem.to_do == f"chown root {tmp_path}"
