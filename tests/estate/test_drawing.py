"""Pictures of an estate show what is true, and no name in them is markup."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.estate.disclosure import veiled
from commonfarm.estate.drawing import map as drawing
from commonfarm.estate.drawing import meters, spans
from commonfarm.estate.drawing.svg import NAMESPACE, node, write
from commonfarm.estate.facts import Facts
from tests.estate.making import facts, host, instance, pledge, site
from tests.estate.pictured import HOSTILE, TODAY, estate


def running(of: Facts) -> dict[str, str]:
    return {name: one.on for name, one in of.instances.items() if one.on}


def draw(of: Facts, unplaced: dict[str, str] | None = None) -> str:
    return drawing.draw(drawing.Shown(of, TODAY, running(of), unplaced or {}))


def test_text_and_attributes_are_never_markup() -> None:
    made = write(node("text", HOSTILE, "\x1b[31m\x00", title=HOSTILE, class_="a", x=1.5))
    read = ElementTree.fromstring(made)
    assert read.text == f"{HOSTILE}?[31m?"
    assert read.get("title") == HOSTILE
    assert "<script" not in made


def test_a_meter_shows_who_takes_how_much_of_what_there_is() -> None:
    one = host("a", cores=4, memory="16 GiB", disk="100 GB", bandwidth="1 Gbit/s")
    guests = [
        instance("wiki/app/production/1", cores=1, memory="4 GiB"),
        instance("bugs/app/production/1", cores="0.5", isolated_cores=1),
    ]
    of = facts(one, *guests)
    found = {bar.key: bar for bar in meters.meters(one, guests, "likely", meters.Colours(of))}
    assert list(found) == ["cores", "memory", "disk", "bandwidth"]
    assert found["cores"].text == "2.5 of 4"
    assert [part.amount for part in found["cores"].parts] == [1000, 1500]
    assert found["memory"].share == "25% of 16 GiB"
    assert not found["memory"].over
    drawn = ElementTree.fromstring(write(meters.draw(found["memory"], "a")))
    (part,) = drawn.findall(f".//{{{NAMESPACE}}}rect[@class='part c1']")
    assert part.get("width") == "248"
    assert part.findtext(f"{{{NAMESPACE}}}title") == "wiki/app/production/1: memory 4 GiB"


def test_a_host_that_is_too_full_is_marked() -> None:
    one = host("a", cores=2, memory="4 GiB")
    guests = [instance(f"w/app/production/{n}", cores=2) for n in (1, 2)]
    bar = meters.meters(one, guests, "likely", meters.Colours(facts(*guests)))[0]
    assert bar.over
    drawn = write(meters.draw(bar, "a"))
    assert 'class="over" x="500"' in drawn and 'aria-label="a: cores 4 of 2"' in drawn


@pytest.mark.parametrize(
    ("said", "text", "kinds"),
    [
        ({"until": date(2026, 6, 1)}, "ends on 2026-06-01", ["sure", "open", "end", "today"]),
        ({"until": date(2029, 6, 1)}, "ends on 2029-06-01", ["sure", "open", "today"]),
        (
            {"notice_given_on": date(2026, 1, 1)},
            "ends on 2026-04-01",
            ["sure", "end", "today"],
        ),
        ({}, "assured until 2026-04-15", ["sure", "open", "today"]),
        ({"until": date(2025, 12, 1)}, "ended on 2025-12-01", ["sure", "end", "today"]),
        ({"start": date(2027, 1, 1)}, "assured until 2028-01-01", ["sure", "open", "today"]),
    ],
)
def test_a_span_says_until_when_a_pledge_is_sure(
    said: dict[str, Any], text: str, kinds: list[str]
) -> None:
    of = facts(pledge("loan", **said))
    (one,) = spans.spans(of, TODAY)
    assert one.text == text
    drawn = ElementTree.fromstring(write(spans.draw(one, spans.Axis.of(of, TODAY))))
    assert [box.get("class") for box in drawn] == kinds
    assert all(float(box.get("width", "0")) > 0 for box in drawn)


def test_an_axis_has_few_ticks() -> None:
    for months in (1, 7, 24, 120, 600):
        policy = replace(facts().policy, horizon=replace(facts().policy.horizon, months=months))
        axis = spans.Axis.of(facts(policy=policy), TODAY)
        ticks = list(axis.ticks())
        assert 1 <= len(ticks) <= spans.MOST_TICKS + 1
        assert all(0 <= place <= 1000 for _, place in ticks)


def test_the_map_shows_all_and_loads_nothing() -> None:
    of = veiled(estate(12))
    why = f"needs 4 TiB {HOSTILE}"
    short = {f"giant/app/production/{number}": why for number in (1, 2, 3, 5)}
    drawn = draw(of, short)
    root = ElementTree.fromstring(drawn)
    texts = [one.text or "" for one in root.iter(f"{{{NAMESPACE}}}text")]
    assert {"host-001", "phx2", "rack r1", "nokia-2025", "until 2026-04-01"} <= set(texts)
    assert "12 hosts at 2 sites, 21 instances placed" in texts
    assert f"giant/app/production/1-3, giant/app/production/5: {why}" in texts
    assert not list(root.iter(f"{{{NAMESPACE}}}script"))
    assert "secretcorp" not in drawn and "secret-loan" not in drawn
    assert all(word not in drawn for word in ("http://www.w3.org/1999/xlink", "url(", "@import"))
    assert drawn == draw(of, short)


def test_the_map_of_little_is_a_map_too() -> None:
    nothing = ElementTree.fromstring(draw(facts()))
    assert "0 hosts at 0 sites" in "".join(nothing.itertext())
    bare = "".join(ElementTree.fromstring(draw(facts(host("a"), site("s")))).itertext())
    assert "no site" in bare and "says no capacity" in bare
    gone = facts(pledge("past", until=date(2025, 1, 1)), host("gone", pledge="past"))
    assert "gone" not in "".join(ElementTree.fromstring(draw(gone)).itertext())


def test_the_command_draws_the_plan_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text(
        "hosts: [{name: anvil, architecture: amd64, cores: 4, memory: 8 GiB, disk: 1 TB}]\n"
        "services:\n"
        "  - {name: wiki, components: [{name: web, requires: {cores: 1, memory: 1 GiB}}]}\n"
        "  - {name: giant, components: [{name: web, requires: {memory: 1 TiB}}]}\n"
    )
    out = tmp_path / "map.svg"
    command = ["estate", "map", str(tmp_path), "--out", str(out), "--at", "2026-01-15"]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stdout) == (0, f"{out}: hosts 1, instances 1\n"), done.output
    said = "".join(ElementTree.parse(out).getroot().itertext())
    assert "wiki/web/production/1: memory 1 GiB" in said
    assert "giant/web/production/1: " in said
    nowhere = CliRunner().invoke(app, [*command[:3], "--out", str(tmp_path / "no" / "map.svg")])
    assert "map.svg: cannot be written: No such file or directory" in str(nowhere.exception)
