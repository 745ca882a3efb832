"""Amounts as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.estate.resources import MOST, MOST_SHOWN, RESOURCES, resource


@pytest.mark.parametrize(
    ("key", "amount", "shown"),
    [
        ("cores", 0, "0"),
        ("cores", 500, "0.5"),
        ("cores", 16_500_000, "16500"),
        ("isolated_cores", 2000, "2"),
        ("CUSTOM_GPU", 1_234_567, "1234567"),
        ("memory", 64 * 2**30, "64 GiB"),
        ("memory", 0, "0 B"),
        ("memory", 64 * 10**9, "64 GB"),
        ("disk", 2 * 10**12, "2 TB"),
        ("memory", 10**9 + 1, "953.7 MiB"),
        ("bandwidth", 1_500_000, "1.5 Mbit/s"),
        ("bandwidth", 123_456 * 10**12, "123456 Tbit/s"),
        ("traffic", 50 * 10**12, "50 TB/month"),
    ],
)
def test_amounts_are_shown_as_people_write_them(key: str, amount: int, shown: str) -> None:
    assert resource(key).format(amount) == shown


@pytest.mark.parametrize(
    ("key", "amount", "shown"),
    [
        ("cores", 375_771, "376"),
        ("cores", 361, "0.361"),
        ("cores", 1_244, "1.25"),
        ("cores", 12_345_678, "12400"),
        ("memory", 45_107_907_134, "42.1 GiB"),
        ("memory", 64 * 10**9, "64 GB"),
        ("traffic", 5_484_375 * 10**6, "5.49 TB/month"),
        ("cores", MOST_SHOWN, "beyond all measure"),
    ],
)
def test_an_estimate_has_three_digits_and_is_never_too_little(
    key: str, amount: int, shown: str
) -> None:
    assert resource(key).estimate(amount) == shown


def test_what_has_grown_for_years_is_no_number() -> None:
    assert resource("memory").format(MOST_SHOWN) == "beyond all measure"


@pytest.mark.parametrize(
    ("amount", "beside", "shown", "estimate"),
    [
        (820_655_366_144, 72 * 10**9, "820.7 GB", "821 GB"),
        (820_655_366_144, 72 * 2**30, "764.3 GiB", "765 GiB"),
        (820_655_366_144, 0, "764.3 GiB", "765 GiB"),
        (820_655_366_144, 10**9 + 1, "764.3 GiB", "765 GiB"),
        (64 * 2**30, 72 * 10**9, "64 GiB", "64 GiB"),
    ],
)
def test_what_is_round_in_no_unit_is_shown_in_those_of_what_it_stands_beside(
    amount: int, beside: int, shown: str, estimate: str
) -> None:
    memory = resource("memory")
    assert (memory.format(amount, beside), memory.estimate(amount, beside)) == (shown, estimate)


@given(st.sampled_from([*RESOURCES, "CUSTOM_GPU"]), st.integers(0, MOST))
def test_an_amount_written_exactly_is_read_as_the_same(key: str, amount: int) -> None:
    assert resource(key).parse(resource(key).exactly(amount)) == amount


@pytest.mark.parametrize(
    ("key", "amount", "written"),
    [
        ("cores", 4000, "4"),
        ("cores", 1500, "1500 m"),
        ("memory", 24 * 10**9, "24 GB"),
        ("memory", 24 * 2**30, "24 GiB"),
        ("memory", 0, "0 B"),
        ("bandwidth", 2 * 10**9, "2 Gbit/s"),
        ("traffic", 50 * 10**12, "50 TB/month"),
        ("CUSTOM_GPU", 3, "3"),
    ],
)
def test_an_amount_is_written_in_the_largest_unit_that_fits(
    key: str, amount: int, written: str
) -> None:
    assert resource(key).exactly(amount) == written
