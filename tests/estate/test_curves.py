"""The drawn curves of a forecast: complete in themselves, the same each time, and to scale."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any
from xml.etree import ElementTree

import pytest

from commonfarm.estate.answers.forecast import document, forecast
from commonfarm.estate.drawing.curves import draw
from tests.estate.futures import growth, step
from tests.estate.making import facts, host, instance, pledge

DAY = date(2009, 5, 1)
SVG = "{http://www.w3.org/2000/svg}"


def rows() -> dict[str, dict[str, Any]]:
    """Return the rows of an estate in which something grows, steps and leaves, read from JSON."""
    estate = facts(
        pledge("loan", start=date(2009, 1, 1), until=date(2010, 1, 1)),
        host("a", memory="64 GiB", pledge="loan"),
        host("b", memory="24 GiB"),
        instance("wiki", on="a", memory=("10 GiB", "20 GiB", "30 GiB")),
        growth=(growth("wiki", ("0.01", "0.02", "0.3"), DAY, "memory"),),
        steps=(step("wiki", "0.5", date(2009, 7, 1), "memory"),),
    )
    found = json.loads(json.dumps(document(forecast(estate, DAY), curves=True)))
    return {row["scope"]: row for row in found["outlooks"]}


def test_a_curve_holds_nothing_from_elsewhere_and_is_the_same_each_time() -> None:
    text = draw(rows()["estate"])
    assert text == draw(rows()["estate"])
    assert "<script" not in text
    assert "<!--" not in text
    assert re.findall(r"https?:[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text or "prefers-color-scheme:dark" in text


def test_a_curve_says_in_words_what_it_shows() -> None:
    root = ElementTree.fromstring(draw(rows()["estate"]))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "memory of all hosts"
    said = root.findtext(f"{SVG}desc") or ""
    assert said.startswith("20 GiB of 88 GiB on 2009-05-01; runs out 20")
    shown = {text for one in root.iter(f"{SVG}text") if (text := one.text)}
    assert {"there is", "use, high", "use, likely", "use, low", "runs out", "2009-05"} <= shown
    assert "memory of all hosts (GiB)" in shown


def test_no_line_leaves_the_picture() -> None:
    for row in rows().values():
        root = ElementTree.fromstring(draw(row))
        lines = [one.get("d", "") for one in root.iter(f"{SVG}path") if "nofill" in str(one.attrib)]
        assert len(lines) >= 4
        ends = [float(y) for line in lines for y in re.findall(r"[ML]?[\d.-]+ ([\d.-]+)", line)]
        assert min(ends) >= 0
        assert max(ends) <= 340


def test_what_stays_as_it_is_has_no_curve() -> None:
    estate = facts(host("a", cores=1), instance("wiki", on="a", cores=1))
    row = document(forecast(estate, DAY), curves=True)["outlooks"][0]
    with pytest.raises(ValueError, match="cores of host a has no curve"):
        draw(row)


def test_what_has_grown_beyond_all_measure_is_drawn_too() -> None:
    estate = facts(
        instance("wiki", memory="20 GiB"),
        growth=(growth("wiki", "1000", date(2000, 1, 1), "memory"),),
    )
    found = document(forecast(estate, DAY), curves=True)["outlooks"]
    drawn = [draw(row) for row in json.loads(json.dumps(found)) if row["points"]]
    assert drawn
    assert all("beyond all measure" in text and "NaN" not in text for text in drawn)
