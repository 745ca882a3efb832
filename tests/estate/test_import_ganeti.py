"""What we read of Ganeti's text data is what Ganeti's own tools see in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.ganeti import counted, free, hspace, made_cluster

from commonfarm.estate.facts import Facts
from commonfarm.estate.imports.ganeti import read
from commonfarm.lib.errors import BadInputError
from tests.estate.consumers import consumer, imported, run

MIB = 2**20
POLICY = "512,1,1024,1,1,1;8192,8,65536,16,8,12|plain,drbd|4.0|32.0"
# Two groups; an instance without mirror, one with, one stopped, and a node that is off.
CLUSTER = f"""\
east|u-1|preferred||
west|u-2|last_resort||

n1|16384|1024|9216|102400|71680|8|M|u-1|4||N|0|1|1.0
n2|16384|1024|14848|102400|92160|8|N|u-1|4||N|0|2|1.0
N_3|8192|512|7680|51200|51200|4|N|u-2
dead|?|?|?|?|?|?|N|u-2

web|2048|20480|2|running|Y|n1||plain||1|-|N
db|3072|8192|4|running|Y|n1|n2|drbd|x|1|-|N
old|1024|512|1|ADMIN_down|Y|n2||plain||1|-|N
lost|512|512|1|ERROR_nodedown|Y|dead||plain||1|-|N

htools:iextags:service

|1000,1,5000,1,1,1|{POLICY}
east|700,2,9000,1,1,1|{POLICY}
west|700,2,9000,1,1,1|{POLICY}
"""


def nodes(file: Path, program: str = "hspace") -> dict[str, dict[str, int]]:
    """Return what one of Ganeti's programs prints of the nodes at first, in MiB and GiB.

    hbal is quick and takes one group, hspace takes several and tries what fits.
    """
    done = run(program, "-t", file, "-p", *(["-l0"] if program == "hbal" else []), home=file.parent)
    printed = done.stdout + done.stderr
    table = re.search(r"Initial cluster status:\n(.*?)\n\n", printed, re.DOTALL)
    assert table, printed
    head, *rows = (line[2:].split() for line in table[1].splitlines())
    found = {}
    for row in rows:
        cells = dict(zip(head[head.index("Name") :], row, strict=True))
        found[cells.pop("Name")] = {key: int(one) for key, one in cells.items() if one.isdigit()}
    return found


@pytest.fixture
def found(tmp_path: Path) -> Facts:
    return imported(read("cluster.data", CLUSTER.encode()), tmp_path / "estate")


def test_nodes_have_what_ganeti_sees_in_them(found: Facts, tmp_path: Path) -> None:
    (tmp_path / "cluster.data").write_text(CLUSTER)
    seen = nodes(tmp_path / "cluster.data")
    for ours, theirs in (("n1", "n1"), ("n2", "n2"), ("n-3", "N_3")):
        host, node = found.hosts[ours], seen[theirs]
        here = [one for one in found.instances.values() if one.on == ours]
        stopped = 1024 if ours == "n2" else 0
        assert host.capacity["memory"] == node["t_mem"] * MIB
        assert host.reserved["memory"] == (node["n_mem"] + node["x_mem"]) * MIB
        assert free(found, ours)["memory"] == (node["u_mem"] - stopped) * MIB
        assert free(found, ours)["disk"] // (1024 * MIB) == node["f_dsk"]
        used = (host.room("cores") or 0) - free(found, ours)["cores"]
        own = node["vcpu"] * 1000 - used
        assert host.room("cores") == node["pcpu"] * 4000 - own
        assert len([one for one in here if one.component == "vm"]) == node["pcnt"]
        assert len([one for one in here if one.component == "replica"]) == node["scnt"]


def test_a_cluster_becomes_hosts_services_and_rules(found: Facts) -> None:
    assert set(found.hosts) == {"n1", "n2", "n-3"}
    assert [found.hosts[one].rack for one in ("n1", "n-3")] == ["east", "west"]
    assert found.hosts["n-3"].room("cores") == 15_000
    of = {one.name: one for one in found.instances.values()}
    assert of["web/vm/production/1"].on == "n1"
    assert of["lost/vm/production/1"].on is None
    mirror = of["db/replica/production/1"]
    assert (mirror.on, mirror.requirement.at("low")["disk"]) == ("n2", 8192 * MIB)
    assert "memory" not in mirror.requirement.amounts
    assert [sorted(rule.instances) for rule in found.spreads] == [
        ["db/replica/production/1", "db/vm/production/1"]
    ]
    assert found.policy.survive == ("host",)


def test_what_is_not_carried_over_is_said() -> None:
    assert read("cluster.data", CLUSTER.encode()).lost == [
        "host 'N_3': its name; it is called n-3",
        "node dead: it is offline",
        "lost: that it is on dead, which is offline",
        "group west: that it is last_resort",
        "that both nodes of an instance are of one group",
        "tag htools:iextags:service",
    ]


def test_without_a_policy_ganetis_own_is_taken(tmp_path: Path) -> None:
    text = CLUSTER.partition("htools:")[0]
    draft = read("cluster.data", text.encode())
    said = "group east: it has no policy; Ganeti's own ratios of 4 and 32 are taken"
    assert said in draft.lost
    assert imported(draft, tmp_path / "estate").hosts["n1"].allocation_ratio["cores"] == 4


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("n1|16384", "n1|much", "c.data:4:1: 'much' is no number that a node or an instance"),
        ("n1|16384|1024|9216|", "n1|16384|1024|99999|", "4:1: the node n1 has more free than"),
        ("|8|M|u-1|4||N|0|1|1.0", "|8", "c.data:4:1: 7 fields are here, not 9 or more"),
        ("|M|u-1|", "|M|u-9|", "c.data:4:1: there is no group 'u-9'"),
        ("n2|16384", "n1|16384", "c.data:5:1: the name 'n1' stands here a second time"),
        ("|n1|n2|", "|n1|n9|", "c.data:10:1: there is no node 'n9'"),
        ("|n1|n2|", "|n1|n1|", "c.data:10:1: the instance db has no primary node of its own"),
        ("|4.0|32.0\neast", "|1/0|32.0\neast", "c.data:16:1: '1/0' is no ratio"),
        ("1000,1,5000,1,1,1|", "1000,1|", "c.data:16:1: the standard of a policy has six"),
        (CLUSTER, "", "c.data:1:1: there is no node in it"),
        (CLUSTER, "\n" * 30_000, "has more than 20000 lines"),
        ("web", "\udcff", "is no UTF-8"),
    ],
)
def test_what_is_no_data_of_ganeti_ends_as_a_clear_error(old: str, new: str, wrong: str) -> None:
    data = CLUSTER.replace(old, new, 1).encode(errors="surrogateescape")
    with pytest.raises(BadInputError) as caught:
        read("c.data", data)
    assert wrong in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_at_least_as_many_more_fit_as_hspace_finds(tmp_path: Path, seed: int) -> None:
    consumer("hspace")
    (tmp_path / "cluster.data").write_text(made_cluster(seed))
    assert counted(tmp_path / "cluster.data", tmp_path / "estate") >= hspace(
        tmp_path / "cluster.data"
    )


@pytest.mark.parametrize("seed", range(4))
def test_each_node_of_a_cluster_has_left_what_ganeti_sees(tmp_path: Path, seed: int) -> None:
    text = made_cluster(seed)
    (tmp_path / "cluster.data").write_text(text)
    found = imported(read("cluster.data", text.encode()), tmp_path / "estate")
    ratio = found.hosts["node-0"].allocation_ratio["cores"]
    for name, node in nodes(tmp_path / "cluster.data", "hbal").items():
        left = free(found, name)
        assert left["memory"] == node["u_mem"] * MIB
        assert left["disk"] // (1024 * MIB) == node["f_dsk"]
        assert 0 <= left["cores"] - (node["pcpu"] * ratio - node["vcpu"]) * 1000 < 1000
