"""CSV files of NetBox, in the forms that it documents and in those that break readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonfarm.estate.imports.draft import with_capacity_from_load
from commonfarm.estate.imports.netbox import read
from commonfarm.estate.imports.netbox_csv import table
from commonfarm.lib.errors import BadInputError
from tests.estate.consumers import imported
from tests.estate.making import amounts

SITES = """id,name,slug,status
7,Phoenix Colo 2,phx2,active
9,Lab,lab,planned
"""
CLUSTERS = """name,type,status,site
kvm,KVM,active,Phoenix Colo 2
solo,KVM,active,Lab
"""
DEVICES = """\
name,role,manufacturer,device_type,status,site,rack,cluster,cf_cores,cf_memory,cf_disk,cf_architecture
VMhost 1,Hypervisor,Dell,R640,active,Phoenix Colo 2,Row A / 1,kvm,32,256 GiB,2 TB,x86_64
vmhost-2,Hypervisor,Dell,R640,staged,Phoenix Colo 2,,kvm,,,,
one,Server,Dell,R640,active,Lab,,solo,8,"16384",,aarch64
switch-1,Access switch,Cisco,9300,active,Phoenix Colo 2,,,,,,
old,Server,Dell,R610,decommissioning,Lab,,,,,,
,Patch panel,Panduit,PP,active,Lab,,,,,,
"""
MACHINES = """name,status,site,cluster,device,role,vcpus,memory,disk,cf_environment
Wiki 1,active,,kvm,VMhost 1,Web,2.00,4096,20000,
wiki_stg,offline,,kvm,VMhost 1,Web,0.5,1024,5000,staging
lost,active,,kvm,,Web,1,1024,5000,
gone,decommissioning,,kvm,VMhost 1,Web,1,1024,5000,
alone,active,,solo,,Web,1,,5000,
next,planned,Lab,,,Web,1,512,many,
away,active,,,nowhere,Web,1,512,,
"""
PREFIXES = """prefix,status,scope_type,scope_id,role
10.5.0.0/16,container,dcim.site,7,
10.5.124.0/24,active,dcim.site,7,build
10.5.124.0/26,active,dcim.site,7,inner
2001:db8::/64,active,dcim.site,9,
192.0.2.0/24,active,,,
nonsense,active,dcim.site,7,
"""
ADDRESSES = """address,status,device,virtual_machine,interface,is_primary,dns_name
10.5.124.7/24,active,VMhost 1,,eth1,false,
10.5.124.8/24,active,VMhost 1,,eth0,true,
2001:db8::1/64,active,one,,eth0,TRUE,
10.5.124.9/26,active,,Wiki 1,eth0,true,
198.51.100.4/24,active,,Wiki 1,eth1,,
192.0.2.1/24,active,,,,,
x,active,one,,,,
"""
FILES = [
    (f"{name}.csv", text.encode())
    for name, text in (
        ("machines", MACHINES),
        ("addresses", ADDRESSES),
        ("prefixes", PREFIXES),
        ("devices", DEVICES),
        ("clusters", CLUSTERS),
        ("sites", SITES),
    )
]


def test_what_netbox_knows_becomes_an_estate(tmp_path: Path) -> None:
    found = imported(read(FILES), tmp_path / "estate")
    assert {name: one.title for name, one in found.sites.items()} == {
        "lab": "Lab",
        "phx2": "Phoenix Colo 2",
    }
    assert {one.prefix for one in found.networks()} == {"10.5.124.0/26", "2001:db8::/64"}
    first = found.hosts["vmhost-1"]
    assert (first.site, first.rack, first.architecture) == ("phx2", "row-a-1", "amd64")
    assert first.capacity == amounts({"cores": 32, "memory": "256 GiB", "disk": "2 TB"})
    assert (first.address, first.networks) == ("10.5.124.8", ("10.5.124.0-26",))
    assert found.hosts["vmhost-2"].status == "planned"
    assert found.hosts["one"].capacity == amounts({"cores": 8, "memory": "16384 MiB"})
    assert set(found.hosts) == {"vmhost-1", "vmhost-2", "one"}
    of = {one.service: one for one in found.instances.values()}
    assert set(of) == {"wiki-1", "wiki-stg", "lost", "alone", "next", "away"}
    wiki = of["wiki-1"]
    assert wiki.on == "vmhost-1"
    assert wiki.requirement.at("low") == amounts(
        {"cores": 2, "memory": "4 GiB", "disk": "20000 MB"}
    )
    assert wiki.requirement.addresses == {"10.5.124.0-26": 1}
    assert (of["wiki-stg"].environment, of["wiki-stg"].on) == ("staging", "vmhost-1")
    assert (of["lost"].on, of["lost"].requirement.sites) == (None, ("phx2",))
    assert (of["alone"].on, of["alone"].requirement.architectures) == ("one", ("arm64",))
    assert (of["next"].on, of["next"].status) == (None, "planned")
    assert of["next"].requirement.sites == ("lab",)


def test_each_thing_that_is_not_carried_over_is_said_with_its_line() -> None:
    lost = read(FILES).lost
    for said in (
        "devices.csv:5: the device switch-1, whose role 'Access switch' is none of a host",
        "devices.csv:6: the device old, which is decommissioning",
        "devices.csv:7: a device without a name",
        "machines.csv:4: on which host of kvm it runs, which is not said",
        "machines.csv:5: the virtual machine gone, which is decommissioning",
        "machines.csv:7: 'many', which is no amount of disk",
        "machines.csv:8: that it runs on nowhere, which is no host",
        "machines.csv:2: its address 198.51.100.4, which lies in no prefix of its site",
        "prefixes.csv:2: the prefix 10.5.0.0/16, which is container",
        "prefixes.csv:3: the prefix 10.5.124.0/24, which holds another of these",
        "prefixes.csv:6: the prefix 192.0.2.0/24, which is of no site",
        "prefixes.csv:7: 'nonsense', which is no prefix",
        "addresses.csv:2: 10.5.124.7, a further address of vmhost-1",
        "addresses.csv:7: the address 192.0.2.1 of no machine",
        "addresses.csv:8: 'x', which is no address",
        "machines.csv: the columns role",
    ):
        assert said in lost


def test_capacity_from_load_fills_only_what_nobody_said(tmp_path: Path) -> None:
    machines = "name,device,vcpus,memory,disk\na,h,3,1000,10\nb,h,2,500,20\nc,,1,1,1\n"
    devices = "name,device_type,cf_memory\nh,R640,64 GiB\nempty,R640,\n"
    files = [("m.csv", machines.encode()), ("d.csv", devices.encode())]
    made = with_capacity_from_load(read(files, "GB"), 1.25)
    found = imported(made, tmp_path / "estate")
    disk = -(-30 * 10**9 * 5 // 4 // 2**20) * 2**20
    assert found.hosts["h"].capacity == {"cores": 7000, "memory": 64 * 2**30, "disk": disk}
    unknown = [one.partition(";")[0] for one in made.lost if "its capacity" in one]
    assert unknown == ["host empty: its capacity, which is not said there"]


def test_an_exported_table_is_read_like_an_import_form() -> None:
    text = (
        '\ufeff"Name";"Status";"Site";"vCPUs";"Memory (MB)";"Disk (MB)";"Device";"IP Address"\r\n'
        '"wiki, ""old""\nand new";"Active";"Lab";"2.00";"2048";"";"h";"192.0.2.1/24"\r\n'
        "\r\n"
        ";;;;;;;\r\n"
    )
    found = table("vms.csv", text.encode())
    assert found.kind == "machines"
    assert [row["name"] for row in found.rows] == ['wiki, "old"\nand new']
    assert (found.rows[0].line, found.rows[0]["memory"], found.rows[0]["vcpus"]) == (
        3,
        "2048",
        "2.00",
    )


def test_exported_tables_of_all_kinds_become_an_estate(tmp_path: Path) -> None:
    tables = {
        "sites": "Name,Status,Facility,Region\nLab,Active,,\n",
        "devices": "Name,Status,Site,Rack,Role,Manufacturer,Type,IP Address\n"
        "h,Active,Lab,R1,Server,Dell,R640,10.0.0.2/24\n",
        "vms": "Name,Status,Site,Cluster,Device,vCPUs,Memory (MB),Disk,IP Address\n"
        "wiki,Active,Lab,kvm,h,2.00,2048,,10.0.0.3/24\n",
        "prefixes": "Prefix,Status,Scope Type,Scope,VLAN\n10.0.0.0/24,Active,Site,Lab,\n",
        "addresses": "IP Address,Status,Assigned,Interface,Parent\n"
        "10.0.0.2/24,Active,True,eth0,h\n10.0.0.3/24,Active,True,eth0,wiki\n"
        "10.0.0.4/24,Active,True,eth1,wiki\n",
    }
    files = [(f"{name}.csv", text.encode()) for name, text in tables.items()]
    found = imported(read(files), tmp_path / "estate")
    host, wiki = found.hosts["h"], found.instances["wiki/vm/production/1"]
    assert (host.site, host.address, host.networks) == ("lab", "10.0.0.2", ("10.0.0.0-24",))
    assert (wiki.on, wiki.requirement.addresses) == ("h", {"10.0.0.0-24": 2})


def test_formulas_and_commands_in_cells_stay_text(tmp_path: Path) -> None:
    cells = ["=1+cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-x", "a: [b, {c: &d", "\x1b[31mred", "# no"]
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    text = "name,vcpus,memory\n" + "".join(f"{cell},1,512\n" for cell in quoted)
    draft = read([("=evil\n.csv", text.encode())])
    found = imported(draft, tmp_path / "estate")
    assert len(found.services) == len(cells)
    titles = {one.title for one in found.services.values()}
    assert {"=1+cmd|' /C calc'!A0", "a: [b, {c: &d", "?[31mred"} <= titles
    assert not [line for line in draft.lost if not line.isprintable()]


def test_many_rows_of_all_kinds_are_read_in_one_go() -> None:
    machines = "name,cluster\n" + "".join(f"{'!' * (n % 50)}a,c\n" for n in range(8_000))
    devices = "name,rack,cluster\n" + "".join(f"h{n},R,c{n}\n" for n in range(8_000))
    prefixes = "prefix,site\n" + "".join(f"10.{n >> 8}.{n & 255}.0/24,s\n" for n in range(8_000))
    addresses = "address,device\n" + "".join(
        f"10.{n >> 8}.{n & 255}.7/24,h{n}\n" for n in range(8_000)
    )
    texts = (machines, devices, prefixes, addresses)
    made = read([(f"{number}.csv", text.encode()) for number, text in enumerate(texts)])
    assert (len(made.hosts), len(made.services)) == (8_000, 50)
    assert made.services[-1]["name"] == "a-50"


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "are none known"),
        (b"a,b\n1,2\n", "f.csv:1: the columns 'a, b' are none known; give sites, devices,"),
        (b"name,vcpus,name\na,1,b\n", "f.csv:1: the column 'name' is there twice"),
        (b"vcpus,memory\n1,2\n", "are none known"),
        (b"name,vcpus\na,1,2\n", "f.csv:2: 3 cells are here, and 2 columns"),
        (b'name,vcpus\n"a,1\n', "f.csv:2: unexpected end of data; look at its quotes"),
        (b'name,vcpus\n"a"b,1\n', "f.csv:2: ',' expected after '\"'"),
        (b"name,vcpus\n\xff,1\n", "f.csv:2: this is not UTF-8"),
        (b"name,vcpus\na\0,1\n", "f.csv:2: a NUL is in it"),
        (b"name,vcpus\n" + b"a" * 200_000, "f.csv:2: field larger than field limit"),
        (b"name,vcpus\n" + b"a,1\n" * 10**6, "f.csv:20002: has more than 20000 rows"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value[:30],
)
def test_a_hostile_file_ends_as_a_clear_error(data: bytes, wrong: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read([("f.csv", data)])
    assert wrong in str(caught.value)
