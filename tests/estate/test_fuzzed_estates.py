"""Whatever stands anywhere in an estate: it is read, or said where and why not, and what to do."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import parse
from commonfarm.lib.errors import BadInputError

FULL = (Path(__file__).parent / "full.yaml").read_bytes()
ESTATE: Any = parse("full.yaml", FULL).value
DAY = date(2011, 5, 5)
LINE = re.compile(r"a\.yaml(:\d+:\d+)?: .+; .+")

Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> list[Place]:
    """Return where something stands in a document."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict | list):
        inside = [*(value.items() if isinstance(value, dict) else enumerate(value))]
    return [place, *(one for key, part in inside for one in places(part, (*place, key)))]


def part(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


PLACES = places(ESTATE)[1:]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([[], {}, [[]], [None], {"name": 3}, "x" * 2000, "host", "*", "a[1:3]", "1/0"]),
    st.sampled_from(PLACES).map(lambda place: part(ESTATE, place)),
)


def test_the_full_estate_is_good() -> None:
    assert resolved([Text("a.yaml", FULL)], DAY)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4), st.booleans())
def test_anything_anywhere(changes: list[tuple[Place, Any]], twice: bool) -> None:
    estate = deepcopy(ESTATE)
    for place, junk in changes:
        try:
            part(estate, place[:-1])[place[-1]] = deepcopy(junk)
        except (KeyError, IndexError, TypeError):  # what was around it is changed already
            continue
    text = json.dumps(estate, ensure_ascii=twice)
    try:
        resolved([Text("a.yaml", text.encode(errors="replace"))], DAY)
    except BadInputError as error:
        lines = str(error).splitlines()
        assert all(LINE.fullmatch(line) for line in lines)
        assert len(lines) == len(error.problems)
