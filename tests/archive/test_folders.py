"""Published folders: aliases, files that take the place of folders, and nothing beside."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.archive import folders
from commonfarm.archive.folders import Change
from commonfarm.archive.releases import going_public, rules
from commonfarm.lib.config import Config
from commonfarm.store.interface import put_bytes
from tests.archive.releases import Releases, content

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
LINK = "->"


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str]:
    """A tree without conflicts: by path the text of a file, or what an alias leads to."""
    found: dict[str, str] = {}
    for path in draw(st.lists(PATHS, max_size=6, unique=True)):
        if {path, *rules.folders_of(path)} & found.keys():
            continue
        if any(other.startswith(f"{path}/") for other in found):
            continue
        target = draw(PATHS)
        alias = draw(st.booleans()) and not f"{target}/".startswith(f"{path}/")
        found[path] = LINK + target if alias else draw(st.sampled_from("xyz"))
    return found


def between(old: dict[str, str], new: dict[str, str], hashes: dict[str, str]) -> Change:
    come = {path: what for path, what in new.items() if old.get(path) != what}
    return Change(
        {path: hashes[what] for path, what in come.items() if not what.startswith(LINK)},
        {path: what[2:] for path, what in come.items() if what.startswith(LINK)},
        [path for path in old if old[path] != new.get(path)],
    )


@pytest.mark.django_db
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(old=trees(), middle=trees(), new=trees())
def test_any_folder_becomes_any_other(
    installation: Config,
    tmp_path_factory: pytest.TempPathFactory,
    old: dict[str, str],
    middle: dict[str, str],
    new: dict[str, str],
) -> None:
    hashes = {text: put_bytes(text.encode()).sha256 for text in "xyz"}
    outside = tmp_path_factory.mktemp("f")
    folder = outside / "tree"
    folder.mkdir()
    (outside / "a").write_text("not ours")
    for before, after in (({}, old), (old, middle), (middle, new)):
        folders.apply(folder, between(before, after, hashes))
    folders.apply(folder, between(middle, new, hashes))  # as after a kill
    expected = {
        path: what[2:] if what.startswith(LINK) else hashes[what] for path, what in new.items()
    }
    assert content(folder) == expected
    assert (outside / "a").read_text() == "not ours"


def test_a_link_that_was_slipped_in_is_not_written_through(
    releases: Releases, tmp_path: Path
) -> None:
    for number in range(3):
        releases.published({f"v{number}/a": "a"})
    (past, *_) = folders._past(releases.tree, 3)
    (past / "v9").symlink_to(tmp_path)
    releases.published({"v9/evil": "x"})
    assert releases.seen.readlink() == Path("sugar.r4")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_become_a_link_and_a_link_a_folder(releases: Releases) -> None:
    releases.tree.grace_seconds = 0
    releases.tree.save()
    first = releases.published({"v1/a": "a", "old/b": "b"}, {"latest": "v1"})
    releases.published({"c": "c"})
    releases.published({"d": "d"})
    going_public.withdraw(first, who="user:anna", why="moved")
    releases.work()
    releases.published({"latest/e": "e"}, {"old": "latest", "v1": "latest"})
    for number in range(4):
        releases.published({f"n{number}": "n"})
    assert (releases.seen / "old/e").read_text() == "e"
    assert not (releases.seen / "latest").is_symlink()
    assert (releases.seen / "v1").is_symlink()
