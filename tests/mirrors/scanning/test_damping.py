"""One failed probe proves nothing, and who flaps waits longer each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.mirrors.scanning import Beat, Health, damped

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def beats(told: str, every: timedelta = MINUTE) -> list[Beat]:
    """Read `+` as a success and `-` as a failure, one a minute."""
    return [Beat(START + number * every, char == "+") for number, char in enumerate(told)]


def after(told: str, every: timedelta = MINUTE) -> Health:
    history = beats(told, every)
    return damped(history, history[-1].at)


@pytest.mark.parametrize(
    ("told", "up", "falls", "needed"),
    [
        ("+", True, 0, 0),
        ("-", False, 0, 1),
        ("-+", True, 0, 0),
        ("+-", True, 0, 0),
        ("+-+-+-+-", True, 0, 0),
        ("+--", False, 1, 2),
        ("+--+", False, 1, 1),
        ("+--++", True, 1, 0),
        ("+--+-+", False, 1, 1),
        ("+--++-", True, 1, 0),
        ("+--++--", False, 2, 4),
        ("+--++--+++", False, 2, 1),
        ("+--++--++++", True, 2, 0),
        ("+--++--++++--", False, 3, 8),
        ("+--++--++++--++++++++--", False, 4, 16),
        ("+--++--++++--++++++++--" + "+" * 16 + "--", False, 5, 16),
        ("+--" + "-" * 100, False, 1, 2),
        ("+" * 100 + "-", True, 0, 0),
    ],
)
def test_the_table_of_states(told: str, up: bool, falls: int, needed: int) -> None:
    health = after(told)
    assert (health.up, health.falls, health.needed) == (up, falls, needed)
    assert not health.stale


def test_what_was_never_probed_is_down() -> None:
    assert damped([], START) == Health(False, None, 0, 1, stale=True)


def test_without_probes_nothing_is_up() -> None:
    history = beats("+++")
    last = history[-1].at
    assert damped(history, last + timedelta(minutes=60)).up
    stale = damped(history, last + timedelta(minutes=61))
    assert (stale.up, stale.stale, stale.since) == (False, True, last + timedelta(hours=1))


def test_falls_are_forgotten_after_six_hours() -> None:
    history = beats("+--++--", timedelta(minutes=20))
    assert damped(history, history[-1].at).needed == 4
    rest = [Beat(history[-1].at + timedelta(hours=6), ok=True)]
    assert damped(history + rest, rest[-1].at).up


def test_since_is_when_it_last_changed() -> None:
    assert after("+--").since == START + 2 * MINUTE
    assert after("+--++").since == START + 4 * MINUTE
    assert after("-").since == START


@settings(deadline=None, max_examples=200)
@given(st.text("+-", min_size=1, max_size=80))
def test_it_never_changes_on_a_single_probe_that_fails(told: str) -> None:
    before, now = after(told), after(told + "-")
    if before.up and told.endswith("+"):
        assert now.up
    assert after(told + "--").up is False
    assert now.up == (now.needed == 0)
    assert after(told + "+" * 16).up
