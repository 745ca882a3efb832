"""What follows from a pledge's dates."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from commonfarm.estate.facts import Period
from commonfarm.estate.timeline import after, assured_until, ends_on, intervals, stands
from tests.estate.making import TODAY, facts, host, pledge


@pytest.mark.parametrize(
    ("day", "period", "then"),
    [
        (date(2026, 1, 31), Period(1), date(2026, 2, 28)),
        (date(2024, 2, 29), Period(12), date(2025, 2, 28)),
        (date(2026, 11, 30), Period(3), date(2027, 2, 28)),
        (date(2026, 12, 1), Period(0, 31), date(2027, 1, 1)),
        (date(2026, 1, 1), Period(12, 1), date(2027, 1, 2)),
    ],
)
def test_a_period_later(day: date, period: Period, then: date) -> None:
    assert after(day, period) == then


@pytest.mark.parametrize(
    ("said", "ends", "assured"),
    [
        # Lent a year ago, nothing said since: three months from whatever day it is.
        ({"start": date(2025, 1, 1)}, None, date(2026, 4, 15)),
        # Within the minimum term, the year stands.
        ({"start": date(2025, 12, 1)}, None, date(2026, 12, 1)),
        # An agreed end is the end, and before it a notice may come.
        ({"until": date(2026, 12, 31)}, date(2026, 12, 31), date(2026, 4, 15)),
        ({"until": date(2026, 2, 1)}, date(2026, 2, 1), date(2026, 2, 1)),
        # Notice given: three months after it, and not within the minimum term.
        ({"notice_given_on": date(2026, 1, 1)}, date(2026, 4, 1), date(2026, 4, 1)),
        (
            {"start": date(2025, 12, 1), "notice_given_on": date(2026, 1, 1)},
            date(2026, 12, 1),
            date(2026, 12, 1),
        ),
        # Notice does not make it longer than was agreed.
        (
            {"until": date(2026, 2, 1), "notice_given_on": date(2026, 1, 1)},
            date(2026, 2, 1),
            date(2026, 2, 1),
        ),
        ({"start": None}, None, date(2026, 4, 15)),
    ],
)
def test_the_end_of_a_pledge(said: dict[str, Any], ends: date | None, assured: date) -> None:
    one = pledge("loan", **said)
    assert ends_on(one) == ends
    assert assured_until(one, TODAY) == assured


def test_a_host_is_there_from_the_first_day_to_before_the_last() -> None:
    loan = pledge("loan", start=date(2026, 1, 1), until=date(2026, 6, 1))
    estate = facts(loan, host("a", pledge="loan"), host("b", status="needed"), host("c"))
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 5, 31), date(2026, 6, 1)]
    assert [stands(estate, estate.hosts["a"], day) for day in days] == [False, True, True, False]
    assert not stands(estate, estate.hosts["b"], TODAY)
    assert stands(estate, estate.hosts["c"], date(2099, 1, 1))


def test_intervals_lie_between_the_days_on_which_hosts_come_or_go() -> None:
    estate = facts(
        pledge("first", until=date(2026, 6, 1)),
        pledge("second", start=date(2026, 3, 1), until=date(2026, 6, 1)),
        pledge("open"),
        pledge("long", until=date(2029, 1, 1)),  # ends behind the horizon of two years
        host("a", pledge="first"),
        host("b", pledge="second"),
        host("c", pledge="open"),
        host("d", pledge="long"),
        host("e", available_from=date(2026, 9, 1)),
    )
    found = intervals(estate, TODAY)
    assert [(one.start, one.end) for one in found] == [
        (TODAY, date(2026, 3, 1)),
        (date(2026, 3, 1), date(2026, 6, 1)),
        (date(2026, 6, 1), date(2026, 9, 1)),
        (date(2026, 9, 1), None),
    ]
    assert [one.hosts for one in found] == [
        ("a", "c", "d"),
        ("a", "b", "c", "d"),
        ("c", "d"),
        ("c", "d", "e"),
    ]
    assert [one.ending for one in found] == [(), ("first", "second"), (), ()]
    assert [one.starting for one in found] == [("b",), (), ("e",), ()]


def test_an_estate_in_which_nothing_ends_has_one_interval() -> None:
    (only,) = intervals(facts(host("a")), TODAY)
    assert (only.start, only.end, only.hosts) == (TODAY, None, ("a",))
