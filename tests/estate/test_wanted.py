"""What to ask for so that everything has a place."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.answers.asking import Tools
from commonfarm.estate.answers.wanted import Exposed, Wanted, wanted
from commonfarm.estate.facts import HostKind, Level, Policy
from commonfarm.estate.placement import elastic, packed, search
from commonfarm.estate.placement.problem import Effort
from tests.estate.futures import network
from tests.estate.making import TODAY, facts, host, instance, pledge, site, spread

TOOLS = Tools(
    lambda problem: search.solve(problem, Effort(limit=2.0)),
    lambda problem, items, hosts, kinds: packed.pack(problem, items, hosts, kinds, 0.5),
    lambda asked: elastic.best(asked, Effort(limit=10.0)),
)


def kind(name: str, cost: int = 1, **said: Any) -> HostKind:
    said.setdefault("cores", 8)
    return HostKind(
        name, f"a {name} machine", cost, host(name, status="needed", **said), "c.yaml:1:1"
    )


def asked(*things: Any, level: Level = "likely", day: date = TODAY, **said: Any) -> Wanted:
    return wanted(facts(*things, **said), day, level, TOOLS)


def shopping(found: Wanted) -> dict[str, int]:
    return {one.kind: len(one.hosts) for one in found.additions}


SMALL: dict[str, Any] = {"cores": 1, "memory": "4 GiB"}


def test_nothing_is_wanted_where_all_has_a_place() -> None:
    found = asked(host("a", **SMALL), instance("one", **SMALL), kind("big", memory="64 GiB"))
    assert (found.missing, found.additions, found.cost, found.proven) == ((), (), 0, True)
    assert found.on == {"one/app/production/1": "a"}


def test_the_cheapest_and_then_the_fewest_are_asked_for() -> None:
    things = [instance(f"i{n}", **SMALL) for n in range(4)]
    kinds = (
        kind("one", 1, memory="4 GiB"),
        kind("two", 2, memory="8 GiB"),
        kind("all", 9, memory="16 GiB"),
    )
    found = asked(*things, *kinds)
    # Four of one would cost as little and are more hosts.
    assert (shopping(found), found.cost, found.bound, found.proven) == ({"two": 2}, 4, 4, True)
    assert found.missing == tuple(sorted(found.on))


def test_what_stands_moves_to_make_room_before_anything_is_bought() -> None:
    found = asked(
        host("a", cores=8, memory="8 GiB"),
        host("b", cores=8, memory="8 GiB"),
        instance("one", on="a", cores=1, memory="4 GiB"),
        instance("two", on="b", cores=1, memory="4 GiB"),
        instance("large", cores=1, memory="8 GiB"),
        kind("big", memory="64 GiB"),
    )
    assert (found.missing, found.additions) == ((), ())


def test_what_stands_on_the_day_alone_counts() -> None:
    things = (
        pledge("loan", until=date(2026, 6, 1)),
        host("a", pledge="loan", sponsor="giver", **SMALL),
        instance("one", on="a", **SMALL),
        kind("big", memory="64 GiB"),
    )
    assert shopping(asked(*things)) == {}
    assert shopping(asked(*things, day=date(2026, 6, 1))) == {"big": 1}


def test_high_may_take_more() -> None:
    things = (
        instance("one", cores=1, memory=("2 GiB", "4 GiB", "40 GiB")),
        instance("two", level="high", **SMALL),
        kind("small", 1, memory="4 GiB"),
        kind("big", 5, memory="64 GiB"),
    )
    assert shopping(asked(*things)) == {"small": 1}
    assert shopping(asked(*things, level="high")) == {"big": 1}


def test_what_no_kind_can_take_is_named_with_the_reason() -> None:
    found = asked(
        instance("one", **SMALL),
        instance("special", required=(("HW_CPU_X86_VMX",),), **SMALL),
        instance("huge", cores=1, memory="1 TiB"),
        kind("big", memory="64 GiB"),
    )
    assert shopping(found) == {"big": 1}
    assert found.proven
    said = {one.instance: one.reasons[0] for one in found.nowhere}
    assert list(said) == ["huge/app/production/1", "special/app/production/1"]
    assert "HW_CPU_X86_VMX" in said["special/app/production/1"].text
    assert "nearest: host big has memory 64 GiB in all" in said["huge/app/production/1"].text


def test_a_spread_wants_hosts_of_its_own() -> None:
    names = [f"web/app/production/{n}" for n in (1, 2, 3)]
    web = [instance(name, **SMALL) for name in names]
    big = kind("big", memory="64 GiB")
    assert shopping(asked(*web, big)) == {"big": 1}
    assert shopping(asked(*web, big, spread(*names))) == {"big": 3}
    assert shopping(asked(*web, big, spread(*names, at_least=2))) == {"big": 2}


def test_a_spread_over_sites_wants_another_site() -> None:
    names = ("web/app/production/1", "web/app/production/2")
    hall = site("hall")
    things = [
        hall,
        host("a", site="hall", cores=8, memory="64 GiB"),
        *[instance(name, **SMALL) for name in names],
        spread(*names, over="site"),
    ]
    found = asked(
        *things, kind("there", 1, memory="64 GiB", site="hall"), kind("else", 5, memory="4 GiB")
    )
    assert shopping(found) == {"else": 1}


def test_any_one_host_may_be_lost() -> None:
    things = [
        host("a", cores=8, memory="8 GiB"),
        host("b", cores=8, memory="8 GiB"),
        *[instance(f"i{n}", **SMALL) for n in range(4)],
        kind("two", 2, memory="8 GiB"),
        kind("one", 1, memory="4 GiB"),
    ]
    assert shopping(asked(*things)) == {}
    found = asked(*things, policy=Policy(survive=("host",)))
    # One that takes two, so that the other two survive its own loss, and theirs.
    assert (shopping(found), found.proven, found.exposed) == ({"two": 1}, True, ())


def test_what_cannot_survive_is_said() -> None:
    things = [
        site("hall"),
        host("a", site="hall", cores=8, memory="8 GiB"),
        instance("here", sites=("hall",), **SMALL),
        instance("any", **SMALL),
        kind("big", memory="64 GiB"),
    ]
    found = asked(*things, policy=Policy(survive=("site",)))
    assert shopping(found) == {"big": 1}
    assert found.exposed == (Exposed("site", "hall", ("here/app/production/1",)),)


def test_addresses_and_traffic_are_widened_where_no_host_helps() -> None:
    lan = network("lan", "hall", "192.0.2.0/30", 2)
    things = [
        site("hall", [lan], traffic="10 TB/month"),
        host("a", site="hall", cores=8, memory="64 GiB"),
        *[instance(f"i{n}", addresses={"lan": 1}, traffic="4 TB/month", **SMALL) for n in range(3)],
        kind("big", memory="64 GiB"),
    ]
    found = asked(*things)
    assert shopping(found) == {}
    assert [(one.name, one.resource, one.there, one.more, one.prefix) for one in found.wider] == [
        ("hall/lan", "addresses", 2, 1, "192.0.2.0/29"),
        ("hall", "traffic", 10 * 10**12, 2 * 10**12, None),
    ]
    # Traffic alone needs no widening: another host stands elsewhere.
    free = [instance(f"i{n}", traffic="4 TB/month", **SMALL) for n in range(3)]
    found = asked(*things[:2], *free, things[-1])
    assert (shopping(found), found.wider) == ({"big": 1}, ())


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_no_list_is_cheaper(data: st.DataObject) -> None:
    size = st.integers(1, 4)
    rooms = data.draw(st.lists(size, max_size=2), label="GiB of hosts")
    needs = data.draw(st.lists(size, min_size=1, max_size=4), label="GiB of instances")
    kinds = data.draw(st.lists(st.tuples(size, size), min_size=1, max_size=2), label="GiB, cost")
    survive = data.draw(st.booleans(), label="any host may be lost")
    alone = data.draw(st.sets(st.sampled_from(range(len(needs)))), label="dedicated")
    found = asked(
        *[host(f"h{n}", cores=8, memory=f"{room} GiB") for n, room in enumerate(rooms)],
        *[
            instance(f"i{n}", memory=f"{need} GiB", dedicated=n in alone)
            for n, need in enumerate(needs)
        ],
        *[kind(f"k{n}", cost, memory=f"{room} GiB") for n, (room, cost) in enumerate(kinds)],
        policy=Policy(survive=("host",) if survive else ()),
    )
    if found.nowhere or found.exposed:
        return
    assert found.proven
    pairs = [(need, n in alone) for n, need in enumerate(needs)]
    most = len(needs) + 1
    lists = product(range(most + 1), repeat=len(kinds))
    best = min(
        (sum(n * cost for n, (_, cost) in zip(many, kinds, strict=True)), sum(many))
        for many in lists
        if _survives([*rooms, *_bought(many, kinds)], pairs, survive)
    )
    assert (found.cost, found.hosts) == best


def _bought(many: tuple[int, ...], kinds: list[tuple[int, int]]) -> list[int]:
    return [room for n, (room, _) in zip(many, kinds, strict=True) for _ in range(n)]


def _survives(rooms: list[int], needs: list[tuple[int, bool]], survive: bool) -> bool:
    cases = [rooms]
    if survive:
        cases += [rooms[:n] + rooms[n + 1 :] for n in range(len(rooms))]
    return all(_fits([(room, "") for room in one], needs) for one in cases)


def _fits(left: list[tuple[int, str]], needs: list[tuple[int, bool]]) -> bool:
    if not needs:
        return True
    (need, alone), rest = needs[0], needs[1:]
    for n, (room, guests) in enumerate(left):
        if room >= need and not (alone and guests) and guests != "alone":
            then = [*left[:n], (room - need, "alone" if alone else "some"), *left[n + 1 :]]
            if _fits(then, rest):
                return True
    return False
