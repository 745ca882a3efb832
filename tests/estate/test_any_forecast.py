"""What holds of the forecast of any estate."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.answers.forecast import Forecast, document, forecast
from commonfarm.estate.answers.trends import Window
from commonfarm.estate.drawing.curves import draw
from commonfarm.estate.facts import LEVELS, Facts, Instance, Range
from commonfarm.estate.verbs.forecasting import told
from tests.estate.futures import growth, ladder, network, observed, step, transfer
from tests.estate.making import facts, host, instance, pledge, site

DAY = date(2026, 1, 15)
PARTS = ("app", "db", "web")
KEYS = ("cores", "memory", "traffic", "instances")

days = st.integers(-400, 800).map(lambda number: DAY + timedelta(days=number))


def in_order(least: Fraction, most: int) -> st.SearchStrategy[tuple[str, str, str]]:
    """Return what draws low, likely and high, as they are written."""

    def written(found: list[Fraction]) -> tuple[str, str, str]:
        low, likely, high = sorted(found)
        return str(low), str(likely), str(high)

    one = st.fractions(least, most, max_denominator=10)
    return st.lists(one, min_size=3, max_size=3).map(written)


three = in_order(Fraction(0), 3)
factors = in_order(Fraction(1, 10), 4)
amounts = st.lists(st.integers(0, 40), min_size=3, max_size=3).map(
    lambda found: tuple(sorted(found))
)
measured: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{"share": "1/3"}, {"amount": 5000}])
services = st.sampled_from(["wiki", "bugs"])
components = st.sampled_from([None, *PARTS])
resources = st.sampled_from(KEYS)


@st.composite
def hosts(draw_: st.DrawFn, name: str) -> Any:
    said: dict[str, Any] = {"cores": draw_(st.integers(0, 40)), "memory": "64 GiB"}
    if draw_(st.booleans()):
        said["traffic"] = "20 TB/month"
    return host(
        name,
        site=draw_(st.sampled_from([None, "here", "there"])),
        pledge=draw_(st.sampled_from([None, "short", "long"])),
        networks=draw_(st.sampled_from([(), ("lan",)])),
        status=draw_(st.sampled_from(["existing", "planned", "needed"])),
        available_from=draw_(st.sampled_from([None, DAY + timedelta(days=99)])),
        allocation_ratio=draw_(st.sampled_from([{}, {"cores": 4}])),
        reserved=draw_(st.sampled_from([{}, {"cores": 1, "memory": "2 GiB"}])),
        **said,
    )


@st.composite
def instances(draw_: st.DrawFn, name: str) -> Instance:
    cores, memory = draw_(amounts), draw_(amounts)
    said: dict[str, Any] = {"cores": cores, "memory": tuple(f"{one} GiB" for one in memory)}
    if draw_(st.booleans()):
        said["traffic"] = "3 TB/month"
    if draw_(st.booleans()):
        said["isolated_cores"] = 2
    one = instance(
        name,
        on=draw_(st.sampled_from([None, "a", "b", "c"])),
        level=draw_(st.sampled_from(LEVELS)),
        addresses=draw_(st.sampled_from([{}, {"lan": 2}])),
        sites=draw_(st.sampled_from([(), ("here",), ("here", "there")])),
        **said,
    )
    return replace(one, status=draw_(st.sampled_from(["existing", "planned", "needed"])))


@st.composite
def estates(draw_: st.DrawFn) -> Facts:
    names = [f"{service}/{part}" for service in ("wiki", "bugs") for part in PARTS]
    rungs = [(part, draw_(st.sampled_from(KEYS[:3])), "0.8") for part in PARTS]
    return facts(
        pledge("short", start=date(2025, 1, 1), until=date(2026, 6, 1)),
        pledge("long"),
        site("here", [network("lan", "here", "10.0.0.0/29", 5)], traffic="30 TB/month"),
        site("there", [network("lan", "there", "10.0.1.0/29", 5)]),
        *(draw_(hosts(name)) for name in "abc"),
        *(draw_(instances(name)) for name in draw_(st.sets(st.sampled_from(names)))),
        ladder("wiki", *rungs, components=PARTS),
        growth=tuple(
            growth(draw_(services), draw_(three), draw_(days), draw_(resources), component=part)
            for part in draw_(st.lists(components, max_size=3))
        ),
        steps=tuple(
            step(draw_(services), draw_(factors), draw_(days), draw_(resources), component=part)
            for part in draw_(st.lists(components, max_size=2))
        ),
        observed=tuple(
            observed(
                draw_(services),
                draw_(st.sampled_from(KEYS[:3])),
                draw_(days),
                component=part,
                **draw_(measured),
            )
            for part in draw_(st.lists(components, max_size=3))
        ),
        transfers=(transfer((1, 2, 3), 10**9, 10**9, draw_(st.sampled_from([None, 10]))),),
    )


def windows(ahead: Forecast) -> dict[tuple[str, str, str], Window]:
    found: dict[tuple[str, str, str], Window] = {
        (one.scope, one.name, one.resource): one.out for one in ahead.outlooks
    }
    for network_ahead in ahead.networks:
        found["network", network_ahead.network.site, "addresses"] = network_ahead.out
    for rung in ahead.rungs:
        found["rung", rung.rung.service, str(rung.rung.number)] = rung.due
    return found


@settings(max_examples=25, deadline=None)
@given(estates())
def test_it_is_told_and_drawn_and_what_grows_faster_is_never_later(estate: Facts) -> None:
    ahead = forecast(estate, DAY)
    for window in windows(ahead).values():
        days_of = [day or date.max for day in (window.earliest, window.likely, window.latest)]
        assert all(one <= other for one, other in pairwise(days_of))
        assert all(DAY <= day <= ahead.end for day in days_of if day != date.max)
    for one in (one for one in ahead.rungs if one.rung.service == "wiki"):
        assert (one.reason is None) == (one.due.earliest is not None)
    for rung, behind in pairwise(ahead.rungs):
        for level in LEVELS:
            assert (rung.due.at(level) or date.max) <= (behind.due.at(level) or date.max)
    rows = json.loads(json.dumps(document(ahead, curves=True)))
    for row in (*rows["outlooks"], *rows["networks"]):
        if row["points"]:
            assert "NaN" not in draw(row)
    for full in (False, True):
        assert all(isinstance(line, str) for line in told(ahead, full))


@settings(max_examples=25, deadline=None)
@given(estates())
def test_the_first_day_does_not_depend_on_the_day_that_it_is_asked_for(estate: Facts) -> None:
    """Looked at from a later day, what had not run out by then runs out on the same day."""
    known = replace(estate, observed=tuple(one for one in estate.observed if one.on <= DAY))
    later = DAY + timedelta(days=30)
    soon, late = windows(forecast(known, DAY, 24)), windows(forecast(known, later, 24))
    horizon = forecast(known, DAY, 24).end
    for key in soon.keys() & late.keys():
        if key[0] == "rung":
            continue
        for level in LEVELS:
            first, then = soon[key].at(level), late[key].at(level)
            if (first is None or first >= later) and (then is None or then <= horizon):
                assert first == then
            elif first is None:
                assert then
                assert then > horizon


def test_a_range_of_nothing_is_nothing() -> None:
    ahead = forecast(facts(host("a", cores=1), instance("wiki", on="a", cores=0)), DAY)
    assert all(one.today == Range(0, 0, 0) for one in ahead.outlooks)
