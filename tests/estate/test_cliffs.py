"""What breaks when machines go."""

from __future__ import annotations

import json
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from commonfarm.cli.main import app
from commonfarm.estate import planner
from commonfarm.estate.answers.cliffs import Cliffs, Loss, cliffs
from commonfarm.estate.facts import Facts, Site
from commonfarm.estate.placement import search
from commonfarm.estate.placement.problem import Effort, Found, Problem
from commonfarm.estate.verbs.wording import instances
from tests.estate.making import TODAY, facts, host, instance, pledge, spread


def solve(problem: Problem) -> Found:
    return search.solve(problem, Effort(limit=2.0))


def found(*things: Any, **said: Any) -> Cliffs:
    estate: Facts = facts(*things, **said)
    return cliffs(estate, planner.plan(estate, TODAY, limit=3.0), solve)


def of(losses: tuple[Loss, ...], who: str, name: str) -> Loss:
    (one,) = [one for one in losses if (one.who, one.name) == (who, name)]
    return one


SMALL: dict[str, Any] = {"cores": 1, "memory": "4 GiB"}


def test_what_has_room_elsewhere_moves_and_what_has_none_is_lost() -> None:
    answer = found(
        host("a", cores=4, memory="8 GiB"),
        host("b", cores=4, memory="4 GiB"),
        host("c", cores=4, memory="8 GiB"),
        instance("one", on="a", priority=5, **SMALL),
        instance("two", on="a", priority=3, **SMALL),
        instance("three", on="c", **SMALL),
    )
    both = of(answer.today, "host", "a")
    assert both.displaced == ("one/app/production/1", "two/app/production/1")
    assert (both.lost, both.weight) == ((), 0)
    assert sorted(both.moves.values()) == ["b", "c"]
    assert of(answer.today, "host", "b").moves == {}
    assert answer.ends == ()


def test_the_weightiest_stay_and_the_largest_loss_comes_first() -> None:
    answer = found(
        host("a", cores=4, memory="8 GiB"),
        host("b", cores=4, memory="4 GiB"),
        instance("dear", on="a", priority=5, **SMALL),
        instance("cheap", on="b", priority=1, **SMALL),
        instance("middling", on="a", priority=3, **SMALL),
    )
    first, second = [one for one in answer.today if one.who == "host"]
    assert (first.name, first.lost, first.weight) == (
        "a",
        ("middling/app/production/1", "cheap/app/production/1"),
        4,
    )
    assert (second.name, second.lost) == ("b", ("cheap/app/production/1",))
    assert first.proven and second.proven


def test_a_sponsor_a_site_and_the_only_administrator_take_all_of_theirs_along() -> None:
    hall = Site("hall", "hall", {}, {}, ("anna",), None, "sites.yaml:1:1")
    answer = found(
        hall,
        pledge("loan", "giver"),
        host("a", site="hall", pledge="loan", sponsor="giver", **SMALL),
        host("b", site="hall", administrators=("anna", "bert"), **SMALL),
        host("c", **SMALL),
        instance("one", on="a", **SMALL),
        instance("two", on="b", **SMALL),
    )
    assert of(answer.today, "sponsor", "giver").hosts == ("a",)
    assert of(answer.today, "site", "hall").hosts == ("a", "b")
    assert len(of(answer.today, "site", "hall").lost) == 1
    # Bert can get into b as well.
    assert of(answer.today, "administrator", "anna").hosts == ("a",)
    assert not [one for one in answer.today if one.name == "bert"]


def test_what_had_no_host_before_is_not_lost() -> None:
    answer = found(
        host("a", **SMALL), instance("one", on="a", **SMALL), instance("large", memory="64 GiB")
    )
    assert of(answer.today, "host", "a").lost == ("one/app/production/1",)
    assert answer.unplaced == ("large/app/production/1",)


def test_the_command_does_not_say_that_all_has_room_where_some_have_none(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text("""
hosts: [{name: a, architecture: amd64, cores: 2, memory: 4 GiB, source: assumption}]
services:
  - name: large
    components: [{name: app, requires: {memory: 64 GiB}, instances: [{on: [a]}]}]
""")
    said = CliRunner().invoke(app, ["estate", "cliff", str(tmp_path)]).output.splitlines()
    others = "all the others have room"
    assert said[:7] == [
        "1 instance has no room as it is, and so nothing to lose: `estate plan` says why",
        "  large/app/production/1",
        "",
        f"whatever one sponsor, site, host or administrator vanished today, {others}",
        "nothing is placed on: host a",
        "room is what is counted here; what was not backed up is lost with its host",
        "",
    ]
    shown = json.loads(CliRunner().invoke(app, ["estate", "cliff", str(tmp_path), "--json"]).output)
    assert shown["unplaced"] == ["large/app/production/1"]
    assert [one["where"] for one in shown["assumptions"]] == ["estate.yaml:2:9"]


def test_the_command_tells_moves_by_host_and_what_makes_room(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text("""
hosts:
  - {name: a, architecture: amd64, cores: 12, memory: 16 GiB}
  - {name: b, architecture: amd64, cores: 12, memory: 16 GiB}
services:
  - name: wiki
    components:
      - name: web
        requires: {cores: 1, memory: 1 GiB}
        instances: [{count: 12, on: [a, a, a, a, a, a, a, a, a, a, a, a]}]
      - name: test
        requires: {cores: 4, memory: 1 GiB}
        instances: [{on: [b], priority: 1}]
""")
    said = CliRunner().invoke(app, ["estate", "cliff", str(tmp_path)]).output.splitlines()
    start = said.index("  host a")
    assert said[start + 1 : start + 5] == [
        "    1 instance without a host: wiki/test/production/1",
        "      that makes room for what weighs more",
        "    12 moves",
        "      to b: wiki/web/production/1-12",
    ]


def test_of_many_losses_the_largest_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    pledges = [
        f"  - {{name: p{n}, sponsor: s, what: x, from: 2025-01-01, until: {2030 + n}-01-01}}"
        for n in range(14)
    ]
    hosts = [f"  - {{name: h{n}, architecture: amd64, cores: 2, pledge: p{n}}}" for n in range(14)]
    on = ", ".join(f"h{n}" for n in range(14))
    lines = ["sponsors: [{name: s}]", "pledges:", *pledges, "hosts:", *hosts]
    lines += ["services: [{name: s, components: [{name: c, requires: {cores: 1, dedicated: true},"]
    lines += [f"  instances: [{{count: 14, on: [{on}]}}]}}]}}]"]
    (tmp_path / "estate.yaml").write_text("\n".join(lines))

    def told(*options: str) -> list[str]:
        command = ["estate", "cliff", str(tmp_path), "--at", "2026-01-15", *options]
        return CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()

    short = told()
    assert len([one for one in short if " ends: host" in one]) == 12
    assert [one for one in short if "more: see" in one] == [
        "  and 2 more: see --full",
        "  and 3 more: see --full",
    ]
    full = told("--full")
    assert len([one for one in full if " ends: host" in one]) == 14
    assert not [one for one in full if "more: see" in one]


def test_many_instances_are_counted_one_by_one_though_told_in_rows() -> None:
    names = [f"a/b/c/{n}" for n in (10, 9, 2, 1, 4)] + ["d/e/f/7"]
    assert instances(names, full=False, most=2) == "a/b/c/1-2, a/b/c/4 and 3 more"
    assert instances(names, full=True, most=2) == "a/b/c/1-2, a/b/c/4, a/b/c/9-10, d/e/f/7"


def test_the_ends_of_pledges_come_in_the_order_of_days() -> None:
    answer = found(
        pledge("open"),
        pledge("noticed", "other", notice_given_on=date(2025, 12, 1)),
        pledge("later", "other", start=date(2026, 2, 1), until=date(2026, 6, 1)),
        pledge("over", "other", until=date(2026, 1, 1)),
        pledge("empty", "other", until=date(2026, 6, 1)),
        host("a", pledge="open", sponsor="giver", **SMALL),
        host("b", pledge="noticed", sponsor="other", **SMALL),
        host("c", pledge="later", sponsor="other", **SMALL),
        host("d", pledge="over", sponsor="other", **SMALL),
        instance("one", on="a", **SMALL),
        instance("two", on="b", **SMALL),
    )
    assert [(one.name, one.on, one.certain) for one in answer.ends] == [
        ("noticed", date(2026, 3, 1), True),
        ("open", date(2026, 4, 15), False),
        ("later", date(2026, 6, 1), True),
    ]
    noticed, still, later = answer.ends
    assert noticed.moves == {"two/app/production/1": "c"}
    assert (still.lost, still.displaced) == (("one/app/production/1",), ("one/app/production/1",))
    # By then two is on c, and b, where it ran, is gone.
    assert (later.displaced, later.lost) == (("two/app/production/1",), ("two/app/production/1",))


def test_a_spread_holds_after_a_loss_as_well() -> None:
    names = ("web/app/production/1", "web/app/production/2")
    answer = found(
        host("a", **SMALL),
        host("b", cores=4, memory="16 GiB"),
        instance(names[0], on="a", **SMALL),
        instance(names[1], on="b", **SMALL),
        spread(*names),
    )
    assert of(answer.today, "host", "a").lost == (names[0],)


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_what_is_lost_is_the_least_and_who_loses_more_hosts_loses_no_less(
    data: st.DataObject,
) -> None:
    size = st.integers(1, 4)
    rooms = data.draw(st.lists(size, min_size=2, max_size=3), label="GiB of hosts")
    needs = data.draw(st.lists(size, min_size=1, max_size=4), label="GiB of instances")
    hosts = [
        host(f"h{n}", sponsor=data.draw(st.sampled_from("xy")), memory=f"{room} GiB")
        for n, room in enumerate(rooms)
    ]
    estate = facts(*hosts, *[instance(f"i{n}", memory=f"{one} GiB") for n, one in enumerate(needs)])
    plan = planner.plan(estate, TODAY, limit=3.0)
    on = plan.intervals[0].levels["likely"].on
    answer = cliffs(estate, plan, solve)
    for one in answer.today:
        kept = [room for n, room in enumerate(rooms) if f"h{n}" not in one.hosts]
        sizes = [need for n, need in enumerate(needs) if f"i{n}/app/production/1" in on]
        assert len(sizes) - len(one.lost) == _most_that_fit(kept, sizes)
    for small in answer.today:
        for large in answer.today:
            if set(small.hosts) < set(large.hosts):
                assert small.weight <= large.weight


def _most_that_fit(rooms: list[int], sizes: list[int]) -> int:
    """Return how many of `sizes` fit, by trying all of them."""

    def fits(left: list[int], chosen: tuple[int, ...]) -> bool:
        if not chosen:
            return True
        first, rest = chosen[0], chosen[1:]
        return any(
            fits([*left[:n], room - first, *left[n + 1 :]], rest)
            for n, room in enumerate(left)
            if room >= first
        )

    for many in range(len(sizes), 0, -1):
        if any(fits(rooms, chosen) for chosen in combinations(sizes, many)):
            return many
    return 0
