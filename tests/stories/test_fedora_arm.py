"""Fedora, 2012: 100 to 300 ARM builders join about 100 nodes. What gives way first?

The questions: when does the build network run out of addresses, which prefix is enough, and how
much bandwidth does the package server need?
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import pytest

from tests.stories.estates import EXAMPLES, Others, changed, estate, otherwise, unvaried

pytestmark = pytest.mark.story

DAY = ("--at", "2012-02-01")
ARM = EXAMPLES / "fedora-arm"
COUNT = "count: {low: 100, likely: 200, high: 300}"
COPIES = "copies: {low: 100, likely: 150, high: 200}"
OTHERS: Others = {
    "builders.yaml": [
        ("cores: 8", "cores: 4", "cores: 32"),
        ("memory: 16 GB", "memory: 4 GB", "memory: 1 TB"),
        ("disk: 500 GB", "disk: 40 GB", "disk: 8 TB"),
        ("memory: 4 GB", "memory: 1 GB", "memory: 64 GB"),
    ],
    "network.yaml": [
        ("size: 2 GB", "size: 1 GB", "size: 3 GB"),
        ("link: 1 G", "link: 10 G", "link: 500 M"),
        ("within: 30 min", "within: 1 h", "within: 5 min"),
        # Which /24s they are: here one whose /23 begins before it, and two far apart.
        ("10.5.124.0/24", "10.5.125.0/24", "10.9.0.0/24"),
        ("10.5.126.0/24", "10.5.128.0/24", "10.8.0.0/24"),
    ],
}


def ahead(folder: Path) -> dict[str, Any]:
    return dict(estate("forecast", folder, *DAY, "--json").json)


def network(folder: Path, name: str) -> dict[str, Any]:
    return next(one for one in ahead(folder)["networks"] if one["name"] == f"phx2/{name}")


def test_when_the_build_network_is_full_and_what_is_enough() -> None:
    said = estate("forecast", ARM, *DAY)
    assert said.code == 0
    assert "phx2/build 10.5.124.0/24: 2012-02-01, not at low" in said.lines
    assert "lifted by: 10.5.124.0/23 has 509" in said.lines
    assert "phx2/storage 10.5.126.0/24: not within the horizon" in said.lines
    assert "arm/builder/production: 20 (10 to 30) of 200 (100 to 300)" in said.lines


def test_whatever_was_assumed_a_23_is_enough(tmp_path: Path) -> None:
    for folder in otherwise("fedora-arm", tmp_path, OTHERS).values():
        build, storage = network(folder, "build"), network(folder, "storage")
        assert build["capacity"] == storage["capacity"] == 253
        assert build["most"] == {"low": 200, "likely": 300, "high": 400}
        assert build["out"]["earliest"] == build["out"]["likely"] is not None
        assert build["out"]["latest"] is None
        for level in ("likely", "high"):
            assert build["enough"][level]["prefix"].endswith("/23")
            assert build["enough"][level]["capacity"] == 509
            assert build["enough"][level]["overlaps"] == []
        assert storage["out"] == dict.fromkeys(("earliest", "likely", "latest"))


@pytest.mark.parametrize("nodes", [90, 100, 110])
def test_about_100_nodes_leave_room_for_about_150(nodes: int, tmp_path: Path) -> None:
    left = 253 - nodes
    for more, full in ((left, False), (left + 1, True)):
        (tmp_path / str(more)).mkdir()
        folder = changed(
            "fedora-arm",
            tmp_path / str(more),
            ("builders.yaml", "node-[001:100]", f"node-[001:{nodes:03}]"),
            ("builders.yaml", COUNT, f"count: {more}"),
        )
        assert (network(folder, "build")["out"]["likely"] is not None) is full


def test_with_the_storage_network_for_all_it_is_full_at_the_same_builder(tmp_path: Path) -> None:
    both = changed(
        "fedora-arm", tmp_path, ("builders.yaml", "{build: 1}", "{build: 1, storage: 1}")
    )
    build, storage = network(both, "build"), network(both, "storage")
    assert storage["out"] == build["out"]
    assert storage["enough"]["high"]["prefix"] == "10.5.126.0/23"


def test_once_deliveries_have_dates_so_has_the_answer(tmp_path: Path) -> None:
    folder = changed("fedora-arm", tmp_path, ("builders.yaml", COUNT, "count: 0"))
    waves = ("[001:100]", "2012-04-01"), ("[101:200]", "2012-07-01"), ("[201:300]", "2012-10-01")
    (folder / "deliveries.yaml").write_text(
        "hosts:\n"
        + "\n".join(
            f"  - {{name: 'arm-{numbers}', site: phx2, networks: [build], architecture: armhf,"
            f" status: planned, available_from: {day}}}"
            for numbers, day in waves
        )
    )
    assert set(network(folder, "build")["out"].values()) == {"2012-07-01"}


def test_the_package_server_needs_this_much_for_a_mass_rebuild() -> None:
    said = estate("forecast", ARM, *DAY).lines
    assert "mass-rebuild: 150 (100 to 200) copies of 2 GB over 1 Gbit/s" in said
    assert "as it is: 40 min 00 s, 53 min 20 s at high; too long at high" in said
    assert "a second link: 20 min 00 s, 26 min 40 s at high" in said
    assert (
        "within 30 min 00 s: 1.333 Gbit/s, 1.778 Gbit/s at high"
        " (2 such links, or as many caches with one each)"
    ) in said


@pytest.mark.parametrize("copies", [100, 200])
@pytest.mark.parametrize(("size", "minutes"), [(1, 60), (2, 30), (3, 5)])
def test_what_it_needs_follows_from_what_was_assumed(
    copies: int, size: int, minutes: int, tmp_path: Path
) -> None:
    folder = changed(
        "fedora-arm",
        tmp_path,
        ("network.yaml", COPIES, f"copies: {copies}"),
        ("network.yaml", "size: 2 GB", f"size: {size} GB"),
        ("network.yaml", "within: 30 min", f"within: {minutes} min"),
    )
    (found,) = ahead(folder)["transfers"]
    bits = copies * size * 8 * 10**9
    assert found["ways"][0]["seconds"] == bits / 10**9
    assert found["needed"]["likely"] == ceil(bits / (60 * minutes))
    assert found["links"]["likely"] == ceil(bits / (60 * minutes) / 10**9)


def test_what_to_ask_for_is_machines_and_a_larger_prefix() -> None:
    answer = estate("wanted", ARM, *DAY, "--json").json
    for level, many, lacking in (("likely", 200, 47), ("high", 300, 147)):
        found = answer[level]
        (nodes,) = found["additions"]
        assert (nodes["kind"], len(nodes["hosts"])) == ("arm-node", many)
        (wider,) = found["wider"]
        assert wider["name"] == "phx2/build"
        assert (wider["there"], wider["more"], wider["prefix"]) == (253, lacking, "10.5.124.0/23")


def test_every_assumption_is_varied(tmp_path: Path) -> None:
    assert unvaried("fedora-arm", tmp_path, OTHERS) == set()
