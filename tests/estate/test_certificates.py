"""Any certificate proves a bound that holds, and a plan with one thing changed is found out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.facts import LEVELS, Facts, Host, Instance
from commonfarm.estate.placement.bounds import certify
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.plan import Certificate, Placed, Plan, Row, Unplaced
from commonfarm.estate.proof import bound, faults
from commonfarm.estate.verifier import violations
from tests.estate.plans import UNKNOWN, answer, assignments, leaving, plan, safe_until, supply
from tests.estate.small_estates import NETWORK, estates, feasible

Draw = Callable[[st.SearchStrategy[Any]], Any]


def limits(estate: Facts) -> dict[tuple[str, str, str], int]:
    """Return every limit that a row can be of, said once more in the plainest way."""
    found: dict[tuple[str, str, str], int] = {}
    for name, one in estate.hosts.items():
        for key in ("cores", "memory", "isolated_cores"):
            found["host", name, key] = one.room(key) or 0
    found["site", "here", "bandwidth"] = estate.sites["here"].limits["bandwidth"]
    attached = [one for one in estate.hosts.values() if "build" in one.networks]
    taken = sum(one.site == "here" for one in attached)
    found["network", "here/build", "addresses"] = max(0, NETWORK.capacity - taken)
    for number, rule in enumerate(estate.spreads):
        if rule.must and rule.at_most is not None:
            for one in estate.hosts.values():
                limit = ("spread", f"{number} {one.domain(rule.over)}", "instances")
                found[limit] = rule.at_most
    return found


def takes(estate: Facts, row: Row, one: Instance, place: Host) -> int:
    """Return what an instance takes of a row on a host."""
    need = one.requirement
    match row.scope:
        case "host" if row.name == place.name:
            if need.dedicated:
                return limits(estate)["host", row.name, row.resource]
            return place.takes(need.at("likely")).get(row.resource, 0)
        case "site" if row.name == place.site:
            return need.at("likely").get(row.resource, 0)
        case "network" if place.site == "here":
            return need.addresses.get("build", 0)
        case "spread":
            number, _, domain = row.name.partition(" ")
            rule = estate.spreads[int(number)]
            return int(one.name in rule.instances and place.domain(rule.over) == domain)
    return 0


def plainly(estate: Facts, certificate: Certificate) -> int:
    """Return the bound by the words of the certificate's docstring, one host after the other."""
    total = sum(
        row.multiplier * (limits(estate)[row.scope, row.name, row.resource] // row.divisor)
        for row in certificate.rows
    )
    for one in estate.instances.values():
        best = [0]
        for place in estate.hosts.values():
            if feasible(estate, {one.name: place.name}):
                amounts = ((row, takes(estate, row, one, place)) for row in certificate.rows)
                asked = sum(row.multiplier * (amount // row.divisor) for row, amount in amounts)
                best.append(certificate.scale * one.priority - asked)
        total += max(best)
    # No placement weighs anything between two multiples of this.
    unit = math.gcd(*(one.priority for one in estate.instances.values()))
    return total // certificate.scale // unit * unit


@st.composite
def certificates(draw: st.DrawFn, estate: Facts) -> Certificate:
    """Draw rows of limits there are, times whatever."""
    rows = []
    for scope, name, resource in sorted(limits(estate)):
        sizes = {"memory": 2**30, "bandwidth": 10**9}.get(resource, 1)
        sizes = 500 if "cores" in resource else sizes
        for number in draw(st.sets(st.integers(1, 8), max_size=2)):
            multiplier = draw(st.integers(0, 20))
            rows.append(Row(scope, name, resource, number * sizes, multiplier))  # type: ignore[arg-type]
    return Certificate(draw(st.integers(1, 30)), tuple(rows))


@settings(max_examples=80, deadline=None)
@given(st.data(), estates(instances=3, hosts=2))
def test_whatever_the_multipliers_the_bound_holds(data: st.DataObject, estate: Facts) -> None:
    certificate = data.draw(certificates(estate))
    assert list(faults(supply(estate), certificate)) == []
    found = bound(supply(estate), estate.instances_at("likely"), certificate)
    assert found == plainly(estate, certificate)
    assert found >= best(estate)[0]


def best(estate: Facts) -> tuple[int, dict[str, str]]:
    """Return the most weight that can be placed, and how."""
    every = [on for on in assignments(estate) if feasible(estate, on)]
    weights = [sum(estate.instances[name].priority for name in on) for on in every]
    most = max(range(len(every)), key=weights.__getitem__)
    return weights[most], every[most]


def certified(estate: Facts) -> Plan:
    """Return a plan that places the most, with its certificate."""
    _, on = best(estate)
    there = supply(estate)
    _, certificate = certify(pose(estate, tuple(there.hosts), "likely", {}))
    placed = answer(estate, on, certificate=certificate)
    return plan(estate, dict.fromkeys(LEVELS, placed))


def holds(estate: Facts, made: Plan) -> bool:
    """Say whether a plan of one interval tells the truth in all but its time."""
    levels = made.intervals[0].levels
    for level in LEVELS:
        said = levels[level]
        placed = {name: host for name, host in said.on.items() if name in estate.instances}
        if placed != said.on or not set(placed.values()) <= estate.hosts.keys():
            return False
        rows = said.certificate.rows
        known = limits(estate)
        keys = [(row.scope, row.name, row.resource, row.divisor) for row in rows]
        if said.certificate.scale < 1 or len(set(keys)) < len(keys):
            return False
        if any(
            row.multiplier < 0 or row.divisor < 1 or key[:3] not in known
            for row, key in zip(rows, keys, strict=True)
        ):
            return False
        true = answer(estate, placed)
        same = ("weight", "moved", "missing_traits", "broken_spreads")
        if any(getattr(true, name) != getattr(said, name) for name in same):
            return False
        unplaced = sorted(one.instance for one in said.unplaced)
        if unplaced != sorted(one.instance for one in true.unplaced):
            return False
        most = plainly(estate, said.certificate)
        if not feasible(estate, placed) or said.bound != most or true.weight > most:
            return False
    return made.safe_until == safe_until(estate, made)


def _number(draw: Draw, value: int) -> int:
    return value + int(draw(st.sampled_from([-1000, -1, 1, 2, 10**12])))


def _mapping(draw: Draw, old: Mapping[str, Any], keys: list[str], values: list[Any]) -> Any:
    """Change, add or drop one entry."""
    key = draw(st.sampled_from(keys))
    if draw(st.booleans()):
        return {name: value for name, value in old.items() if name != key}
    return {**old, key: draw(st.sampled_from(values))}


def _certificate(draw: Draw, old: Certificate) -> Certificate:
    if not old.rows or draw(st.booleans()):
        return replace(old, scale=_number(draw, old.scale))
    rows = list(old.rows)
    number = draw(st.integers(0, len(rows) - 1))
    change: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"multiplier": _number(draw, rows[number].multiplier)},
                {"divisor": _number(draw, rows[number].divisor)},
                {"name": "h9"},
                {"name": "h1"},
                {"resource": "cores"},
                {"scope": "site"},
            ]
        )
    )
    rows[number] = replace(rows[number], **change)
    if draw(st.booleans()):
        rows.pop(number)
    return replace(old, rows=tuple(rows))


def _answer(draw: Draw, estate: Facts, old: Placed) -> Placed:
    names = [*estate.instances, "nobody/app/production/1"]
    hosts = [*estate.hosts, "h9"]
    unplaced = list(old.unplaced)
    if unplaced and draw(st.booleans()):
        unplaced.pop()
    else:
        unplaced.append(Unplaced(draw(st.sampled_from(names)), UNKNOWN))
    changes: list[dict[str, Any]] = [
        {"on": _mapping(draw, old.on, names, hosts)},
        {"unplaced": tuple(unplaced)},
        {"moved": _mapping(draw, old.moved, names, hosts)},
        {"weight": _number(draw, old.weight)},
        {"bound": _number(draw, old.bound)},
        {"certificate": _certificate(draw, old.certificate)},
        {"broken_spreads": tuple(draw(st.sets(st.integers(-1, 2))))},
        {
            "missing_traits": _mapping(
                draw, old.missing_traits, names, [(), ("CUSTOM_B",), ("CUSTOM_C",)]
            )
        },
        {"most_placed": "proven"},
    ]
    return replace(old, **draw(st.sampled_from(changes)))


@settings(max_examples=100, deadline=None)
@given(st.data(), estates(instances=3, hosts=2))
def test_one_change_is_found_out_unless_it_is_true(data: st.DataObject, estate: Facts) -> None:
    made = certified(estate)
    assert violations(estate, made) == []
    (interval,) = made.intervals
    match data.draw(st.sampled_from(["answer", "answer", "placement", "time"])):
        case "answer":
            level = data.draw(st.sampled_from(LEVELS))
            changed = _answer(data.draw, estate, interval.levels[level])
            levels = {**interval.levels, level: changed}
            made = replace(made, intervals=(replace(interval, levels=levels),))
        case "placement":
            # All that is said of it is true; but it may not be feasible.
            on = data.draw(st.sampled_from(list(assignments(estate))))
            changed = answer(estate, on, certificate=interval.levels["likely"].certificate)
            made = plan(estate, dict.fromkeys(LEVELS, changed))
        case "time":
            days = [None, date(2026, 1, 15), date(2027, 1, 1)]
            names = [*estate.instances, "nobody"]
            safe = _mapping(data.draw, made.safe_until, names, days)
            made = replace(made, safe_until=safe)
    assert (violations(estate, made) == []) == holds(estate, made)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_change_in_time_is_found_out(data: st.DataObject) -> None:
    estate, made = leaving()
    day = timedelta(days=data.draw(st.sampled_from([-400, -1, 1, 400])))
    number = data.draw(st.integers(0, 1))
    one = made.intervals[number]
    rest = made.intervals[:number] + made.intervals[number + 1 :]
    wrong = [
        replace(one, start=one.start + day),
        replace(one, end=one.end + day if one.end else one.start),
        replace(one, ending=(*one.ending, "open")),
        replace(one, starting=("x",)),
        replace(one, levels={"likely": one.levels["likely"]}),
    ]
    changed = data.draw(
        st.sampled_from(
            [
                replace(made, at=made.at + day),
                replace(made, digest=made.digest + " "),
                replace(made, intervals=rest),
                replace(made, intervals=(*made.intervals, one)),
                replace(made, intervals=made.intervals[::-1]),
                *(
                    replace(
                        made, intervals=tuple(sorted((*rest, other), key=lambda one: one.start))
                    )
                    for other in wrong
                ),
            ]
        )
    )
    assert violations(estate, changed) != []
    assert violations(estate, made) == []
