"""An estate of a distribution's size, written as people write it, reads without a fault."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from benchmarks.fedora_estate import estate_of, made_data

from commonfarm.estate.folder import read_facts


def test_it_has_each_machine_where_it_runs_and_a_quarter_to_spare(tmp_path: Path) -> None:
    data = made_data()
    data["hosts"].append(
        {"name": "idle", "arch": "s390x", "site": None, "sponsor": None, "guests": []}
    )
    left_out = estate_of(data, tmp_path)
    facts = read_facts(tmp_path)
    assert (len(facts.hosts), len(facts.instances)) == (37, 257)
    assert any(one.startswith("idle: no machine runs there") for one in left_out)
    on = {one["name"]: one["vmhost"] for one in data["vms"]}
    assert {one.service: one.on for one in facts.instances.values()} == on
    assert sum(host.sponsor == "giver" for host in facts.hosts.values()) > 1
    for host in facts.hosts.values():
        guests = [one for one in facts.instances.values() if one.on == host.name]
        assert {one.requirement.architectures for one in guests} == {(host.architecture,)}
        for key, least in (("cores", 1000), ("memory", 2**20), ("disk", 2**20)):
            load = sum(one.requirement.at("likely")[key] for one in guests)
            assert 0 <= host.capacity[key] - load * Fraction(5, 4) < least
    assumed = [one for one in facts.assumptions if one.where.startswith("fedora.yaml")]
    networks = {one["subnet"]: one["vmhost"] for one in data["vms"]}
    assert len(assumed) == 37 + len(networks)
    site_of = {one["name"]: one["site"] for one in data["hosts"]}
    for one in facts.instances.values():
        (network,) = one.requirement.addresses
        assert network in facts.sites[site_of[networks[network]]].networks
        assert facts.hosts[one.on or ""].site == site_of[networks[network]]


def test_anywhere_nothing_keeps_a_machine_at_a_site(tmp_path: Path) -> None:
    estate_of(made_data(), tmp_path, anywhere=True)
    facts = read_facts(tmp_path)
    assert not any(one.requirement.addresses for one in facts.instances.values())
    assert not any(one.networks for one in facts.sites.values())


def test_the_same_data_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        estate_of(made_data(), tmp_path / name)
    for file in ("fedora.yaml", "pledges.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
