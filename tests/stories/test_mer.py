"""Mer, 2011: three lent hosts, and three areas of services that want sixteen.

The questions: what can run, what is missing, what would one more lent host unlock, and what if one
of the three fails?
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from commonfarm.estate.folder import read_facts
from tests.stories.estates import EXAMPLES, Others, Said, changed, estate, otherwise, unvaried

pytestmark = pytest.mark.story

DAY = "2011-12-01"
MER = EXAMPLES / "mer"
OFFERS = MER / "offers"
LARGE = {
    "community-build/frontend/production/1",
    *(f"community-build/worker/production/{number}" for number in range(1, 9)),
    *(f"core-build/worker/production/{number}" for number in range(1, 4)),
}
"""What needs 64 GB of memory, and so no host that is there."""
OTHERS: Others = {
    "sizes.yaml": [
        ("memory: 1 GiB", "memory: 512 MiB", "memory: 1280 MiB"),
        ("memory: 4 GiB", "memory: 2 GiB", "memory: 5 GiB"),
    ],
    "machines.yaml": [
        ("title: the company that", "title: one who", "title: a sponsor that"),
        ("from: 2011-09-01", "from: 2011-03-01", "from: 2011-11-30"),
        ("192.0.2.0/26", "192.0.2.0/28", "198.51.100.0/24"),
        ("disk: 2 TB", "disk: 1500 GB", "disk: 4 TB"),
        (
            "allocation_ratio: {cores: 4}",
            "allocation_ratio: {cores: 3}",
            "allocation_ratio: {cores: 8}",
        ),
        ("cost: 10", "cost: 7", "cost: 20"),
        ("cost: 4", "cost: 3", "cost: 6"),
    ],
    "web.yaml": [("likely: 500 GiB", "likely: 300 GiB", "likely: 800 GiB")],
    "build.yaml": [
        ("cores: {low: 8, likely: 16", "cores: {low: 4, likely: 8", "cores: {low: 16, likely: 16"),
        ("memory: 8 GiB", "memory: 4 GiB", "memory: 16 GiB"),
        ("on: [mer2], source", "on: [mer3], source", "on: [], source"),
        ("{on: [mer3], source", "{on: [mer2], source", "{on: [], source"),
        ("disk: 1 TB", "disk: 200 GB", "disk: 2 TB"),
        ("disk: 500 GiB", "disk: 100 GiB", "disk: 1 TiB"),
        (
            "{size: medium, source: {size: assumption}}",
            "{size: small, source: {size: assumption}}",
            "{size: medium, cores: 4, source: {size: assumption, cores: assumption}}",
        ),
    ],
}


def losses(folder: Path, day: str = DAY) -> dict[str, Any]:
    return dict(estate("cliff", folder, "--at", day, "--json").json)


def wanted(folder: Path) -> dict[str, Any]:
    return dict(estate("wanted", folder, "--at", DAY, "--json").json)


def asked_for(answer: dict[str, Any]) -> dict[str, int]:
    return {one["kind"]: len(one["hosts"]) for one in answer["additions"]}


def unlocked(folder: Path, offer: Path) -> dict[str, Any]:
    return dict(estate("offer", folder, offer, "--at", DAY, "--json").json)


def likely(plan: dict[str, Any]) -> dict[str, Any]:
    return dict(plan["intervals"][0]["levels"]["likely"])


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return otherwise("mer", tmp_path_factory.mktemp("worlds"), OTHERS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mer") / "plan.json"


@pytest.fixture(scope="module")
def told(file: Path) -> Said:
    return estate("plan", MER, "--at", DAY, "--out", file)


@pytest.fixture(scope="module")
def lost() -> dict[str, Any]:
    return losses(MER)


def test_most_machines_run_on_one_host_which_is_nearly_full() -> None:
    facts = read_facts(MER, date.fromisoformat(DAY))
    hosts = [one.on for one in facts.instances.values() if one.on]
    assert sorted({host: hosts.count(host) for host in hosts}.items()) == [
        ("mer1", 16), ("mer2", 1), ("mer3", 1),
    ]  # fmt: skip
    one = [
        each.requirement.at("likely")["memory"]
        for each in facts.instances.values()
        if each.on == "mer1"
    ]
    assert 0.95 < sum(one) / facts.hosts["mer1"].capacity["memory"] < 1


def test_what_can_run_and_what_cannot(told: Said, file: Path) -> None:
    assert told.code == 1
    assert told.lines[0] == "22 of 35 instances are placed from 2011-12-01"
    assert "lifted by: a host with cores 16, disk 1 TB and memory 64 GB" in told.lines
    assert any(line.startswith("rests on ") for line in told.lines)
    assert estate("verify", file, MER).code == 0


def test_the_web_area_runs_over_two_hosts(file: Path, told: Said) -> None:
    """What is not there yet is placed beside the host that is full, so nothing has to move."""
    placed = likely(json.loads(file.read_text()))
    web = {name: host for name, host in placed["on"].items() if name.startswith("web/")}
    assert len(web) == 19
    assert len(set(web.values())) == 2
    assert placed["broken_spreads"] == []
    assert placed["moved"] == {}


@pytest.mark.parametrize("way", ["as assumed", "more"])
def test_if_any_one_of_the_three_fails_the_two_others_carry_the_web_area(
    way: str, lost: dict[str, Any], worlds: dict[str, Path]
) -> None:
    found = lost if way == "as assumed" else losses(worlds[way])
    hosts = {one["name"]: one for one in found["today"] if one["who"] == "host"}
    assert set(hosts) == {"mer1", "mer2", "mer3"}
    for one in hosts.values():
        # What goes is the building of images, which wants one of them for itself.
        assert {name.split("/")[1] for name in one["lost"]} <= {"images"}
        assert one["proven"]
    today = {name for name in hosts["mer1"]["displaced"] if name.startswith("web/")}
    assert len(today) > 19 / 2
    assert today <= hosts["mer1"]["moves"].keys()


def test_all_three_come_from_one_sponsor_and_stand_at_one_site(lost: dict[str, Any]) -> None:
    first, second, *_ = lost["today"]
    assert {first["who"], second["who"]} == {"site", "sponsor"}
    assert len(first["lost"]) == len(second["lost"]) == 22


def test_when_the_hosts_could_be_gone(lost: dict[str, Any]) -> None:
    """Within the first year not before it is over; after it, three months after notice."""
    (pledge,) = lost["ends"]
    assert (pledge["on"], pledge["certain"], len(pledge["lost"])) == ("2012-09-01", False, 22)
    (pledge,) = losses(MER, "2012-08-15")["ends"]
    assert (pledge["on"], pledge["certain"]) == ("2012-11-15", False)


def test_once_notice_is_given_the_day_is_known(tmp_path: Path) -> None:
    notice = ("machines.yaml", "    terms: goodwill\n", "    notice_given_on: 2012-07-01\n")
    said = estate("cliff", changed("mer", tmp_path, notice), "--at", "2012-07-02")
    assert any(
        line.startswith("2012-10-01 pledge three-hosts of lender") and "ends" in line
        for line in said.lines
    )


@pytest.mark.parametrize("way", ["less", "more"])
def test_whatever_was_assumed_twelve_large_hosts_are_missing(
    way: str, worlds: dict[str, Path]
) -> None:
    found = wanted(worlds[way])
    now, high = found["likely"], found["high"]
    # The web area has its place; what else has none wants a physical host of its own.
    assert {*now["missing"]} >= LARGE
    assert {name.split("/")[1] for name in {*now["missing"]} - LARGE} <= {"images"}
    assert now["nowhere"] == high["nowhere"] == []
    # Each of the large ones fills a host; a fourth build worker would be one more.
    assert asked_for(now)["host-64"] == 12
    assert asked_for(high)["host-64"] == 13
    assert now["proven"]
    assert now["cost"] == now["bound"]


def test_the_letter_is_for_people_who_know_machines_and_not_commonfarm() -> None:
    said = estate("wanted", MER, "--at", DAY, "--letter")
    assert said.code == 0
    for needed in (
        "- 12 x server with 16 CPUs and 64 GB of memory",
        "- 1 x server with 24 GB of memory, as the three that are there",
        "memory     64 GB",
        "- build service of the community: frontend, images, worker (8 of them)",
    ):
        assert needed in said.lines
    words = " ".join(said.lines)
    for promise in ("for one year at least", "three months' notice", "mer-community, mer-release"):
        assert promise in words
    assert max(map(len, said.text.splitlines())) <= 72
    for jargon in ("CUSTOM_", "instance", "/production/", "dedicated", "assumption"):
        assert jargon not in said.text


@pytest.mark.parametrize("way", ["as assumed", "more"])
def test_one_more_host_of_24_gb_is_room_for_the_loss_of_any_other(
    way: str, worlds: dict[str, Path]
) -> None:
    found = unlocked(worlds[way], OFFERS / "host-24.yaml")
    assert found["day"] == "2012-01-01"
    assert [tuple(one) for one in found["survived"]] == [
        ("host", "mer1"), ("host", "mer2"), ("host", "mer3"),
    ]  # fmt: skip
    # At most the building of images, which wants a host of its own; nothing of the large.
    assert {name.split("/")[1] for name in found["unlocked"]} <= {"images"}
    assert {one["instance"] for one in found["unplaced"]} >= LARGE
    assert way != "as assumed" or found["unlocked"] == {
        "community-build/images/production/1": "2013-01-01"
    }


def test_one_more_host_of_64_gb_unlocks_one_of_the_large_ones() -> None:
    found = unlocked(MER, OFFERS / "host-64.yaml")
    ((name, until),) = found["unlocked"].items()
    assert name in LARGE
    assert until == "2013-01-01"
    assert len(found["unplaced"]) == 12


def test_a_host_that_helps_nobody_is_told_why(tmp_path: Path) -> None:
    text = (OFFERS / "host-24.yaml").read_text()
    for old, new in (
        ("memory: 24 GB", "memory: 512 MB"),
        ("bare_metal: true", "bare_metal: false"),
    ):
        text = text.replace(old, new)
    offer = tmp_path / "offer.yaml"
    offer.write_text(text)
    said = estate("offer", MER, offer, "--at", DAY)
    assert "it unlocks nothing: what has no place fits there neither" in said.lines
    assert any("host mer4 lacks bare metal" in line for line in said.lines)


def test_every_assumption_is_varied(tmp_path: Path) -> None:
    assert unvaried("mer", tmp_path, OTHERS) == set()
