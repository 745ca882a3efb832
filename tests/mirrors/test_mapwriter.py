"""From what scans saw to who has what."""

from __future__ import annotations

from dataclasses import replace

from commonfarm.mirrors.mapwriter import MirrorFact, TreeFileFact, compile_map, digest_of
from commonfarm.redirector.mirror_map import parse, serialise

NORTH = MirrorFact("north", "demo", "http://north/", "DE", "", 3, frozenset(), ["8.8.8.8", "::1"])
FILES = [TreeFileFact("pool/a", 1, 1), TreeFileFact("pool/b", 2, 3), TreeFileFact("pool/c", 3, 4)]


def having(*facts: MirrorFact) -> dict[str, set[str]]:
    the_map = compile_map(facts, {"demo": FILES})
    return {
        path: {the_map.mirrors[number].name for number in file.mirrors}
        for path, file in the_map.trees["demo"].items()
    }


def test_a_mirror_has_what_its_scan_looked_for_and_found() -> None:
    assert having(NORTH) == {"pool/a": {"north"}, "pool/b": {"north"}, "pool/c": set()}
    assert having(replace(NORTH, missing=frozenset({"pool/a"})))["pool/a"] == set()
    assert having(replace(NORTH, revision=2))["pool/b"] == set()


def test_a_mirror_with_a_problem_has_nothing_but_stays_in_the_map() -> None:
    down = replace(NORTH, problem="down: gone")
    assert having(down) == {"pool/a": set(), "pool/b": set(), "pool/c": set()}
    assert [one.problem for one in compile_map([down], {}).mirrors] == ["down: gone"]


def test_mirrors_of_one_tree_do_not_serve_another() -> None:
    other = replace(NORTH, name="other", tree="else")
    the_map = compile_map([other, NORTH], {"demo": FILES, "else": FILES})
    for tree, files in the_map.trees.items():
        for file in files.values():
            assert all(the_map.mirrors[number].tree == tree for number in file.mirrors)
    assert parse(serialise(the_map)) == the_map


def test_addresses_tell_family_and_reach() -> None:
    [mirror] = compile_map([NORTH], {}).mirrors
    assert (mirror.families, mirror.local) == (frozenset({4, 6}), False)
    [mirror] = compile_map([replace(NORTH, addresses=["127.0.0.1"])], {}).mirrors
    assert (mirror.families, mirror.local) == (frozenset({4}), True)


def test_the_same_content_has_the_same_digest_whatever_the_order_and_date() -> None:
    south = replace(NORTH, name="south")
    one = compile_map([NORTH, south], {"demo": FILES})
    two = compile_map([south, NORTH], {"demo": list(reversed(FILES))})
    assert digest_of(one) == digest_of(replace(two, generation=9, written_at="later"))
    assert digest_of(one) != digest_of(compile_map([NORTH], {"demo": FILES}))
