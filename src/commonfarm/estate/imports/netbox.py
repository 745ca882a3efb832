"""An estate out of NetBox's CSV: devices are hosts, virtual machines are services on them.

NetBox has no capacity of devices; custom fields called as our resource classes (`cf_cores`,
`cf_memory`, `cf_disk`) are taken for it. Its memory is in MB and read as MiB, which hypervisors
mean and which is never too little.
"""

from __future__ import annotations

import bisect
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from commonfarm.estate.imports.draft import (
    Draft,
    Names,
    Thing,
    finished,
    machine,
    plain_address,
    title,
    written,
)
from commonfarm.estate.imports.netbox_csv import Row, Table, table
from commonfarm.estate.schema.common import ARCHITECTURES
from commonfarm.lib.terminal import harmless

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_ROLE = re.compile(r"server|hypervisor|host|compute|node|storage|build", re.IGNORECASE)
_GONE = ("decommissioning", "inventory", "deprecated", "retired")
_PLANNED = ("planned", "staged", "staging")
_UNITS = {"cores": "", "memory": "MiB", "disk": "MB"}
_OF_DEVICES = {"cores": ("cf_cores",), "memory": ("cf_memory",), "disk": ("cf_disk",)}
_OF_MACHINES = {"cores": ("vcpus",), "memory": ("memory",), "disk": ("disk",)}
_SITE = "site site.slug"
_USED = {
    "sites": "id name slug status",
    "clusters": "name site type status",
    "devices": f"name {_SITE} rack status role device_role cluster address cf_cores cf_memory"
    " cf_disk cf_architecture",
    "machines": f"name {_SITE} cluster device status vcpus memory disk address cf_environment",
    "prefixes": f"prefix {_SITE} scope scope_type scope_id vlan_site status",
    "addresses": "address device virtual_machine parent is_primary interface status",
}


def read(files: Sequence[tuple[str, bytes]], disk_unit: str = "MB") -> Draft:
    """Return the estate of CSV files; raise BadInputError with what is wrong with the first.

    `disk_unit` is that of virtual machines' disks: MB, or GB before NetBox 4.1.
    """
    return _Import([table(harmless(name), data) for name, data in files], disk_unit).draft()


class _Networks:
    """Networks of all sites that do not overlap, found by an address."""

    def __init__(self) -> None:
        self._starts: list[tuple[int, int]] = []
        self._of: dict[tuple[int, int], tuple[str, str, Prefix]] = {}

    def __iter__(self) -> Iterator[tuple[str, str, Prefix]]:
        return (self._of[start] for start in self._starts)

    def add(self, site: str, name: str, prefix: Prefix) -> None:
        """Add a network that overlaps none."""
        start = (prefix.version, int(prefix.network_address))
        bisect.insort(self._starts, start)
        self._of[start] = (site, name, prefix)

    def hold(self, prefix: Prefix) -> bool:
        """Say whether a network lies in a prefix that is no longer than any of them."""
        at = bisect.bisect_left(self._starts, (prefix.version, int(prefix.network_address)))
        last = (prefix.version, int(prefix.broadcast_address))
        return at < len(self._starts) and self._starts[at] <= last

    def at(self, site: str | None, address: str) -> str | None:
        """Return the network of a site in which an address lies."""
        inside = ipaddress.ip_address(address)
        at = bisect.bisect_right(self._starts, (inside.version, int(inside))) - 1
        if at < 0:
            return None
        whose, name, prefix = self._of[self._starts[at]]
        return name if whose == site and inside in prefix else None


class _Import:
    """Tables, on their way to an estate."""

    def __init__(self, tables: list[Table], disk_unit: str) -> None:
        self.rows: dict[str, list[Row]] = {kind: [] for kind in _USED}
        self.made = Draft(f"NetBox: {', '.join(table.file for table in tables)}"[:500])
        self.units = {**_UNITS, "disk": disk_unit}
        self.names = {
            kind: Names(kind, self.made.lost)
            for kind in ("site", "host", "service", "rack", "network", "environment")
        }
        self.site_of: dict[str, str] = {}
        self.hosts: dict[str, Thing] = {}
        self.in_cluster: dict[str, list[Thing]] = {}
        self.networks = _Networks()
        for one in tables:
            self.rows[one.kind] += one.rows
            unused = sorted({*one.columns} - {*_USED[one.kind].split()} - {""})
            if unused:
                shown = ", ".join(harmless(name)[:40] for name in unused[:20])
                self.made.lost.append(f"{one.file}: the columns {shown}")

    def lose(self, row: Row, what: str) -> None:
        """Note what of a row fits nowhere."""
        self.made.lost.append(f"{row.where}: {what}")

    def draft(self) -> Draft:
        """Return the estate."""
        sites: dict[str, Thing] = {}
        for row in self.rows["sites"]:
            self.known_site(row, sites)
        clusters = {row["name"]: row["site"] for row in self.rows["clusters"]}
        guests = {row["device"] for row in self.rows["machines"]}
        for row in self.rows["devices"]:
            self.device(row, guests)
        self.prefixes(sites)
        of_machine = self.addresses()
        for row in self.rows["machines"]:
            self.machine(row, clusters, of_machine.get(row["name"], []))
        self.made.hosts.extend(self.hosts.values())
        for site in sorted(set(self.site_of.values())):
            sites.setdefault(site, {"name": site, "source": "NetBox, as the site of others"})
        for site, name, prefix in self.networks:
            inside = sites[site].setdefault("networks", [])
            inside.append({"name": name, "prefix": str(prefix)})
        self.made.sites.extend(sites[name] for name in sorted(sites))
        return finished(self.made)

    def known_site(self, row: Row, sites: dict[str, Thing]) -> None:
        """Take a site; others may call it by name, slug or number."""
        if not row["name"]:
            return self.lose(row, "a site without a name")
        name = self.names["site"][row["slug"] or row["name"]]
        for other in filter(None, (row["name"], row["slug"], f"#{row['id']}")):
            self.site_of[other] = name
        made = {"name": name, **title(row["name"], name), "source": row.where}
        sites[name] = made
        return None

    def site(self, row: Row) -> str | None:
        """Return the site that a row is of."""
        said = row.first("site", "site.slug", "vlan_site")
        if not said and row["scope_type"] == "dcim.site":
            return self.site_of.get(f"#{row['scope_id']}")
        if not said:
            # An exported table has the name of a site, a region or a place here.
            return self.site_of.get(row["scope"])
        return self.site_of.setdefault(said, self.names["site"][said])

    def device(self, row: Row, guests: set[str]) -> None:
        """Take a device, unless it is gone or no machine that runs anything."""
        role = row.first("role", "device_role")
        capacity = self.amounts(row, _OF_DEVICES)
        if not row["name"] or row["name"] in self.hosts:
            why = "a device without a name" if not row["name"] else "a second device of its name"
            return self.lose(row, why)
        shown = harmless(row["name"])[:80]
        if row["status"].lower() in _GONE:
            return self.lose(row, f"the device {shown}, which is {row['status'].lower()}")
        if role and not _HOST_ROLE.search(role) and row["name"] not in guests and not capacity:
            what = f"the device {shown}, whose role {harmless(role)[:40]!r} is none of a host"
            return self.lose(row, what)
        made: Thing = {"name": self.names["host"][row["name"]]}
        if site := self.site(row):
            made["site"] = site
        if row["rack"]:
            made["rack"] = self.names["rack"][row["rack"]]
        if row["cf_architecture"]:
            said = row["cf_architecture"].lower()
            made["architecture"] = ARCHITECTURES.get(said, said)
        made |= capacity
        if row["status"].lower() in _PLANNED:
            made["status"] = "planned"
        if address := plain_address(row["address"]):
            made["address"] = address
        made["source"] = row.where
        self.hosts[row["name"]] = made
        if row["cluster"]:
            self.in_cluster.setdefault(row["cluster"], []).append(made)
        return None

    def amounts(self, row: Row, columns: Mapping[str, tuple[str, ...]]) -> Thing:
        """Return the amounts in a row; what is none is said."""
        found: Thing = {}
        for key, unit in self.units.items():
            text = row.first(*columns[key])
            if not text:
                continue
            number = re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text)
            try:
                found[key] = written(key, text, unit if number else "")
            except ValueError:
                self.lose(row, f"{harmless(text)[:40]!r}, which is no amount of {key}")
        return found

    def prefixes(self, sites: dict[str, Thing]) -> None:
        """Take the prefixes of sites; of those that lie in each other, the inner ones."""
        found: list[tuple[Prefix, Row]] = []
        for row in self.rows["prefixes"]:
            try:
                found.append((ipaddress.ip_network(row["prefix"], strict=False), row))
            except ValueError:
                self.lose(row, f"{harmless(row['prefix'])[:60]!r}, which is no prefix")
        for prefix, row in sorted(found, key=lambda one: -one[0].prefixlen):
            site = self.site(row)
            if site is None or row["status"].lower() in ("container", *_GONE):
                why = "of no site" if site is None else row["status"].lower()
                self.lose(row, f"the prefix {prefix}, which is {why}")
            elif self.networks.hold(prefix):
                self.lose(row, f"the prefix {prefix}, which holds another of these")
            else:
                sites.setdefault(site, {"name": site, "source": row.where})
                name = self.names["network"][str(prefix).replace("/", "-").replace(":", "-")]
                self.networks.add(site, name, prefix)

    def addresses(self) -> dict[str, list[str]]:
        """Give hosts their addresses, primary ones first; return those of virtual machines."""
        machines = {row["name"] for row in self.rows["machines"]}
        of_machine: dict[str, list[str]] = {
            row["name"]: [address]
            for row in self.rows["machines"]
            if (address := plain_address(row["address"]))
        }
        said = ("true", "1", "yes")
        for row in sorted(
            self.rows["addresses"], key=lambda row: row["is_primary"].lower() not in said
        ):
            address = plain_address(row["address"])
            # An exported table has both kinds of machine in one column.
            guest = row["virtual_machine"] or (row["parent"] if row["parent"] in machines else "")
            whose = guest or row.first("device", "parent")
            host = self.hosts.get(whose)
            if address is None:
                self.lose(row, f"{harmless(row['address'])[:60]!r}, which is no address")
            elif guest in machines:
                others = of_machine.setdefault(guest, [])
                others += [address] if address not in others else []
            elif host is None:
                told = f"of {harmless(whose)[:60]}" if whose else "of no machine"
                self.lose(row, f"the address {address} {told}")
            else:
                network = self.networks.at(host.get("site"), address)
                if network and network not in host.setdefault("networks", []):
                    host["networks"].append(network)
                if "address" not in host:
                    host["address"] = address
                elif host["address"] != address:
                    self.lose(row, f"{address}, a further address of {host['name']}")
        return of_machine

    def host_of(self, row: Row) -> Thing | None:
        """Return the host that a virtual machine runs on, where that is said or the only one."""
        if row["device"]:
            if row["device"] not in self.hosts:
                self.lose(row, f"that it runs on {harmless(row['device'])[:80]}, which is no host")
            return self.hosts.get(row["device"])
        inside = self.in_cluster.get(row["cluster"], [])
        if len(inside) != 1:
            cluster = harmless(row["cluster"])[:60] or "any cluster"
            self.lose(row, f"on which host of {cluster} it runs, which is not said")
            return None
        return inside[0]

    def machine(self, row: Row, clusters: dict[str, str], addresses: list[str]) -> None:
        """Take a virtual machine as a service with one instance."""
        shown = harmless(row["name"])[:80]
        if not row["name"] or row["name"] in self.names["service"]:
            return self.lose(row, "a virtual machine without a name, or with one of another")
        status = row["status"].lower()
        if status in _GONE:
            return self.lose(row, f"the virtual machine {shown}, which is {status}")
        host = self.host_of(row)
        requires = self.amounts(row, _OF_MACHINES)
        if host and "architecture" in host:
            requires["architecture"] = host["architecture"]
        site = (host or {}).get("site") or self.site(row)
        if site is None:
            site = self.site_of.get(clusters.get(row["cluster"], ""))
        if host is None and site is not None:
            requires["sites"] = [site]
        wanted: dict[str, int] = {}
        for address in addresses:
            network = self.networks.at(site, address)
            if network is None:
                self.lose(row, f"its address {address}, which lies in no prefix of its site")
            else:
                wanted[network] = wanted.get(network, 0) + 1
        if wanted:
            requires["addresses"] = wanted
        name = self.names["service"][row["name"]]
        more: Thing = {"status": "planned"} if status in _PLANNED else {}
        service = machine(
            name,
            **title(row["name"], name),
            **more,
            environment=self.names["environment"][row["cf_environment"] or "production"],
            requires=requires,
            on=host["name"] if host and not more else None,
            source=row.where,
        )
        self.made.services.append(service)
        return None
