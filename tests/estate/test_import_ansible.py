"""An inventory of Ansible becomes an estate, by Ansible's own order of merging."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commonfarm.estate.exports.ansible import inventory as exported
from commonfarm.estate.imports.ansible import read
from commonfarm.estate.imports.draft import Draft, with_capacity_from_load
from commonfarm.lib.errors import BadInputError
from tests.estate.consumers import ansible_list, imported, run
from tests.estate.making import amounts, facts, host, site

# As a distribution has it: guests name their host, most of it is said of groups.
INVENTORY = """
[virthosts]
vmhost-01.example.org
vmhost-02.example.org

[builders]
build-[01:03].example.org

[builders_big]
build-03.example.org

[a_staging]
wiki01.stg.example.org

[z_all:children]
a_staging
builders

[builders:children]
builders_big

[web]
Web_1 vmhost=gone.example.org mem_size=lots num_cpus=2
"""
GROUPS = {
    "all": "datacenter: rdu\nother: {{ 1 }}\n",
    "virthosts": "ansible_architecture: aarch64\n",
    "z_all": "mem_size: 1\nvmhost: vmhost-02.example.org\nenv: outer\n",
    "builders": "mem_size: 4096\nnum_cpus: 4\nlvm_size: 20000\nvmhost: vmhost-01.example.org\n",
    "builders_big": "mem_size: 8192\nlvm_size: 1t\n",
    "a_staging": "mem_size: 2048\nnum_cpus: 2\nlvm_size: 20g\nenv: staging\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory in a folder, and what Ansible prints of it, merged and for export."""
    made = tmp_path_factory.mktemp("ansible")
    (made / "hosts").write_text(INVENTORY)
    (made / "group_vars").mkdir()
    for name, text in GROUPS.items():
        (made / "group_vars" / f"{name}.yml").write_text(text.replace("{{ 1 }}", "1"))
    (made / "host_vars").mkdir()
    (made / "host_vars" / "vmhost-02.example.org.yml").write_text("ansible_host: 192.0.2.7\n")
    (made / "list.json").write_text(json.dumps(ansible_list(made / "hosts", made)))
    done = run("ansible-inventory", "-i", made / "hosts", "--list", "--export", home=made)
    assert done.returncode == 0, done.stderr
    (made / "export.json").write_text(done.stdout)
    return made


def drafted(folder: Path, name: str) -> Draft:
    return read("inventory.json", (folder / name).read_bytes())


def test_guests_become_services_where_they_run(folder: Path, tmp_path: Path) -> None:
    found = imported(drafted(folder, "list.json"), tmp_path / "estate")
    assert set(found.hosts) == {
        "gone.example.org",
        "vmhost-01.example.org",
        "vmhost-02.example.org",
    }
    second = found.hosts["vmhost-02.example.org"]
    assert (second.architecture, second.site, second.address) == ("arm64", "rdu", "192.0.2.7")
    on = {one.service: (one.on, one.environment, one.status) for one in found.instances.values()}
    assert on["build-03.example.org"] == ("vmhost-01.example.org", "outer", "existing")
    assert on["wiki01.stg.example.org"] == ("vmhost-02.example.org", "staging", "existing")
    assert on["web-1"] == ("gone.example.org", "production", "existing")
    big = found.instances["build-03.example.org/vm/outer/1"].requirement
    assert big.at("likely") == amounts({"cores": 4, "memory": "8 GiB", "disk": "1 TiB"})
    assert big.architectures == ("arm64",)


def test_what_is_not_carried_over_is_said(folder: Path) -> None:
    lost = "\n".join(drafted(folder, "list.json").lost)
    for said in (
        "service 'Web_1': its name; it is called web-1",
        "Web_1: its mem_size, as 'lots' is no amount of memory",
        "Web_1: how much of memory it needs, which is not said",
        "host vmhost-01.example.org: its capacity, which is not said there; write cores",
        "variables of other names: other",
    ):
        assert said in lost


def test_ansibles_merged_list_and_its_export_come_to_the_same(folder: Path) -> None:
    assert drafted(folder, "list.json") == drafted(folder, "export.json")


def test_capacity_from_load_is_a_quarter_more_and_an_assumption(
    folder: Path, tmp_path: Path
) -> None:
    draft = with_capacity_from_load(drafted(folder, "list.json"), 1.25)
    assert not [one for one in draft.lost if one.startswith("host vmhost")]
    found = imported(draft, tmp_path / "estate")
    first = found.hosts["vmhost-01.example.org"]
    assert first.capacity == amounts({"cores": 15, "memory": "20 GiB", "disk": "1360720 MiB"})
    said = [one.what for one in found.assumptions if "vmhost-01" in one.what]
    assert len(said) == 1
    assert "20 GiB" in said[0]


def test_the_same_in_yaml_with_ranges(tmp_path: Path) -> None:
    text = """
all:
  vars: {datacenter: rdu}
  children:
    guests:
      hosts:
        vm-[1:3]: {vmhost: big, num_cpus: 1, mem_size: 1024}
        vm-3: {num_cpus: 2}
  hosts:
    big: {ansible_architecture: ppc64le, ansible_processor_vcpus: 8, ansible_memtotal_mb: 16384}
"""
    found = imported(read("inventory.yaml", text.encode()), tmp_path / "estate")
    assert found.hosts["big"].architecture == "ppc64el"
    assert found.hosts["big"].capacity == amounts({"cores": 8, "memory": "16 GiB"})
    cores = [one.requirement.at("low")["cores"] for one in found.instances.values()]
    assert cores == [1000, 1000, 2000]


def test_what_we_export_to_ansible_comes_back_the_same(tmp_path: Path) -> None:
    made = facts(
        site("phx2"),
        host(
            "arm-001",
            site="phx2",
            rack="r1",
            architecture="arm64",
            address="2001:db8::7",
            traits={"HW_CPU_AARCH64_ASIMD", "CUSTOM_BARE_METAL"},
            administrators=("anna",),
            cores="15.5",
            memory="24 GB",
            traffic="50 TB/month",
            CUSTOM_GPU=2,
            reserved={"memory": "2 GiB"},
            allocation_ratio={"cores": "1.5"},
        ),
        host("bare"),
    )
    (tmp_path / "inventory.yaml").write_text(exported(made, list(made.hosts.values())).text)
    back = json.dumps(ansible_list(tmp_path / "inventory.yaml", tmp_path)).encode()
    found = imported(read("list.json", back), tmp_path / "estate")
    for name, one in made.hosts.items():
        assert replace(found.hosts[name], where=one.where, source=None) == one


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("[]", "no mapping stands at the top"),
        ("{", "i:1:2: no JSON: Expecting property name"),
        ("{}", "has no hosts"),
        ("[group]\nhost\n", "i:2:1: did not find expected <document start>; take what `ansible"),
        ('{"_meta": {"hostvars": {"a": 3}}}', "in a stands 3 where a mapping is wanted"),
        ('{"_meta": {}, "g": {"hosts": [3]}}', "in g stands [3] where names are wanted"),
        ('{"_meta": {}, "g": {"hosts": "a"}}', "in g stands 'a' where names are wanted"),
        ("all: {hosts: [a]}", "in all stands ['a'] where a mapping is wanted"),
        ("all: {host: {a: }}", "the group all has `host`; it is no inventory"),
        ("all: {hosts: {'a[1:9999999]': }}", "are more than 10000 hosts"),
        ("all: {hosts: {a: !vault x}}", "the tag `!vault` is not used here"),
        ("[" * 100_000, "more than 30 levels deep"),
        ('{"a":' * 100_000, "no JSON"),
        (
            '{"_meta": {}, "a": {"children": ["b"], "hosts": ["x"]}, "b": {"children": ["a"]}}',
            "the groups a, b hold each other",
        ),
    ],
)
def test_what_is_no_inventory_ends_as_a_clear_error(text: str, what: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read("i", text.encode())
    assert what in str(caught.value)


def test_groups_in_groups_end_before_they_take_all_memory() -> None:
    groups = {f"g{n}": {"children": [f"g{n + 1}"], "hosts": [f"h{n}"]} for n in range(5000)}
    with pytest.raises(BadInputError, match="its groups lie too deep in each other"):
        read("i", json.dumps({"_meta": {}, **groups}).encode())


def test_hostile_names_and_values_become_an_estate_or_are_said(tmp_path: Path) -> None:
    hosts = {
        "a\n- name: x": {"ansible_host": "10.0.0.1\nx", "datacenter": "}{"},
        "A": {"commonfarm": {"capacity": {"name": "x", "cores": 4}, "rack": "r"}},
        "a": {"commonfarm": "none", "mem_size": -3, "num_cpus": True, "site": ["x"]},
        "vm": {"vmhost": "vm2"},
        "vm2": {"vmhost": "vm"},
        "…": {"vmhost": "a", "num_cpus": "9" * 30, "env": "#"},
    }
    found = read("i", json.dumps({"_meta": {"hostvars": hosts}}).encode())
    made = imported(found, tmp_path / "estate")
    assert set(made.hosts) == {"a-name-x", "a", "a-2"}
    assert set(made.services) == {"service", "vm", "vm2"}
    assert any("vm: that it runs on vm2, which is virtual itself" in one for one in found.lost)
