"""Why an instance has no host, in words, and what would lift it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings

from commonfarm.estate.facts import Facts, Network
from commonfarm.estate.placement.greedy import greedy
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.reasons import Why, unplaced
from commonfarm.estate.placement.words import a_host
from commonfarm.estate.timeline import stands
from commonfarm.lib.errors import Reason
from tests.estate.making import TODAY, facts, host, instance, pledge, requirement, site, spread
from tests.estate.test_search import estates

X = "x/app/production/1"


def why(estate: Facts, on: Mapping[str, str], day: date = TODAY) -> tuple[Reason, ...]:
    there = [name for name, one in estate.hosts.items() if stands(estate, one, day)]
    problem = pose(estate, there, "likely", {})
    reasons = {one.instance: one.reasons for one in unplaced(estate, problem, on, "likely", day)}
    return reasons[X]


LAN = site("s", [Network("lan", "s", "10.0.0.0/30", 1, 1, "x")], bandwidth="1 Gbit/s")


@pytest.mark.parametrize(
    ("things", "on", "told"),
    [
        (
            [host("a"), host("b", architecture="s390x"), instance("x", architectures=("arm64",))],
            {},
            (
                "architecture: needs architecture arm64; nearest: host a is amd64 and has all"
                " else, as b; a host with architecture arm64"
            ),
        ),
        (
            [
                host("a", traits=["CUSTOM_A"]),
                instance("x", required=(("CUSTOM_A",), ("CUSTOM_BARE_METAL", "CUSTOM_B"))),
            ],
            {},
            (
                "traits: needs bare metal or CUSTOM_B; nearest: host a lacks bare metal or CUSTOM_B"
                " and has all else; bare metal or CUSTOM_B on a or another host"
            ),
        ),
        (
            [host("a", traits=["CUSTOM_A"]), instance("x", forbidden=("CUSTOM_A",))],
            {},
            (
                "forbidden-traits: needs a host without CUSTOM_A; nearest: host a has CUSTOM_A"
                " and has all else; a host without CUSTOM_A"
            ),
        ),
        (
            [LAN, host("a", site="s"), instance("x", sites=("t", "u"))],
            {},
            "site: needs site t or u; nearest: host a is at s and has all else; a host at t or u",
        ),
        (
            [LAN, host("a", site="s"), instance("x", addresses={"wan": 1})],
            {},
            (
                "no-network: needs network wan; nearest: host a is at s, which has no such"
                " network and has all else; network wan at s"
            ),
        ),
        (
            [
                host("small", memory="32 GiB"),
                host("a", memory="48 GiB"),
                instance("x", memory="64 GiB"),
            ],
            {},
            (
                "too-large: needs memory 64 GiB; nearest: host a has memory 48 GiB in all; a host"
                " with memory 64 GiB"
            ),
        ),
        (
            [
                host("a", memory="8 GiB"),
                host("b", memory="8 GiB"),
                instance("x", memory="6 GiB"),
                instance("y", memory="1 GiB"),
                instance("z", memory="4 GiB"),
                instance("w", memory="7 GiB"),
            ],
            {"y": "a", "z": "a", "w": "b"},
            (
                "no-room: needs memory 6 GiB; nearest: host a has memory 3 GiB free; memory 3 GiB"
                " more on a"
            ),
        ),
        (
            [
                host("a", memory="8 GiB"),
                instance("x", memory="6 GiB", priority=2),
                instance("z", memory="4 GiB"),
            ],
            {"z": "a"},
            (
                "no-room: needs memory 6 GiB; nearest: host a has memory 4 GiB free; memory 2 GiB"
                " more on a, or z/app/production/1 elsewhere"
            ),
        ),
        (
            [
                host("a", memory="8 GiB"),
                host("b", memory="4 GiB"),
                instance("x", memory="8 GiB"),
                instance("z", memory="4 GiB"),
            ],
            {"z": "a"},
            (
                "no-room: needs memory 8 GiB; nearest: host a has memory 4 GiB free; memory 4 GiB"
                " more on a, or z/app/production/1 elsewhere"
            ),
        ),
        (
            [
                host("a", cores=64, memory="128 GiB", disk="4 TiB"),
                host("b", cores=8, memory="128 GiB", disk="4 TiB"),
                instance("x", cores=64, memory="128 GiB", disk="2 TiB"),
                instance("y", cores=33, memory="1 GiB", disk="1 TiB"),
            ],
            {"y": "a"},
            (
                "hosts-taken: the only host that could take it, a, is too full; a host with cores"
                " 64, disk 2 TiB and memory 128 GiB"
            ),
        ),
        (
            [
                LAN,
                host("a", site="s", cores=4, traits=["CUSTOM_BARE_METAL"]),
                host("b", site="s", cores=8),
                instance(
                    "x",
                    cores=4,
                    dedicated=True,
                    required=(("CUSTOM_BARE_METAL",), ("CUSTOM_VIRTUALISATION",)),
                    addresses={"lan": 1},
                ),
                instance("y"),
                instance("z"),
            ],
            {"y": "a", "z": "b"},
            (
                "dedicated: needs a host of its own and virtualisation; nearest: host a has"
                " y/app/production/1 and lacks virtualisation; a host of its own in network lan"
                " with cores 4 that has bare metal and virtualisation"
            ),
        ),
        (
            [
                LAN,
                host("a", site="s"),
                instance("x", addresses={"lan": 1}),
                instance("y", addresses={"lan": 1}),
            ],
            {"y": "a"},
            (
                "addresses-used-up: needs 1 address; nearest: host a shares network s/lan, which"
                " has 0 addresses left; 1 address more in network s/lan"
            ),
        ),
        (
            [
                LAN,
                host("a", site="s"),
                instance("x", bandwidth="800 Mbit/s"),
                instance("y", bandwidth="400 Mbit/s"),
            ],
            {"y": "a"},
            (
                "site-used-up: needs bandwidth 800 Mbit/s; nearest: host a shares site s, which has"
                " bandwidth 600 Mbit/s left; bandwidth 200 Mbit/s more in site s"
            ),
        ),
        (
            [host("a"), instance("x", dedicated=True), instance("y")],
            {"y": "a"},
            (
                "hosts-taken: needs a host of its own; the only host that could take it, a, is"
                " taken; a host of its own"
            ),
        ),
        (
            [
                *[host(name, cores=2) for name in "abcde"],
                instance("x", cores=1),
                *[instance(f"y{name}", dedicated=True) for name in "abcde"],
            ],
            {f"y{name}": name for name in "abcde"},
            (
                "hosts-taken: all 5 hosts that could take it are taken: a, b, c and 2 more; a host"
                " with cores 1"
            ),
        ),
        (
            [
                LAN,
                host("a", site="s"),
                instance("x"),
                instance("y"),
                spread(X, "y/app/production/1", over="site"),
            ],
            {"y": "a"},
            (
                "spread: needs to be spread over sites; nearest: host a is in site s, which has"
                " y/app/production/1 and at most 1 may be in one (services.yaml:9:1); room in"
                " another site, or `should` for `must` at services.yaml:9:1"
            ),
        ),
        (
            [
                host("a", memory="48 GiB"),
                instance("x", memory="64 GiB", required=(("CUSTOM_BARE_METAL",),)),
            ],
            {},
            (
                "traits: needs bare metal and memory 64 GiB; nearest: host a lacks bare metal and"
                " has memory 48 GiB in all; a host with memory 64 GiB that has bare metal"
            ),
        ),
        (
            [pledge("loan", until=date(2026, 1, 10)), host("a", pledge="loan"), instance("x")],
            {},
            "no-host: no host stands on 2026-01-15; a host, or a pledge that lasts longer",
        ),
        ([instance("x")], {}, "no-host: no host stands on 2026-01-15; a host"),
        (
            [host("a", available_from=date(2026, 3, 1)), instance("x")],
            {},
            "no-host: no host stands on 2026-01-15; a host, or one that comes sooner",
        ),
        (
            [
                pledge("old", until=date(2026, 1, 1)),
                pledge("late", until=date(2026, 1, 10)),
                host("a", pledge="old"),
                host("b", pledge="late"),
                host("c", architecture="arm64"),
                instance("x", architectures=("amd64",)),
            ],
            {},
            (
                "host-not-there: host b would take it and is there until 2026-01-10 only (pledge"
                " late); pledge late beyond 2026-01-10"
            ),
        ),
        (
            [
                pledge("loan", until=date(2026, 1, 10)),
                host("a", pledge="loan"),
                host("b", architecture="arm64"),
                instance("x", architectures=("amd64",)),
            ],
            {},
            (
                "host-not-there: host a would take it and is there until 2026-01-10 only (pledge"
                " loan); pledge loan beyond 2026-01-10"
            ),
        ),
        (
            [
                host("a", available_from=date(2026, 3, 1)),
                host("b", architecture="arm64"),
                instance("x", architectures=("amd64",)),
            ],
            {},
            "host-not-there: host a would take it and comes on 2026-03-01; a before 2026-03-01",
        ),
        (
            [
                host("a", status="needed"),
                host("b", architecture="arm64"),
                instance("x", architectures=("amd64",)),
            ],
            {},
            "host-not-there: host a would take it and is not there: it is only needed; host a",
        ),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_the_nearest_reason(things: list[Any], on: dict[str, str], told: str) -> None:
    first, *_ = why(facts(*things), {f"{k}/app/production/1": v for k, v in on.items()})
    assert f"{first.code}: {first}" == told


def test_all_ways_out_are_told_the_nearest_first() -> None:
    reasons = why(
        facts(
            host("full", memory="8 GiB"),
            host("arm", memory="8 GiB", architecture="arm64"),
            host("small", memory="2 GiB"),
            host("both", memory="2 GiB", architecture="arm64"),
            instance("x", memory="4 GiB", architectures=("amd64",)),
            instance("y", memory="6 GiB"),
        ),
        {"y/app/production/1": "full"},
    )
    assert [one.code for one in reasons] == [Why.NO_ROOM, Why.TOO_LARGE, Why.ARCHITECTURE]


def test_what_could_go_elsewhere_comes_after_what_takes_no_place_from_another() -> None:
    first, second = why(
        facts(
            host("a", memory="8 GiB", cores=4),
            host("b", memory="2 GiB"),
            instance("x", memory="8 GiB", cores=2, dedicated=True),
            instance("y", memory="1 GiB"),
        ),
        {"y/app/production/1": "a"},
    )
    assert first.lifted_by == "a host of its own with cores 2 and memory 8 GiB"
    assert second.code == Why.DEDICATED
    assert second.lifted_by == "y/app/production/1 elsewhere"


def test_instances_alike_share_their_reasons() -> None:
    estate = facts(
        host("a", cores=1), *[instance(f"x/app/production/{n}", cores=2) for n in (1, 2)]
    )
    found = unplaced(estate, pose(estate, ["a"], "likely", {}), {}, "likely", TODAY)
    assert found[0].reasons is found[1].reasons


@settings(max_examples=60, deadline=None)
@given(estates())
def test_whatever_is_left_out_has_a_reason_of_the_closed_set_and_what_would_lift_it(
    estate: Facts,
) -> None:
    problem = pose(estate, list(estate.hosts), "likely", {})
    for one in unplaced(estate, problem, greedy(problem, {}).on, "likely", TODAY):
        assert one.reasons
        for reason in one.reasons:
            assert Why(reason.code)
            assert reason.text
            assert reason.lifted_by


def test_a_host_is_told_with_all_that_it_must_be() -> None:
    need = requirement(memory="4 GiB", sites=("s", "t"), addresses={"v6": 2, "lan": 1})
    assert a_host(need, "likely") == "a host at s or t in networks lan and v6 with memory 4 GiB"
    assert a_host(requirement(), "likely") == "a host"
