"""Sugar Labs, 2009: one machine at 45% of its CPU, and 25% more each month.

The question: when does each rung of the ladder come? And the error that must be found: files that
two instances share behind a symbolic link.
"""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil, log
from pathlib import Path
from typing import Any

import pytest

from tests.stories.estates import EXAMPLES, Others, changed, estate, otherwise, unvaried

pytestmark = pytest.mark.story

DAY = date(2009, 10, 13)
MONTH = 365.25 / 12
LIBRARY = EXAMPLES / "sugarlabs"
SHARE, RATE = 0.45, 1.25
CORES = {"application": 0.75, "database": 0.75, "cache": 0.2, "download": 0.3}
"""What the parts of all three instances ask for: so the measured load is split over them."""
TRIGGERS = {"download": 0.60, "database": 0.70, "cache": 0.75, "application": 0.80}
OTHERS: Others = {
    "machines.yaml": [
        ("cores: 4", "cores: 2", "cores: 16"),
        ("memory: 16 GiB", "memory: 12 GiB", "memory: 1 TiB"),
        ("disk: 1 TB", "disk: 500 GB", "disk: 20 TB"),
    ],
    "library.yaml": [
        ("memory: 2 GiB, disk: 20", "memory: 1 GiB, disk: 5", "memory: 3 GiB, disk: 40"),
        ("factor: 1/4", "factor: 1/8", "factor: 1/2"),
        ("cores: 200m", "cores: 100m", "cores: 300m"),
        ("cores: 300m", "cores: 100m", "cores: 400m"),
        ("on: 2009-09-01", "on: 2009-08-01", "on: 2009-10-01"),
        ("above: 60%", "above: 55%", "above: 65%"),
        ("above: 70%", "above: 66%", "above: 72%"),
        ("above: 75%", "above: 71%", "above: 78%"),
        ("above: 80%", "above: 76%", "above: 90%"),
    ],
}


OWN = "file_store: /srv/www-sugarlabs/activities-testing/files"
LINK = f"{OWN} -> /srv/www-sugarlabs/activities/files"


def ahead(folder: Path) -> dict[str, Any]:
    return dict(estate("forecast", folder, "--at", DAY, "--json").json)


def passed(share: float, above: float, since: date = DAY) -> date:
    """Return the first day on which a share that grows by a quarter each month is above another."""
    return since + timedelta(days=ceil(MONTH * log(above / share) / log(RATE)))


def test_without_a_split_the_machine_is_full_in_three_and_a_half_months(tmp_path: Path) -> None:
    assert passed(SHARE, 1) == date(2010, 1, 30)
    assert log(1 / SHARE) / log(RATE) == pytest.approx(3.6, abs=0.03)
    assert "cores of host sunjammer: 2010-01-30" in estate("forecast", LIBRARY, "--at", DAY).lines
    for folder in otherwise("sugarlabs", tmp_path, OTHERS).values():
        full = next(one for one in ahead(folder)["outlooks"] if one["resource"] == "cores")
        assert set(full["out"].values()) == {"2010-01-30"}
        assert full["doubles_on"] == "2010-01-16"


def test_when_each_rung_comes() -> None:
    found = {rung["component"]: rung for rung in ahead(LIBRARY)["rungs"]}
    assert list(found) == list(TRIGGERS)
    whole = sum(CORES.values())
    left, cores = SHARE, dict(CORES)
    before = DAY
    for component, above in TRIGGERS.items():
        # Each on what the earlier ones left: it may only be due later than they are.
        due = max(before, passed(left, above))
        assert found[component]["due"]["likely"] == due.isoformat()
        left -= SHARE * cores.pop(component) / whole
        before = due


def test_the_rungs_come_in_their_order_whatever_triggers_them(tmp_path: Path) -> None:
    for way, folder in otherwise("sugarlabs", tmp_path, OTHERS).items():
        due = [rung["due"]["likely"] for rung in ahead(folder)["rungs"]]
        assert due == sorted(due), way
        above = {"less": 0.55, "more": 0.65}.get(way, 0.60)
        # Nothing is split off before it: the first rung's day rests on its trigger alone.
        assert due[0] == passed(SHARE, above).isoformat()
        # The machine would be full by the end of January: two splits come before that.
        assert due[1] < "2010-01-30" < due[2] or way != "as assumed"


def test_the_answer_says_on_what_it_rests() -> None:
    said = estate("forecast", LIBRARY, "--at", DAY)
    assert "library 1, download: 2009-11-22" in said.lines
    assert any(line.startswith("the date rests on: download takes 15% of") for line in said.lines)
    assert any(line.startswith("rests on ") for line in said.lines)


def test_mirrors_took_the_downloads() -> None:
    traffic = next(
        one
        for one in ahead(LIBRARY)["outlooks"]
        if one["scope"] == "service" and one["resource"] == "traffic"
    )
    # The newest of what was measured counts, and it grows with the rest.
    assert traffic["today"]["likely"] == pytest.approx(5e9 * MONTH)
    assert traffic["out"]["likely"] is None


def test_files_shared_behind_a_symbolic_link_are_found(tmp_path: Path) -> None:
    said = estate("check", changed("sugarlabs", tmp_path, ("library.yaml", OWN, LINK)))
    assert said.code == 2
    lines = (LIBRARY / "library.yaml").read_text().splitlines()
    testing = lines.index(f"        {OWN}") + 1
    files = "/srv/www-sugarlabs/activities/files"
    assert said.text == (
        f"library.yaml:{testing}:21: library/testing uses the file store {files}"
        f" of library/production, see library.yaml:{testing - 4}:21;"
        " give it one of its own, or say `shared_with: [production]`"
    )


def test_what_is_shared_on_purpose_is_said(tmp_path: Path) -> None:
    shared = f"{LINK}\n        shared_with: [production]"
    assert estate("check", changed("sugarlabs", tmp_path, ("library.yaml", OWN, shared))).code == 0


def test_nothing_is_to_be_asked_for_today() -> None:
    said = estate("wanted", LIBRARY, "--at", DAY)
    assert said.code == 0
    assert said.lines[0] == "all 8 instances have a place on 2009-10-13: no host is wanted"


def test_all_is_lost_with_the_one_machine() -> None:
    found = estate("cliff", LIBRARY, "--at", DAY, "--json").json["today"]
    host = next(one for one in found if one["who"] == "host")
    assert (host["name"], len(host["lost"])) == ("sunjammer", 8)


def test_every_assumption_is_varied(tmp_path: Path) -> None:
    assert unvaried("sugarlabs", tmp_path, OTHERS) == set()
