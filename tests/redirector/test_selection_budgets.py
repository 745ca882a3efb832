"""A donor's budget is never passed, and lasts the day."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector import budgets
from commonfarm.redirector.client import Client
from commonfarm.redirector.reasons import Why
from commonfarm.redirector.selection import Selector
from tests.redirector.atlas import DEB, NOON, client, file, mirror, world

MIDNIGHT = NOON - 43_200
HOUR = 3600
GB = 10**9

amounts = st.integers(1, 10**15)
seconds = st.integers(0, budgets.DAY_SECONDS - 1)


@pytest.mark.parametrize(
    ("hour", "free"), [(0, 10 * GB), (1, 12_916_666_666), (12, 45 * GB), (18, 62_500_000_000)]
)
def test_an_eighth_is_free_at_midnight_and_the_rest_comes_with_the_hours(
    hour: int, free: int
) -> None:
    assert budgets.allowance(80 * GB, MIDNIGHT + hour * HOUR) == free


@given(amounts, seconds, seconds)
def test_what_is_free_grows_with_the_clock_and_is_never_more_than_the_budget(
    budget: int, one: int, other: int
) -> None:
    earlier, later = sorted((one, other))
    first, last = (budgets.allowance(budget, MIDNIGHT + at) for at in (earlier, later))
    assert 0 <= first <= last <= budget
    assert first * budgets.DAY_SECONDS <= budget * (earlier + budgets.DAY_SECONDS // 8)


@given(amounts, st.integers(0, 10**15), st.integers(0, 10**15), seconds)
def test_a_file_is_taken_from_the_second_it_was_promised_for(
    budget: int, spent: int, size: int, second: int
) -> None:
    now = MIDNIGHT + second
    at = budgets.free_at(budget, spent, size, now)
    if at is None:
        assert not budgets.takes(budget, 0, size, MIDNIGHT + budgets.DAY_SECONDS - 1)
        return
    of_that_day = spent if at < MIDNIGHT + budgets.DAY_SECONDS else 0
    assert at >= now
    assert budgets.takes(budget, of_that_day, size, at)
    if at > now:
        before = spent if at - 1 < MIDNIGHT + budgets.DAY_SECONDS else 0
        assert not budgets.takes(budget, before, size, at - 1)


def test_what_would_fit_at_midnight_must_fit_the_next_day() -> None:
    assert not budgets.takes(80, 40, 40, MIDNIGHT + budgets.DAY_SECONDS - 1)
    at = budgets.free_at(80, 40, 40, MIDNIGHT)
    assert at == MIDNIGHT + budgets.DAY_SECONDS + 37_029
    assert budgets.takes(80, 0, 40, at) and not budgets.takes(80, 0, 40, at - 1)


requests = st.lists(
    st.tuples(st.integers(0, 9000), st.integers(0, 400 * 10**6), st.integers(0, 2**16)),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(requests, st.integers(1, 10 * GB))
def test_no_budget_is_passed_whoever_asks_for_what_and_when(
    asked: list[tuple[int, int, int]], budget: int
) -> None:
    selector = Selector(
        world([mirror("small", budget_bytes=budget), mirror("big", "FR", budget_bytes=3 * budget)])
    )
    limits = {"small": budget, "big": 3 * budget}
    now, spent = MIDNIGHT, dict.fromkeys(limits, 0)
    for later, size, network in asked:
        if (now + later) // budgets.DAY_SECONDS != now // budgets.DAY_SECONDS:
            spent = dict.fromkeys(limits, 0)
        now += later
        ranking = selector.rank("demo", Client(IPv4Address(0x0B000000 + network * 256), "DE"))
        for number in selector.pick(ranking, 0b11, size, now, spent)[:1]:
            spent[("small", "big")[number]] += size
        for name, limit in limits.items():
            assert spent[name] <= budgets.allowance(limit, now) <= limit


def test_a_small_donor_is_not_spent_at_two_and_serves_till_midnight() -> None:
    selector = Selector(world([mirror("small", budget_bytes=80 * GB), mirror("us", "US")]))
    sent = {"small": 0}
    by_hour = []
    for hour in range(24):
        before = sent["small"]
        for number in range(120):  # 12 GB an hour are asked for
            now = MIDNIGHT + hour * HOUR + number * 30
            ranking = selector.rank("demo", client("DE"))
            if selector.pick(ranking, 0b11, GB // 10, now, sent)[0] == 0:
                sent["small"] += GB // 10
        by_hour.append(sent["small"] - before)
    assert by_hour[0] == 12 * GB
    assert all(2.8 * GB <= one <= 3 * GB for one in by_hour[2:])
    assert 79 * GB < sent["small"] <= 80 * GB


def test_only_those_over_their_budget_are_passed_over_and_told_when_it_ends() -> None:
    having = [
        mirror("small", budget_bytes=8 * GB),
        mirror("fr", "FR"),
        mirror("tiny", budget_bytes=1),
    ]
    files = {DEB: file([0, 1, 2], size=GB), "demo/big.iso": file([0, 1, 2], size=8 * GB)}
    selector = Selector(world(having, files))
    asking = client("DE")
    free = selector.explain(DEB, asking, MIDNIGHT, {})
    assert [one.name for one in free.mirrors] == ["small", "fr"]
    over = selector.explain(DEB, asking, MIDNIGHT, {"small": 1})
    assert [one.name for one in over.mirrors] == ["fr"]
    reasons = {one.name: reason for one, reason in over.excluded}
    assert {reason.code for reason in reasons.values()} == {Why.BUDGET}
    assert str(reasons["small"]) == (
        "of its budget of 8 GB a day 1 GB are free now, and this file has 1 GB;"
        " at 2026-11-21 00:01 UTC, or a larger budget"
    )
    assert reasons["tiny"].lifted_by == "a larger budget"
    image = selector.explain("demo/big.iso", asking, MIDNIGHT + 86_399, {})
    assert [one.name for one in image.mirrors] == ["fr"]
    spent_whole_day = selector.explain(DEB, asking, NOON, {"small": 8 * GB})
    text = {one.name: str(reason) for one, reason in spent_whole_day.excluded}["small"]
    assert "0 B are free now" in text and "at 2026-11-22 00:00 UTC" in text


def test_every_budget_spent_is_ours_to_serve() -> None:
    having = [mirror(f"m{number}", budget_bytes=100) for number in range(12)]
    selector = Selector(world(having))
    choice = selector.choose(DEB, client("DE"), NOON, {})
    assert (choice.mirror, choice.reason.code) == (None, Why.NO_MIRROR)
    roomy = [replace(one, budget_bytes=10**6) if one.name == "m7" else one for one in having]
    choice = Selector(world(roomy)).choose(DEB, client("DE"), NOON, {})
    assert [one.name for one in choice.mirrors] == ["m7"]
