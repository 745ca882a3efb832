"""When things run out, by dates computed by hand, and by properties that hold of all estates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.answers.forecast import Forecast, document, forecast
from commonfarm.estate.answers.outlooks import Outlook
from commonfarm.estate.answers.trends import Load, Trends, Window
from commonfarm.estate.facts import LEVELS, Facts, Growth, Range, Step
from commonfarm.estate.resources import MOST_SHOWN
from tests.estate.futures import growth, observed, step
from tests.estate.making import facts, host, instance, pledge, site

DAY = date(2009, 5, 1)


def outlook(ahead: Forecast, scope: str, name: str, resource: str) -> Outlook:
    (found,) = (
        one
        for one in ahead.outlooks
        if (one.scope, one.name, one.resource) == (scope, name, resource)
    )
    return found


def dates(window: Window) -> tuple[str | None, ...]:
    days = (window.earliest, window.likely, window.latest)
    return tuple(day.isoformat() if day else None for day in days)


def one_machine(**said: Any) -> Facts:
    """Sugar Labs in 2009: one machine at 45% of its CPU, growing 25% a month."""
    return facts(
        host("sunjammer", cores=4, memory="16 GiB"),
        instance("aslo", on="sunjammer", cores=3),
        **{
            "observed": (observed("aslo", "cores", DAY, share="0.45"),),
            "growth": (growth("aslo", "0.25", DAY, "cores"),),
            **said,
        },
    )


def test_a_machine_at_45_percent_that_grows_25_percent_a_month_is_full_in_3_58_months() -> None:
    found = outlook(forecast(one_machine(), DAY), "host", "sunjammer", "cores")
    # ln(1 / 0.45) / ln(1.25) = 3.578 months of 30.4375 days = 108.9 days.
    assert dates(found.out) == ("2009-08-18",) * 3
    assert found.out.likely == DAY + timedelta(days=109)
    # ln 2 / ln 1.25 = 3.106 months = 94.5 days.
    assert found.doubles_on == DAY + timedelta(days=95)
    assert found.bases == ("observed",)
    assert found.today.likely == 1800
    assert found.requested.likely == 3000
    assert found.reason
    assert found.reason.code == "grows-out"


def test_what_was_measured_later_than_the_day_asked_about_is_not_known_then() -> None:
    found = outlook(forecast(one_machine(), date(2009, 4, 30)), "host", "sunjammer", "cores")
    assert (found.bases, found.today.likely) == (("requested",), 3000)


def test_growth_goes_on_from_the_measurement_and_not_from_the_day_asked_about() -> None:
    late = outlook(forecast(one_machine(), date(2009, 7, 1)), "host", "sunjammer", "cores")
    assert dates(late.out) == ("2009-08-18",) * 3
    after_it_is_full = forecast(one_machine(), date(2009, 9, 1))
    found = outlook(after_it_is_full, "host", "sunjammer", "cores")
    assert dates(found.out) == ("2009-09-01",) * 3
    assert found.reason
    assert found.reason.code == "full-already"


def test_a_limit_that_is_reached_is_not_passed() -> None:
    """Doubling each 30 days from 1 core, 8 cores are used on day 90, and more on day 91."""
    estate = facts(
        host("a", cores=8),
        instance("wiki", on="a", cores=1),
        growth=(growth("wiki", "1", DAY, "cores", days=30),),
    )
    found = outlook(forecast(estate, DAY), "host", "a", "cores")
    assert found.out.likely == DAY + timedelta(days=91)
    assert found.load.whole(DAY + timedelta(days=90), "likely") == 8000


def test_ranges_make_a_window() -> None:
    estate = facts(
        host("a", cores=8),
        instance("wiki", on="a", cores=(1, 2, 4)),
        growth=(growth("wiki", ("0", "0.1", "1"), DAY, "cores", days=30),),
    )
    found = outlook(forecast(estate, DAY), "host", "a", "cores")
    # high: 4 * 2^(t/30) > 8 after 30 days; likely: ln 4 / ln 1.1 = 14.55 periods = 436.4 days.
    assert dates(found.out) == ("2009-06-01", (DAY + timedelta(days=437)).isoformat(), None)


@pytest.mark.parametrize(
    ("factor", "on", "full"),
    [
        ("2", date(2009, 6, 1), "2009-06-01"),  # 45% * 1.25 * 2 > 1
        ("1/30", date(2009, 6, 1), None),  # mirrors: 100-150 GB a day become under 5
        ("2", date(2009, 4, 1), "2009-08-18"),  # before the measurement: in it already
    ],
)
def test_an_event_counts_from_its_day(factor: str, on: date, full: str | None) -> None:
    estate = one_machine(steps=(step("aslo", factor, on, "cores"),))
    found = outlook(forecast(estate, DAY, months=12), "host", "sunjammer", "cores")
    assert dates(found.out)[1] == full
    if full == "2009-06-01":
        assert found.reason
        assert found.reason.code == "event"
        assert "event 2009-06-01" in found.reason.text


def test_a_pledge_that_ends_takes_its_capacity_away() -> None:
    loan = pledge("loan", start=date(2009, 1, 1), until=date(2010, 1, 1))
    estate = facts(
        loan,
        host("a", cores=8, pledge="loan"),
        host("b", cores=1),
        instance("wiki", on="a", cores=2),
        instance("bugs", cores=1),
    )
    ahead = forecast(estate, DAY)
    for scope, name in (("host", "a"), ("estate", "all hosts")):
        found = outlook(ahead, scope, name, "cores")
        assert dates(found.out) == ("2010-01-01",) * 3
        assert found.reason
        assert found.reason.code == "capacity-goes"
        assert "pledge loan ends on 2010-01-01" in found.reason.text
        assert "2 more" in str(found.reason)
    assert outlook(ahead, "estate", "all hosts", "cores").bases == ("planned", "requested")


def test_of_pledges_that_end_on_a_day_those_are_named_that_matter() -> None:
    end = date(2010, 1, 1)
    names = ("first", "second", "third")
    estate = facts(
        *(pledge(name, start=date(2009, 1, 1), until=end) for name in names),
        site("here"),
        *(host(f"on-{name}", cores=1, pledge=name, site="here") for name in names[:2]),
        host("on-third", cores=1, pledge="third"),
        *(instance(f"of-{name}", on=f"on-{name}", cores=1) for name in names),
    )
    ahead = forecast(estate, DAY)
    for scope, name, gone in (
        ("host", "on-second", "pledge second ends"),
        ("site", "here", "pledges first and second end"),
        ("estate", "all hosts", "pledges first, second and third end"),
    ):
        found = outlook(ahead, scope, name, "cores")
        assert found.reason
        assert f": {gone} on 2010-01-01" in found.reason.text
        lifted = "prolong it" if "ends" in gone else "prolong them"
        assert found.reason.lifted_by.startswith(f"{lifted}, or")


def test_measured_use_is_physical_and_asked_use_is_overcommitted() -> None:
    """4 cores at a ratio of 4: 2 measured take half of the room, 2 asked for an eighth."""
    estate = facts(
        host("a", cores=4, allocation_ratio={"cores": 4}),
        instance("wiki", on="a", cores=2),
        instance("bugs", on="a", cores=2),
        observed=(observed("wiki", "cores", DAY, share="1/2"),),
    )
    found = outlook(forecast(estate, DAY), "host", "a", "cores")
    assert found.today.likely == 8000 + 2000
    assert found.capacity == ((DAY, 16000),)
    assert found.bases == ("observed", "requested")


def test_what_is_measured_of_components_is_part_of_what_is_measured_of_their_service() -> None:
    estate = facts(
        host("a", cores=10),
        *(instance(f"aslo/{name}", on="a", cores=1) for name in ("web", "db", "cache")),
        observed=(
            observed("aslo", "cores", DAY, share="0.6"),
            observed("aslo", "cores", DAY, amount=2000, component="db"),
        ),
    )
    ahead = forecast(estate, DAY)
    assert outlook(ahead, "host", "a", "cores").today.likely == 6000
    parts = {part.place.component: part for part in ahead.parts}
    assert {name: part.amounts["likely"] for name, part in parts.items()} == {
        "web": 2000,
        "db": 2000,
        "cache": 2000,
    }
    assert parts["db"].assumed is None
    assert "web takes 33% of the cores measured of aslo" in (parts["web"].assumed or "")


def test_what_was_measured_is_that_of_production() -> None:
    estate = facts(
        host("a", cores=10),
        host("b", cores=10),
        instance("wiki/app/production/1", on="a", cores=1),
        instance("wiki/app/testing/1", on="a", cores=1),
        instance("wiki/app/testing/2", on="b", cores=1),
        observed=(observed("wiki", "cores", DAY, share="0.6"),),
    )
    ahead = forecast(estate, DAY)
    assert outlook(ahead, "host", "a", "cores").today.likely == 6000
    assert outlook(ahead, "host", "b", "cores").today.likely == 1000


def test_what_a_site_shares_runs_out_for_all_of_its_hosts() -> None:
    estate = facts(
        site("phx2", traffic="10 TB/month"),
        host("a", cores=1, site="phx2"),
        host("b", cores=1, site="phx2"),
        instance("download", on="a", traffic="4 TB/month"),
        instance("wiki", on="b", traffic="1 TB/month"),
        growth=(growth("download", "1", DAY, "traffic", days=30),),
    )
    ahead = forecast(estate, DAY)
    found = outlook(ahead, "site", "phx2", "traffic")
    # 4 * 2^(t/30) > 9: log2(2.25) * 30 = 35.1 days.
    assert found.out.likely == DAY + timedelta(days=36)
    service = outlook(ahead, "service", "download", "traffic")
    assert (service.out, service.limit) == (found.out, "site phx2")


def test_a_measured_share_of_what_no_host_says_is_told() -> None:
    estate = facts(
        host("a", cores=1),
        instance("wiki", on="a", cores=1),
        instance("idle", cores=1),
        observed=(
            observed("wiki", "traffic", DAY, share="1/2"),
            observed("idle", "cores", DAY, amount=1),
        ),
    )
    assert sorted(gap.split(": ")[1] for gap in forecast(estate, DAY).gaps) == [
        "host a does not say how much traffic it has",
        "idle was measured, but runs on no host",
    ]


def test_a_tenth_of_the_builders_is_out_at_any_time() -> None:
    levels = ["low"] * 100 + ["likely"] * 99 + ["high"] * 2
    builders = [
        replace(
            instance(f"arm/builder/production/{number}", level=level),  # type: ignore[arg-type]
            disruption_budget=Fraction(1, 10),
        )
        for number, level in enumerate(levels)
    ]
    (found,) = forecast(facts(*builders, instance("wiki")), DAY).at_work
    assert found.instances == Range(100, 199, 201)
    assert found.out == Range(10, 20, 21)


def test_a_share_of_nothing_is_nothing() -> None:
    estate = facts(
        host("a", cores=0),
        *(instance(f"wiki/{name}", on="a", cores=0) for name in ("app", "db")),
        observed=(observed("wiki", "cores", DAY, share="1/2"),),
    )
    found = outlook(forecast(estate, DAY), "host", "a", "cores")
    assert (found.today.likely, found.out.likely) == (0, None)


def test_endless_growth_ends_in_a_number() -> None:
    estate = one_machine(growth=(growth("aslo", "10", DAY, "cores", days=1),))
    found = outlook(forecast(estate, DAY, months=240), "host", "sunjammer", "cores")
    assert found.out.likely == DAY + timedelta(days=1)
    assert found.points()[-1].use.likely == MOST_SHOWN


def test_what_falls_to_nothing_stays_there() -> None:
    estate = one_machine(growth=(growth("aslo", "-1", DAY, "cores", days=30),))
    found = outlook(forecast(estate, DAY), "host", "sunjammer", "cores")
    assert (found.points()[0].use.likely, found.points()[-1].use.likely) == (1800, 0)


def test_the_document_is_json_and_holds_curves_of_what_changes_alone() -> None:
    estate = one_machine(steps=(step("aslo", "2", date(2009, 6, 1), "cores"),))
    rows = document(forecast(estate, DAY, months=2), curves=True)["outlooks"]
    host_row = next(row for row in rows if row["scope"] == "host")
    assert host_row["out"] == dict.fromkeys(("earliest", "likely", "latest"), "2009-06-01")
    days = [point["day"] for point in host_row["points"]]
    assert days == ["2009-05-01", "2009-05-31", "2009-06-01", "2009-07-01"]
    assert all(point["capacity"] == 4000 for point in host_row["points"])
    flat = document(forecast(one_machine(growth=()), DAY), curves=True)
    assert flat["outlooks"][0]["points"] == []


rates = st.fractions(Fraction(-1, 2), Fraction(2), max_denominator=20)
factors = st.fractions(Fraction(1, 10), Fraction(5), max_denominator=10)
amounts = st.integers(1, 8)
days = st.integers(-100, 300).map(lambda number: DAY + timedelta(days=number))
growths = st.lists(
    st.builds(
        lambda rate, since, key: growth("wiki", str(rate), since, key),
        rates,
        days,
        st.just("cores"),
    ),
    max_size=2,
)
steps = st.lists(
    st.builds(lambda factor, on: step("wiki", str(factor), on, "cores"), factors, days), max_size=2
)


def estate_of(
    growing: list[Growth], happening: list[Step], asked: int, room: int, more: int = 0
) -> Facts:
    return facts(
        pledge("loan", start=date(2009, 1, 1), until=date(2010, 1, 1)),
        host("a", cores=room),
        host("b", cores=room, pledge="loan"),
        *([host("c", cores=more)] if more else []),
        instance("wiki", on="a", cores=(asked, asked, asked + 1)),
        instance("bugs", on="b", cores=1),
        growth=tuple(growing),
        steps=tuple(happening),
    )


def outs(estate: Facts) -> dict[tuple[str, str], Window]:
    ahead = forecast(estate, DAY, months=18)
    return {(one.scope, one.name): one.out for one in ahead.outlooks}


def no_later(one: Window, other: Window) -> bool:
    return all((one.at(lv) or date.max) <= (other.at(lv) or date.max) for lv in LEVELS)


@settings(max_examples=30, deadline=None)
@given(growths, steps, amounts, amounts, st.fractions(0, 1, max_denominator=10))
def test_a_higher_rate_is_never_later(
    growing: list[Growth], happening: list[Step], asked: int, room: int, more: Fraction
) -> None:
    def faster(one: Growth) -> Growth:
        rate = replace(one.rate, **{level: one.rate.at(level) + more for level in LEVELS})
        return replace(one, rate=rate)

    slow = outs(estate_of(growing, happening, asked, room))
    fast = outs(estate_of([faster(one) for one in growing], happening, asked, room))
    assert all(no_later(fast[key], slow[key]) for key in slow)


@settings(max_examples=30, deadline=None)
@given(growths, steps, amounts, amounts, amounts)
def test_more_capacity_is_never_earlier(
    growing: list[Growth], happening: list[Step], asked: int, room: int, more: int
) -> None:
    small = outs(estate_of(growing, happening, asked, room))
    for bigger in (
        outs(estate_of(growing, happening, asked, room + more)),
        outs(estate_of(growing, happening, asked, room, more)),
    ):
        assert all(no_later(small[key], bigger[key]) for key in small)


@settings(max_examples=30, deadline=None)
@given(growths, days, factors, factors, amounts, amounts)
def test_an_event_in_two_parts_is_the_event(
    growing: list[Growth], on: date, one: Fraction, two: Fraction, asked: int, room: int
) -> None:
    parted = [step("wiki", str(part), on, "cores") for part in (one, two)]
    whole = [step("wiki", str(one * two), on, "cores")]
    assert outs(estate_of(growing, parted, asked, room)) == outs(
        estate_of(growing, whole, asked, room)
    )


@settings(max_examples=30, deadline=None)
@given(growths, steps, st.integers(1000, 9000), st.integers(1000, 9000))
def test_the_first_day_is_that_which_a_look_at_each_day_finds(
    growing: list[Growth], happening: list[Step], asked: int, room: int
) -> None:
    estate = facts(growth=tuple(growing), steps=tuple(happening))
    trend = Trends(estate).of("wiki", None, ("cores",), None)
    flat = Trends(facts()).of("bugs", None, ("cores",), None)
    exact = dict.fromkeys(LEVELS, Fraction(asked))
    load = Load.of([(trend, exact), (flat, dict.fromkeys(LEVELS, Fraction(500)))])
    capacity = ((DAY, room), (date(2009, 9, 1), room // 2))

    def over(day: date) -> bool:
        factor = 1.0
        for one in growing:
            since = min(other.since for other in growing)
            periods = max(0, (day - max(one.since, since)).days) / float(one.rate.days)
            factor *= float(1 + one.rate.likely) ** periods
        since = min((other.since for other in growing), default=date.min)
        for one_step in happening:
            factor *= float(one_step.likely) if since < one_step.on <= day else 1
        limit = room if day < date(2009, 9, 1) else room // 2
        return asked * factor + 500 > limit * (1 + 1e-12)

    every_day = [DAY + timedelta(days=number) for number in range(400)]
    found = load.first_over(capacity, DAY, every_day[-1], "likely")
    assert found == next((day for day in every_day if over(day)), None)
