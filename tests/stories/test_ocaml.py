"""OCaml, 2020: seven services, nine machines, and a list of what was still to do.

The questions: what is the complete list of what is needed, and what of it fits on shared machines?
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

DAY = "2020-02-13"
OCAML = EXAMPLES / "ocaml"
SHARED = {"toxis", "laodoke", "phoebe"}
FITS = {
    "docker-base-images/builder-nix/production/1",
    "ocaml-ci/web/staging/1",
    "ocaml-ci/fleet/staging/1",
    "benchmarks/orchestrator/production/1",
    "opam-ci/web/production/1",
}
A_SERVER = {
    "web-deployment/server/production/1",
    "health-check/server/testing/1",
    "mirage-ci/server/production/1",
}
ROOM = "cores: 32, memory: 64 GiB, disk: 2 TB, source"
OTHERS: Others = {
    "sizes.yaml": [
        ("cores: 4, memory: 8", "cores: 2, memory: 4", "cores: 6, memory: 12"),
        ("cores: 16, memory: 32", "cores: 12, memory: 24", "cores: 18, memory: 36"),
        ("cores: 64, memory: 128", "cores: 48, memory: 96", "cores: 96, memory: 256"),
    ],
    "machines.yaml": [
        (
            "cores: 32\n    memory: 64",
            "cores: 28\n    memory: 56",
            "cores: 40\n    memory: 80",
        ),
        (
            "cores: 64\n    memory: 128",
            "cores: 48\n    memory: 96",
            "cores: 96\n    memory: 256",
        ),
        (
            "cores: 16\n    memory: 64",
            "cores: 16\n    memory: 16",
            "cores: 32\n    memory: 128",
        ),
        (
            "cores: 16\n    memory: 32",
            "cores: 8\n    memory: 8",
            "cores: 24\n    memory: 48",
        ),
        (
            "cores: 4\n    memory: 4",
            "cores: 2\n    memory: 1",
            "cores: 8\n    memory: 8",
        ),
        ("192.0.2.0/27", "192.0.2.0/28", "198.51.100.0/24"),
        ("cost: 10", "cost: 8", "cost: 12"),
        ("cost: 18", "cost: 15", "cost: 25"),
    ],
    "services.yaml": [
        # Staging's fleet is smaller; so is it with a quarter, or with nearly all of production's.
        ("factor: 1/2}, source", "factor: 1/4}, source", "factor: 5/9}, source"),
        ("isolated_cores: 8", "isolated_cores: 4", "isolated_cores: 16"),
        ("{ipv4: 4, ipv6: 4}", "{ipv4: 2, ipv6: 2}", "{ipv4: 8, ipv6: 16}"),
    ],
}


def likely(folder: Path) -> dict[str, Any]:
    return dict(estate("plan", folder, "--at", DAY, "--json").json["intervals"][0]["levels"])


def unplaced(placed: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    return {one["instance"]: one["reasons"] for one in placed["unplaced"]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ocaml") / "plan.json"


@pytest.fixture(scope="module")
def told(file: Path) -> Said:
    return estate("plan", OCAML, "--at", DAY, "--out", file)


@pytest.fixture(scope="module")
def plan(told: Said, file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())["intervals"][0]["levels"])


def test_the_complete_list_of_what_is_needed() -> None:
    instances = read_facts(OCAML, date.fromisoformat(DAY)).instances.values()
    needed = {one.name for one in instances if one.status == "needed" and one.there("likely")}
    assert needed == FITS | A_SERVER


def test_what_fits_on_shared_machines_and_what_needs_a_server(plan: dict[str, Any]) -> None:
    found = plan["likely"]
    assert set(unplaced(found)) == A_SERVER
    assert {found["on"][name] for name in FITS} <= SHARED
    assert found["moved"] == {}
    assert found["most_placed"] == "proven"


def test_anyone_can_check_that(told: Said, file: Path) -> None:
    assert told.code == 1
    assert estate("verify", file, OCAML).code == 0


def test_half_of_production_needs_a_server_and_a_quarter_does_not(
    told: Said, plan: dict[str, Any]
) -> None:
    testing = "health-check/server/testing/1"
    assert plan["low"]["on"][testing] in SHARED
    assert testing in unplaced(plan["high"])
    assert any("server/testing/1" in line and "fits at low" in line for line in told.lines)


def test_why_the_others_do_not_fit(plan: dict[str, Any]) -> None:
    reasons = unplaced(plan["likely"])
    (why, *_) = reasons["web-deployment/server/production/1"]
    assert "a host of its own" in why["text"]
    assert why["lifted_by"].endswith(" that has bare metal and virtualisation")
    (why, *_) = reasons["mirage-ci/server/production/1"]
    assert why["lifted_by"] == "a host with cores 64, disk 2 TiB and memory 128 GiB"


def test_nothing_runs_beside_the_benchmarks(plan: dict[str, Any]) -> None:
    for placed in plan.values():
        there = [name for name, host in placed["on"].items() if host == "autumn"]
        assert there == ["benchmarks/runner/production/1"]


def test_whatever_was_assumed_the_small_ones_share_and_two_need_a_server(tmp_path: Path) -> None:
    for way, folder in otherwise("ocaml", tmp_path, OTHERS).items():
        if way != "as assumed":
            found = likely(folder)["likely"]
            assert {found["on"].get(name) for name in FITS} <= SHARED, way
            assert set(unplaced(found)) >= A_SERVER - {"health-check/server/testing/1"}, way


KVM = """
hosts:
  - {name: kvm, site: lab, networks: [ipv4, ipv6], architecture: amd64, cores: 8, memory: 32 GiB,
     disk: 2 TB, bare_metal: true, virtualisation: true}
"""
SMALLER = ("machines.yaml", "192.0.2.0/27", "192.0.2.0/28")
A_PROXY = ("services.yaml", "{ipv4: 4, ipv6: 4}", "{ipv4: 1, ipv6: 1}")


@pytest.mark.parametrize(
    ("changes", "fits"), [((), True), ((SMALLER,), False), ((SMALLER, A_PROXY), True)]
)
def test_a_server_for_guests_needs_addresses_or_else_one_proxy(
    changes: tuple[tuple[str, str, str], ...], fits: bool, tmp_path: Path
) -> None:
    folder = changed("ocaml", tmp_path, *changes)
    (folder / "kvm.yaml").write_text(KVM)
    found = likely(folder)["likely"]
    name = "web-deployment/server/production/1"
    if fits:
        assert found["on"][name] == "kvm"
    else:
        (why, *_) = unplaced(found)[name]
        assert why["code"] == "addresses-used-up"
        assert "needs 4 addresses" in why["text"]
        assert "network lab/ipv4, which has 3 addresses left" in why["text"]


def wanted(folder: Path) -> dict[str, Any]:
    return dict(estate("wanted", folder, "--at", DAY, "--json").json["likely"])


def test_what_is_to_be_asked_for() -> None:
    found = wanted(OCAML)
    assert set(found["missing"]) == A_SERVER
    assert {
        one["kind"]: {name for guests in one["hosts"].values() for name in guests}
        for one in found["additions"]
    } == {
        "big-server": {"mirage-ci/server/production/1"},
        "server": {"health-check/server/testing/1", "web-deployment/server/production/1"},
    }
    assert found["nowhere"] == found["wider"] == []
    assert found["cost"] == found["bound"] == 38


def test_with_fewer_addresses_a_larger_prefix_is_asked_for_too(tmp_path: Path) -> None:
    """A server is not enough where its guests would have no addresses; a proxy needs fewer."""
    smaller = ("machines.yaml", "192.0.2.0/27", "192.0.2.0/29"), ("machines.yaml", "[ipv4]", "[]")
    more = ("services.yaml", "{ipv4: 4, ipv6: 4}", "{ipv4: 8, ipv6: 4}")
    (wider,) = wanted(changed("ocaml", tmp_path, *smaller, more))["wider"]
    assert (wider["name"], wider["there"], wider["more"]) == ("lab/ipv4", 5, 3)
    assert wider["prefix"] == "192.0.2.0/28"


def test_every_assumption_is_varied(tmp_path: Path) -> None:
    assert unvaried("ocaml", tmp_path, OTHERS) == set()
