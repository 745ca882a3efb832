from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.lib.units import counted, format_bytes, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5 GiB", 3 * 2**29), ("20 MB", 20_000_000), ("0 B", 0), (" 7kB ", 7000)],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "1.5", "GiB", "1.5 gib", "-1 B", "1 GiB 2 MiB", "1e3 B"])
def test_a_size_that_is_none_names_the_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size; write a number and one of B, kB"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "seconds"), [("90 s", 90), ("1.5 h", 5400), ("7 d", 604800)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_seconds(text) == seconds


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_reads_back_within_its_one_decimal(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.051)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (42, "42 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (172800, "2 d"),
        (183600, "2 d 03 h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_number_has_its_noun() -> None:
    assert [counted(one, "file") for one in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(2, "alias") == "2 aliases"
