"""What paths and links may be: pure rules, tried with whatever there may be."""

from __future__ import annotations

import os
import posixpath
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.archive.releases import history, rules

NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(st.text(max_size=60))
def test_a_good_path_stays_below_its_tree(path: str) -> None:
    if rules.path_problem(path) is None:
        joined = posixpath.normpath(posixpath.join("/tree", path))
        assert joined == f"/tree/{path}"
        assert joined.startswith("/tree/")
        assert path.isprintable() or any(not letter.isprintable() for letter in path)
        assert "\0" not in path
        path.encode()
    else:
        assert rules.shown_path(path).isprintable()


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("", "no path below"),
        ("/etc", "no path below"),
        ("a/../b", "`..`"),
        ("a/", "an empty part"),
        ("./a", "`.`"),
        ("a\tb", "control characters"),
        ("a\x9bb", "control characters"),
        (os.fsdecode(b"\xff"), "not UTF-8"),
        ("ä" * 501, "longer than 1000 bytes"),
        ("ä" * 121, "a name of more than 240 bytes"),
    ],
)
def test_bad_paths_are_told_by_what_is_wrong(path: str, fault: str) -> None:
    problem = rules.path_problem(path)
    assert problem is not None
    assert fault in problem.what


@pytest.mark.parametrize("path", [".treeinfo", "a b/c", "ä/ö.iso", "a%2fb", "x" * 240, "a\\b"])
def test_odd_but_good_paths_are_taken(path: str) -> None:
    assert rules.path_problem(path) is None


@given(st.sets(PATHS, max_size=12))
def test_what_does_not_conflict_can_lie_in_folders(paths: set[str]) -> None:
    parents = {str(one) for path in paths for one in PurePosixPath(path).parents} - {"."}
    assert rules.all_folders(paths) == parents
    found = rules.conflicts(paths, set())
    assert len(found) == len(parents & paths)


@given(PATHS, st.lists(st.sampled_from(["..", ".", "a", "b"]), min_size=1, max_size=6))
def test_a_link_leads_where_the_file_system_says_or_is_refused(path: str, parts: list[str]) -> None:
    text = "/".join(parts)
    target = rules.target_of(path, text)
    real = posixpath.normpath(posixpath.join("/tree", posixpath.dirname(path), text))
    if target is None:
        assert not real.startswith("/tree/") or text.count("..") > path.count("/")
    else:
        assert real == f"/tree/{target}"
        again = rules.link_text(path, target)
        assert rules.target_of(path, again) == target


@given(st.dictionaries(PATHS, PATHS, max_size=6), PATHS)
def test_links_are_followed_to_their_end_or_found_to_loop(
    aliases: dict[str, str], path: str
) -> None:
    final = rules.follow(path, aliases)
    if final is not None:
        assert rules.follow(final, aliases) == final
        assert not {final, *rules.folders_of(final)} & aliases.keys()


def test_a_folder_is_not_put_into_itself() -> None:
    texts = {"a/b": ".", "a/c": "..", "top": "."}
    aliases = {"a/b": "a"}
    said = [problem.what for problem in rules.alias_problems(texts, aliases, set())]
    assert any("a folder that holds it" in one or "circle" in one for one in said[:1])
    assert "leaves the tree" in said[1]
    assert "leaves the tree" in said[2]


def test_patterns_go_over_folders() -> None:
    assert rules.changes("doc/a/b.html", ["doc/*.html"])
    assert not rules.changes("doc/a/b.txt", ["doc/*.html"])
    assert rules.changes("debian/dists/bookworm/Release", [])


def test_no_more_faults_are_told_than_a_person_reads() -> None:
    problem = rules.path_problem("/")
    assert problem is not None
    said = rules.told([problem] * 1000)
    assert len(said) == rules.MOST_TOLD + 1
    assert said[-1].what == "and 800 more faults"


CONTENT = st.dictionaries(PATHS, st.tuples(st.sampled_from("xyz"), st.integers(1, 9)), max_size=6)
LINKS = st.dictionaries(PATHS, PATHS, max_size=4)


@given(CONTENT, CONTENT, LINKS, LINKS)
def test_a_difference_leads_from_one_to_the_other(
    old: dict[str, tuple[str, int]],
    new: dict[str, tuple[str, int]],
    old_links: dict[str, str],
    new_links: dict[str, str],
) -> None:
    found = history.compare(history.Contents(old, old_links), history.Contents(new, new_links))
    made = {path: what for path, what in old.items() if path not in found.gone}
    made |= {path: new[path] for path in (*found.new, *found.changed)}
    assert {path: what[0] for path, what in made.items()} == {
        path: what[0] for path, what in new.items()
    }
    links = old_links | {path: target for path, (_, target) in found.aliases.items()}
    assert {path: target for path, target in links.items() if target} == new_links
    assert found.bytes_new == sum(new[path][1] for path in (*found.new, *found.changed))
    back = history.compare(history.Contents(new, new_links), history.Contents(old, old_links))
    assert (back.new, back.gone, back.changed) == (found.gone, found.new, found.changed)
    assert bool(found) == bool(back)
