"""Sets of file numbers as bits."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.mirrors.bitmaps import Bitmap

SETS = st.sets(st.one_of(st.integers(0, 300), st.integers(100_000, 100_300)), max_size=40)


@settings(deadline=None)
@given(SETS, SETS)
def test_bitmaps_are_sets(one: set[int], other: set[int]) -> None:
    a, b = Bitmap.of(one), Bitmap.of(other)
    assert set(a.numbers().tolist()) == one
    assert len(a) == len(one)
    for made, expected in (
        (a | b, one | other),
        (a & b, one & other),
        (a ^ b, one ^ other),
        (a - b, one - other),
    ):
        assert set(made.numbers().tolist()) == expected
        assert made.first % 8 == 0
    asked = sorted(one | other | {0, 50, 99_999, 10**9})
    assert a.has(np.array(asked)).tolist() == [number in one for number in asked]
    assert Bitmap.unpacked(a.first, a.packed) == a
    assert (a == b) == (one == other)
    some = a.some(5, random.Random(1))
    assert len(some) == len(set(some)) == min(5, len(one))
    assert set(some) <= one
