"""Amounts as people read them."""

from __future__ import annotations

import pytest

from commonfarm.estate.resources import resource


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
        ("bandwidth", 1_500_000, "1.5 Mbit/s"),
        ("traffic", 50 * 10**12, "50 TB/month"),
    ],
)
def test_amounts_are_shown_as_people_write_them(key: str, amount: int, shown: str) -> None:
    assert resource(key).format(amount) == shown
