"""A distribution's estate: virtual machines and the hosts they run on, as an estate's YAML.

    python benchmarks/fedora_estate.py [DATA] --out FOLDER [--json]

DATA is the folder with `estate.json` of the Fedora infrastructure; without it an estate of the same
kind is made (as many hosts and machines, the same sizes and skew, always the same). The hosts'
capacities are recorded nowhere: each is said to have what its machines need and a quarter more,
marked as an assumption. Which /24 a machine's address is of is recorded, and so at which site it
can be; the prefixes themselves are not, and are assumed. With --anywhere, machines may be at any
site. Printed is what was written, what was left out, and how long reading takes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from commonfarm.estate.folder import read_facts
from commonfarm.estate.imports.draft import (
    Draft,
    Names,
    Thing,
    as_yaml,
    assume,
    machine,
    with_capacity_from_load,
)
from commonfarm.estate.schema.common import ARCHITECTURES

FACTOR = 1.25
FILE = "fedora.yaml"
Data = Mapping[str, Any]


def main() -> None:
    """Write the estate, read it again, and say what it holds."""
    parser = argparse.ArgumentParser(description="Writes an estate of Fedora's size.")
    parser.add_argument("data", nargs="?", type=Path, help="the folder with estate.json")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--anywhere", action="store_true", help="addresses do not matter")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    data = json.loads((asked.data / "estate.json").read_text()) if asked.data else made_data()
    asked.out.mkdir(parents=True, exist_ok=True)
    lost = estate_of(data, asked.out, anywhere=asked.anywhere)
    begun = time.perf_counter()
    facts = read_facts(asked.out)
    seconds = time.perf_counter() - begun
    totals = {
        key: sum(one.requirement.at("likely")[key] for one in facts.instances.values())
        for key in ("cores", "memory", "disk")
    }
    shown = {
        "name": "fedora_estate",
        "machines": len(facts.instances),
        "hosts": len(facts.hosts),
        "vcpu": totals["cores"] / 1000,
        "ram_gib": totals["memory"] / 2**30,
        "disk_gib": round(totals["disk"] / 2**30, 2),
        "assumptions": len(facts.assumptions),
        "read_seconds": round(seconds, 2),
        "left_out": lost,
    }
    if asked.json:
        print(json.dumps(shown, indent=2))
        return
    for key, value in shown.items():
        print(f"{key}: {value}" if key != "left_out" else f"left out: {'; '.join(lost)}")


def estate_of(data: Data, folder: Path, *, anywhere: bool = False) -> list[str]:
    """Write the estate of `data` to `folder` and return what of it has no place there.

    `data` is the content of `estate.json`. Each virtual machine is a service of its own, running on
    its host today; a host without machines is left out, since nothing is known of its capacity.
    With `anywhere`, machines have no addresses, which would keep them at a site.
    """
    draft = Draft("Fedora infrastructure's inventory, July 2025")
    names = Names("host", draft.lost)
    sites = Names("site", draft.lost)
    services = Names("service", draft.lost)
    architecture: dict[str, str] = {}
    at = {} if anywhere else _networks(data)
    site_of = {host["name"]: host["site"] for host in data["hosts"]}
    if not anywhere:
        for vm in data["vms"]:
            site_of[vm["vmhost"]] = at.get(vm.get("subnet"), site_of[vm["vmhost"]])
    source = "Fedora infrastructure's inventory"
    for host in sorted(data["hosts"], key=lambda one: str(one["name"])):
        if not host["guests"]:
            draft.lost.append(f"{host['name']}: no machine runs there, so nothing is known of it")
            continue
        made: Thing = {"name": names[host["name"]], "virtualisation": True}
        made["architecture"] = ARCHITECTURES.get(host["arch"], host["arch"])
        architecture[host["name"]] = made["architecture"]
        site = site_of[host["name"]]
        if site:
            made["site"] = sites[site]
        if host["sponsor"]:
            made["pledge"] = host["sponsor"]
        if at.get(host.get("subnet"), "") == site:
            made["networks"] = [host["subnet"]]
        draft.hosts.append(made | {"source": source})
    for vm in sorted(data["vms"], key=lambda one: str(one["name"])):
        name = services[vm["name"]]
        requires = {
            "cores": vm["vcpu"],
            "memory": f"{vm['ram_mib']} MiB",
            "disk": f"{vm['disk_gib']} GiB",
            "architecture": architecture[vm["vmhost"]],
        }
        if vm.get("subnet") in at:
            requires["addresses"] = {vm["subnet"]: 1}
        on, environment = names[vm["vmhost"]], vm["environment"] or "production"
        draft.services.append(
            machine(name, environment=environment, requires=requires, on=on, source=source)
        )
    for other in sorted({site for site in site_of.values() if site in sites}):
        networks = _at_site(data, [one for one, site in at.items() if site == other], source)
        more = {"networks": networks} if networks else {}
        draft.sites.append({"name": sites[other], **more, "source": source})
    (folder / FILE).write_text(as_yaml(with_capacity_from_load(draft, FACTOR)))
    (folder / "pledges.yaml").write_text(_pledges(draft, source))
    return draft.lost


def _networks(data: Data) -> dict[str, str]:
    """Return each network that machines have addresses of, and the site where it is.

    One whose site is not recorded is at a site of its own.
    """
    site_of = {host["name"]: host["site"] for host in data["hosts"]}
    found = ((vm["subnet"], vm["vmhost"]) for vm in data["vms"] if vm.get("subnet"))
    return {name: site_of[host] or f"site-of-{name}" for name, host in found}


def _at_site(data: Data, names: Sequence[str], source: str) -> list[Thing]:
    """Return networks as a site's; addresses of what is neither host nor guest are reserved."""
    found = []
    for number, one in enumerate(data["subnets"]):
        if one["id"] in names:
            network: Thing = {"name": one["id"], "prefix": f"10.99.{number}.0/24"}
            network["reserved"] = 1 + one["machines"] - one["vms"] - one["vm_hosts"]
            network["source"] = source
            assume(network, "prefix")
            found.append(network)
    return found


def _pledges(draft: Draft, source: str) -> str:
    """Return sponsors and pledges; the inventory names the giver and no dates."""
    givers = sorted({one["pledge"] for one in draft.hosts if "pledge" in one})
    what = {
        giver: f"{sum(one.get('pledge') == giver for one in draft.hosts)} hosts" for giver in givers
    }
    made = {
        "sponsors": [{"name": giver, "source": source} for giver in givers],
        "pledges": [
            {"name": giver, "sponsor": giver, "what": what[giver], "source": source}
            for giver in givers
        ],
    }
    return json.dumps(made, indent=2) + "\n"


def made_data(seed: int = 2025, hosts: int = 37, machines: int = 257) -> dict[str, Any]:
    """Return data of the same form and skew: a few hosts of builders, many of small machines."""
    choose = random.Random(seed)  # noqa: S311 - the same each time is what is wanted
    kinds = ["x86_64"] * 7 + ["aarch64", "ppc64le"]
    made_hosts: list[dict[str, Any]] = [
        {
            "name": f"vmhost-{number:02}.example.org",
            "arch": choose.choice(kinds),
            "site": choose.choice(["one"] * 8 + ["two", "three"]),
            "sponsor": choose.choice([None] * 5 + ["giver"]),
            "guests": [],
        }
        for number in range(hosts)
    ]
    vms = []
    for number in range(machines):
        # Each host has one at least; a third of them have most.
        at = number if number < hosts else int(hosts * choose.random() ** 2)
        builder = at % 3 == 0
        vm = {
            "name": f"vm-{number:03}.example.org",
            "vmhost": made_hosts[at]["name"],
            "environment": choose.choice(["production"] * 6 + ["staging"]),
            "ram_mib": choose.choice([24, 30, 48, 64] if builder else [2, 4, 8, 16, 32]) * 1024,
            "vcpu": choose.choice([8, 12, 16] if builder else [1, 2, 4, 8]),
            "disk_gib": choose.choice([146.48, 292.97] if builder else [19.53, 48.83, 97.66]),
        }
        # Some builders have a network of their own.
        vm["subnet"] = made_hosts[at]["site"] + ("-b" if builder and at % 2 else "")
        made_hosts[at]["guests"].append(vm["name"])
        vms.append(vm)
    many = Counter(vm["subnet"] for vm in vms)
    subnets = [{"id": one, "machines": n, "vms": n, "vm_hosts": 0} for one, n in many.items()]
    return {"hosts": made_hosts, "vms": vms, "subnets": subnets}


if __name__ == "__main__":
    main()
