"""What one offer would unlock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from commonfarm.estate import planner
from commonfarm.estate.answers.offers import Given, Offer, offer
from commonfarm.estate.cli import app
from commonfarm.estate.facts import Facts
from commonfarm.estate.placement import search
from commonfarm.estate.placement.problem import Effort, Found, Problem
from commonfarm.estate.placement.process import Solver
from commonfarm.estate.plan import Plan
from commonfarm.lib.errors import BadInputError
from tests.estate.making import TODAY, facts, host, instance, pledge

P = ParamSpec("P")
T = TypeVar("T")
SMALL: dict[str, Any] = {"cores": 1, "memory": "4 GiB"}


def solve(problem: Problem) -> Found:
    return search.solve(problem, Effort(limit=2.0))


class Here(Solver):
    """Does not start a process of its own, which takes half a second each time."""

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


def plan(estate: Facts, day: date) -> Plan:
    return planner.plan(estate, day, limit=3.0, solver=Here())


def offered(estate: list[Any], more: list[Any]) -> Offer:
    return offer(facts(*estate), facts(*estate, *more), TODAY, plan, solve)


def test_it_unlocks_what_had_no_place_until_the_offer_ends() -> None:
    found = offered(
        [instance("one", on="a", **SMALL), instance("two", **SMALL), host("a", **SMALL)],
        [
            pledge("box", "friend", start=date(2026, 2, 1), until=date(2027, 2, 1)),
            host("b", pledge="box", sponsor="friend", **SMALL),
        ],
    )
    assert found.day == date(2026, 2, 1)
    assert found.hosts == (
        Given("b", "friend", date(2026, 2, 1), date(2027, 2, 1), date(2027, 2, 1)),
    )
    assert found.unlocked == {"two/app/production/1": date(2027, 2, 1)}
    assert (found.moves, found.unplaced, found.proven, found.unlocks) == ({}, (), True, True)


def test_it_keeps_what_would_lose_its_place_and_says_until_when() -> None:
    found = offered(
        [
            pledge("old", until=date(2026, 6, 1)),
            host("a", pledge="old", sponsor="giver", **SMALL),
            instance("one", on="a", **SMALL),
        ],
        [host("b", **SMALL)],
    )
    assert found.unlocked == {}
    assert found.longer == {"one/app/production/1": (date(2026, 6, 1), None)}
    assert ("host", "a") in found.survived
    # Nothing moves as long as a is there.
    assert found.moves == {}


def test_it_survives_whose_loss_it_can_take_but_not_that_of_its_own_sponsor() -> None:
    estate = [
        pledge("loan"),
        host("a", pledge="loan", sponsor="giver", **SMALL),
        instance("one", on="a", **SMALL),
    ]
    same = offered(estate, [host("b", pledge="loan", sponsor="giver", **SMALL)])
    other = offered(estate, [host("b", **SMALL)])
    assert same.survived == (("host", "a"),)
    assert other.survived == (("host", "a"), ("sponsor", "giver"))


def test_it_says_why_the_offered_host_takes_nothing() -> None:
    found = offered(
        [
            host("a", cores=1, memory="16 GiB"),
            instance("one", on="a", **SMALL),
            instance("huge", cores=1, memory="64 GiB"),
            instance("bare", required=(("CUSTOM_BARE_METAL",),), **SMALL),
        ],
        [host("b", cores=1, memory="2 GiB")],
    )
    assert not found.unlocks
    why = {one.instance: one.reasons[0].text for one in found.unplaced}
    assert "host b has memory 2 GiB in all" in why["huge/app/production/1"]
    assert "needs bare metal and memory 4 GiB; nearest: host b" in why["bare/app/production/1"]


def test_the_best_day_of_an_offer_in_parts_is_when_most_of_it_is_there() -> None:
    found = offered(
        [instance("one", **SMALL)],
        [
            host("b", available_from=date(2026, 3, 1), **SMALL),
            host("c", available_from=date(2026, 2, 1), **SMALL),
            host("d", status="needed", available_from=date(2026, 9, 1), **SMALL),
        ],
    )
    assert found.day == date(2026, 3, 1)


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_no_offer_is_worse_than_none(data: st.DataObject) -> None:
    size = st.integers(1, 4)
    rooms = data.draw(st.lists(size, min_size=1, max_size=2), label="GiB of hosts")
    needs = data.draw(st.lists(size, min_size=1, max_size=4), label="GiB of instances")
    box = data.draw(size, label="GiB of the offer")
    estate = facts(
        *[host(f"h{n}", memory=f"{room} GiB") for n, room in enumerate(rooms)],
        *[instance(f"i{n}", memory=f"{one} GiB") for n, one in enumerate(needs)],
    )
    with_it = replace(estate, hosts={**estate.hosts, "box": host("box", memory=f"{box} GiB")})
    found = offer(estate, with_it, TODAY, plan, solve)
    without = plan(estate, TODAY).intervals[0].levels["likely"].unplaced
    assert len(found.unplaced) <= len(without)
    assert len(found.unlocked) >= len(without) - len(found.unplaced)


ESTATE = """
hosts: [{name: a, architecture: amd64, cores: 2, memory: 4 GiB}]
services:
  - name: wiki
    components:
      - name: web
        requires: {cores: 1, memory: 4 GiB}
        instances: [{on: [a]}]
      - {name: search, requires: {cores: 1, memory: 8 GiB}}
"""
BOX = """
sponsors: [{name: friend}]
pledges: [{name: box, sponsor: friend, what: a box, from: 2026-02-01, until: 2027-02-01}]
hosts: [{name: b, architecture: amd64, cores: 4, memory: 8 GiB, pledge: box, source: assumption}]
"""


def run(home: Path, estate: str, box: str, *options: str) -> Any:
    (home / "estate").mkdir()
    (home / "estate" / "estate.yaml").write_text(estate)
    (home / "box.yaml").write_text(box)
    command = ["estate", "offer", str(home / "estate"), str(home / "box.yaml")]
    return CliRunner().invoke(app, [*command, "--at", "2026-01-15", *options])


def test_the_command_says_what_until_when_and_what_is_left(tmp_path: Path) -> None:
    done = run(tmp_path, ESTATE, BOX)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:9] == [
        "host b of friend is there from 2026-02-01 on, until 2027-02-01",
        "",
        "it unlocks 1 instance from 2026-02-01 on:",
        "  wiki/search/production/1 until 2027-02-01",
        "what has a place without it then survives the loss of:",
        "  host a",
        "",
        "rests on 1 assumption:",
        f"  {tmp_path}/box.yaml:4:9: host b: architecture amd64, cores 4, memory 8 GiB, pledge box",
    ]


def test_an_offer_that_unlocks_nothing_ends_by_1_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, ESTATE, BOX.replace("8 GiB", "2 GiB"))
    assert done.exit_code == 1
    assert "it unlocks nothing: what has no place fits there neither" in done.output
    assert "nearest: host b has memory 2 GiB in all" in done.output
    other = tmp_path / "other"
    other.mkdir()
    done = run(other, ESTATE.replace("8 GiB", "1 B"), BOX, "--json")
    assert not json.loads(done.output)["unplaced"]


def test_what_is_left_for_the_same_reason_is_told_together_and_the_rest_counted(
    tmp_path: Path,
) -> None:
    parts = [
        f"      - {{name: odd{n}, requires: {{traits: {{required: [CUSTOM_{n}]}}}},"
        f" instances: [{{count: {2 if n == 5 else 1}}}]}}\n"
        for n in range(9)
    ]
    alike = "      - {name: like, requires: {cores: 1, traits: {required: [CUSTOM_5]}}}\n"
    said = run(tmp_path, ESTATE + "".join(parts) + alike, BOX).output.splitlines()
    start = said.index("without a place even so: 11 instances")
    assert said[start + 1] == "  wiki/like/production/1, wiki/odd5/production/1-2"
    assert said[start + 19] == "  and 3 more: see --full"


def test_an_offer_that_is_over_says_so(tmp_path: Path) -> None:
    done = run(
        tmp_path, ESTATE, BOX.replace("2027-02-01", "2026-01-10").replace("2026-02", "2025-02")
    )
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == (
        "host b of friend is no longer there on 2026-01-10: ask as of an earlier day, with --at"
    )


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ("services: []\n" + BOX, "box.yaml:1:1: an offer has no `services`; leave it out"),
        ("sponsors: [{name: friend}]", "box.yaml: offers no host; say which, under `hosts:`"),
        (BOX.replace("name: b,", "name: a,"), "the host a is declared already"),
        (
            BOX.replace("pledge: box", "pledge: bax"),
            "there is no pledge `bax`; did you mean `box`?",
        ),
    ],
)
def test_a_bad_offer_is_told_where_it_is_bad(tmp_path: Path, box: str, fault: str) -> None:
    error = run(tmp_path, ESTATE, box).exception
    assert isinstance(error, BadInputError)
    assert fault in str(error)


def test_a_file_of_the_estate_itself_is_no_offer(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text(ESTATE)
    command = ["estate", "offer", str(tmp_path), str(tmp_path / "estate.yaml")]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, BadInputError)
    assert "is part of the estate already" in str(error)
