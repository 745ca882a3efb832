"""What listings and checks say of a mirror, as bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.archive.models import TreeFile
from commonfarm.journal.models import Entry
from commonfarm.mirrors import holdings
from commonfarm.mirrors.holdings import bits_of, new_files
from commonfarm.mirrors.models import Arrival, Mirror, ScanKind
from commonfarm.mirrors.scanning import Code, Listed
from commonfarm.mirrors.scanning.values import failure
from tests.mirrors.conftest import BY_HASH, DEB, IN_RELEASE, NOW, Tree, register

pytestmark = pytest.mark.django_db

record_listing = partial(holdings.record_listing, clock=lambda: NOW)
record_check = partial(holdings.record_check, now=NOW)


def listed(tree: Tree, *paths: str) -> list[Listed]:
    return [Listed(path, len(tree.data(path)), True, None) for path in paths]


def held(mirror: Mirror) -> set[str]:
    numbers = bits_of(mirror).numbers().tolist()
    return set(TreeFile.objects.filter(pk__in=numbers).values_list("path", flat=True))


def happened() -> list[str]:
    return list(Entry.objects.order_by("id").values_list("what", flat=True))[2:]


def test_what_is_listed_with_its_size_is_held(mirror: Mirror, tree: Tree) -> None:
    scan = record_listing(
        mirror, 1, [*listed(tree, DEB, IN_RELEASE), Listed("other", 1, True, None)]
    )
    assert held(mirror) == {DEB}, "what changes in place is not known by its size"
    assert (scan.ok, scan.files_expected, scan.files_found) == (True, 2, 1)
    assert scan.missing == [BY_HASH]
    assert happened() == ["mirror scanned"]


@pytest.mark.parametrize(
    ("size", "slack", "is_held"),
    [(0, 0, True), (1, 0, False), (-1, 0, False), (1, 1, True), (-9, 8, False)],
)
def test_sizes_are_compared_as_far_as_they_are_known(
    mirror: Mirror, tree: Tree, size: int, slack: int, is_held: bool
) -> None:
    record_listing(mirror, 1, [Listed(DEB, len(tree.data(DEB)) + size, not slack, None, slack)])
    assert held(mirror) == ({DEB} if is_held else set())


def test_a_size_that_an_index_does_not_tell_is_taken_for_good(mirror: Mirror) -> None:
    record_listing(mirror, 1, [Listed(DEB, -1, False, None)])
    assert held(mirror) == {DEB}


def test_names_that_are_no_text_are_passed_over(mirror: Mirror, tree: Tree) -> None:
    record_listing(mirror, 1, [Listed("a\udcff", 1, True, None), *listed(tree, DEB)])
    assert held(mirror) == {DEB}


def test_a_listing_that_fails_changes_nothing(mirror: Mirror, tree: Tree) -> None:
    def broken() -> Iterator[Listed]:
        yield from listed(tree, BY_HASH)
        raise failure(Code.NOT_REACHED, "it hung up")

    record_listing(mirror, 1, listed(tree, DEB))
    for _ in range(2):
        scan = record_listing(mirror, 1, broken())
        assert (scan.ok, scan.problem) == (False, "it hung up")
    assert held(mirror) == {DEB}
    assert happened() == ["mirror scanned", "mirror scan failed"]
    record_listing(mirror, 1, listed(tree, DEB))
    assert happened()[2:] == ["mirror scanned"]


def test_a_mirror_with_none_of_the_files_is_told_so(mirror: Mirror) -> None:
    scan = record_listing(mirror, 1, [])
    assert (scan.ok, scan.problem) == (False, "it has none of the files")


def test_files_that_left_the_tree_fall_out(mirror: Mirror, tree: Tree) -> None:
    record_listing(mirror, 1, listed(tree, DEB, BY_HASH))
    tree.publish("pool/b.deb", removed=(DEB,))
    record_listing(mirror, 2, listed(tree, DEB, BY_HASH, "pool/b.deb"))
    assert held(mirror) == {BY_HASH, "pool/b.deb"}


def test_a_check_is_newer_than_a_listing_that_began_before(mirror: Mirror, tree: Tree) -> None:
    def slow() -> Iterator[Listed]:
        record_check(mirror, 2, [tree.number("pool/b.deb")], [tree.number(BY_HASH)])
        yield from listed(tree, DEB, BY_HASH)

    record_listing(mirror, 1, listed(tree, DEB, BY_HASH))
    tree.publish("pool/b.deb")
    record_listing(mirror, 2, slow())
    assert held(mirror) == {DEB, "pool/b.deb"}


def test_a_mirror_of_a_subtree_is_measured_by_that(tree: Tree, mirror: Mirror) -> None:
    part = register("part", tree, "http://127.0.0.1:1/", subtree="pool")
    scan = record_listing(part, 1, listed(tree, DEB)[:1])
    assert (scan.files_found, scan.files_expected) == (0, 1)
    name = DEB.removeprefix("pool/")
    scan = record_listing(part, 1, [Listed(name, len(tree.data(DEB)), True, None)])
    assert (held(part), scan.files_expected) == ({DEB}, 1)
    assert new_files(part, 1, NOW).paths == []


def test_arrivals_are_noted_once(mirror: Mirror, tree: Tree) -> None:
    def arrived() -> list[int]:
        return list(Arrival.objects.order_by("revision").values_list("revision", flat=True))

    record_listing(mirror, 1, listed(tree, DEB, BY_HASH))
    assert arrived() == [], "InRelease was not seen yet"
    record_check(mirror, 1, [tree.number(IN_RELEASE)])
    assert arrived() == [1]
    tree.publish("a", "b")
    assert new_files(mirror, 2, NOW).paths == [b"a", b"b"]
    record_check(mirror, 2, [tree.number("a")])
    assert arrived() == [1]
    record_listing(mirror, 2, listed(tree, DEB, BY_HASH, "a", "b"))
    assert arrived() == [1, 2]
    assert new_files(mirror, 2, NOW).paths == []
    record_check(mirror, 2, [tree.number("a")])
    assert arrived() == [1, 2]


def test_only_recent_revisions_of_few_files_are_asked_for(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(new_files(mirror, 1, NOW + timedelta(hours=5)).paths) == 3
    assert new_files(mirror, 1, NOW + timedelta(hours=7)).paths == []
    monkeypatch.setattr(holdings, "MOST_FOLLOWED", 2)
    assert new_files(mirror, 1, NOW).paths == []


def test_versions_of_what_changes_in_place_are_kept_while_it_is_listed(
    mirror: Mirror, tree: Tree
) -> None:
    old = tree.number(IN_RELEASE)
    record_check(mirror, 1, [old])
    tree.publish(IN_RELEASE)
    record_listing(mirror, 2, listed(tree, DEB, IN_RELEASE))
    assert old in bits_of(mirror).numbers()
    record_listing(mirror, 2, listed(tree, DEB))
    assert old not in bits_of(mirror).numbers()


def test_what_did_not_change_is_not_written(mirror: Mirror, tree: Tree) -> None:
    record_listing(mirror, 1, listed(tree, DEB))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        record_listing(mirror, 1, listed(tree, DEB))
    [update] = [one["sql"] for one in queries if 'UPDATE "mirrors_holdings"' in one["sql"]]
    assert "bits" not in update


@pytest.mark.parametrize("served", [False, True, None])
def test_a_sharp_loss_is_asked_about(mirror: Mirror, tree: Tree, served: bool | None) -> None:
    paths = [f"pool/{number}" for number in range(20)]
    tree.publish(*paths)
    asked: list[tuple[str, int]] = []

    def verify(files: Iterable[tuple[str, int]]) -> bool:
        asked.extend(files)
        if served is None:
            raise failure(Code.SERVER_ERROR, "it is down")
        return served

    record_listing(mirror, 2, listed(tree, DEB, BY_HASH, *paths), verify=verify)
    scan = record_listing(mirror, 2, listed(tree, DEB, BY_HASH, *paths[:12]), verify=verify)
    assert scan.ok and not asked, "8 files are not many"
    record_listing(mirror, 2, listed(tree, DEB, BY_HASH, *paths), verify=verify)
    scan = record_listing(mirror, 2, listed(tree, DEB, BY_HASH, *paths[:10]), verify=verify)
    assert sorted(asked) == sorted((path, len(tree.data(path))) for path in paths[10:])
    believed = served is False
    assert scan.ok is believed
    assert len(held(mirror)) == (12 if believed else 22)
    assert ("mirror lost files" in happened()) is believed


def test_scans_that_were_cut_off_are_closed_by_the_next(mirror: Mirror, tree: Tree) -> None:
    cut = holdings.start_scan(mirror, 1, ScanKind.RSYNC, "", NOW)
    assert mirror.last_scan() is None
    record_listing(mirror, 1, listed(tree, DEB))
    cut.refresh_from_db()
    assert (cut.ok, cut.finished_at, cut.problem) == (None, NOW, "the scan was cut off")


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 9))), max_size=6))
def test_holdings_are_what_was_seen_last(
    mirror: Mirror, tree: Tree, steps: list[tuple[bool, set[int]]]
) -> None:
    paths = [f"p/{number}" for number in range(10)]
    if not tree.current().filter(path=paths[0]):
        tree.publish(*paths)
    expected = held(mirror) & set(paths)
    for whole, numbers in steps:
        seen = {paths[number] for number in numbers}
        if whole:
            record_listing(mirror, tree.revision, listed(tree, *seen))
            expected = seen
        else:
            record_check(
                mirror,
                tree.revision,
                [tree.number(path) for path in seen],
                [tree.number(path) for path in expected if path > "p/5" and path not in seen],
            )
            expected = seen | {path for path in expected if path <= "p/5"}
        assert held(mirror) == expected
