"""An estate out of an inventory of Ansible.

Taken is what `ansible-inventory --list` prints, so that all that Ansible resolves is resolved, or
the plain YAML form. A host with the variable `vmhost` is a virtual machine on that host; all others
are hosts.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

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
from commonfarm.estate.imports.inventory import Variables, inventory
from commonfarm.estate.resources import CUSTOM, RESOURCES
from commonfarm.estate.schema.common import ARCHITECTURES
from commonfarm.estate.showing import first_of
from commonfarm.estate.yaml_nodes import parse
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless

OURS = "commonfarm"
# Resource class -> variables, the first that is there, and the unit of a bare number in them.
_AMOUNTS = {
    "cores": (("num_cpus", ""), ("ansible_processor_vcpus", "")),
    "memory": (("mem_size", "MiB"), ("ansible_memtotal_mb", "MiB")),
    "disk": (("lvm_size", "MiB"),),
}
_SITE = ("site", "datacenter")
_ENVIRONMENT = ("env", "environment")
_USED = {
    *(name for names in _AMOUNTS.values() for name, _ in names),
    *(*_SITE, *_ENVIRONMENT, OURS, "vmhost", "ansible_host", "ansible_architecture"),
    "ansible_ssh_common_args",
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([mgt]?)(?:i?b)?", re.IGNORECASE)
_TO_DO = "take what `ansible-inventory --list` prints"
_SHOWN = 20


def read(file: str, data: bytes) -> Draft:
    """Return the estate of an inventory; raise BadInputError where it is none."""
    found = inventory(file, _value(file, data))
    return _Import(file, {host: found.variables(host) for host in sorted(found.hosts)}).draft()


def _value(file: str, data: bytes) -> Any:
    if data.lstrip()[:1] != b"{":
        document = parse(file, data)
        if document.problems:
            # An inventory in INI, a script or a secret: all that Ansible itself resolves.
            raise BadInputError(*(replace(one, to_do=_TO_DO) for one in document.problems))
        return document.value
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        what = f"no JSON: {getattr(error, 'msg', 'it is nested too deeply or no UTF-8')}"
        at = (getattr(error, "lineno", 0), getattr(error, "colno", 0))
        raise BadInputError(Problem(file, *at, what, _TO_DO)) from None


class _Import:
    """One inventory, on its way to an estate."""

    def __init__(self, file: str, variables: dict[str, Variables]) -> None:
        self.file = file
        self.variables = variables
        self.made = Draft(f"the Ansible inventory {file}")
        self.names = {
            kind: Names(kind, self.made.lost)
            for kind in ("host", "service", "site", "rack", "environment")
        }
        self.on = {host: str(of["vmhost"]) for host, of in variables.items() if of.get("vmhost")}
        self.guests: dict[str, list[Variables]] = {}
        for guest, on in self.on.items():
            self.guests.setdefault(on, []).append(variables[guest])

    def draft(self) -> Draft:
        """Return the estate."""
        made = self.made
        # A guest's host need not be in the inventory itself.
        for host in sorted((self.variables.keys() | self.guests.keys()) - self.on.keys()):
            made.hosts.append(self.host(host))
        said = {one["name"]: one for one in made.hosts}
        for guest, on in self.on.items():
            made.services.append(self.service(guest, on, said))
        sites = sorted({one["site"] for one in made.hosts if "site" in one})
        made.sites.extend({"name": site, "source": self.file} for site in sites)
        others = sorted({name for of in self.variables.values() for name in of} - _USED)
        if others:
            shown = first_of([harmless(name)[:60] for name in others], _SHOWN)
            made.lost.append(f"variables of other names: {shown}")
        return finished(made)

    def host(self, host: str) -> Thing:
        """Return the host of that name, by its variables and those of its guests."""
        of = self.variables.get(host, {})
        guests = self.guests.get(host, [])
        made: Thing = {"name": self.names["host"][host]}
        site = _first([of, *guests], _SITE)
        if site:
            made["site"] = self.names["site"][site]
        # A host and its guests are of one architecture.
        architecture = _first([of, *guests], ("ansible_architecture",))
        if architecture:
            made["architecture"] = ARCHITECTURES.get(architecture, architecture)
        made |= self.amounts(host, of)
        address = plain_address(str(of.get("ansible_host", "")))
        if address:
            made["address"] = address
        elif of.get("ansible_host"):
            self.made.lost.append(f"{host}: its ansible_host, which is a name and no address")
        if isinstance(of.get(OURS), dict):
            self.our_own(host, made, of[OURS])
        known = host in self.variables
        where = f"host {harmless(host)[:90]}" if known else "as `vmhost` of others"
        made["source"] = f"{self.file}, {where}"
        return made

    def our_own(self, host: str, made: Thing, said: Variables) -> None:
        """Take what `commonfarm estate export ansible` wrote of a host."""
        for key in ("architecture", "traits", "administrators", "status"):
            if said.get(key):
                made[key] = said[key]
        if said.get("rack"):
            made["rack"] = self.names["rack"][str(said["rack"])]
        if said.get("site"):
            made["site"] = self.names["site"][str(said["site"])]
        for key in ("reserved", "allocation_ratio", "capacity"):
            if isinstance(said.get(key), dict) and said[key]:
                of_classes = {
                    one: said[key][one]
                    for one in said[key]
                    if one in RESOURCES or CUSTOM.fullmatch(one)
                }
                made |= of_classes if key == "capacity" else {key: of_classes}
        for key in ("pledge", "networks"):
            if said.get(key):
                what = harmless(str(said[key]))[:80]
                self.made.lost.append(f"{host}: its {key} {what}; only the name is written there")

    def service(self, guest: str, on: str, hosts: dict[str, Thing]) -> Thing:
        """Return the service that a guest is."""
        of = self.variables[guest]
        requires = self.amounts(guest, of)
        where: str | None = self.names["host"][on] if on not in self.on else None
        if where is None:
            self.made.lost.append(f"{guest}: that it runs on {on}, which is virtual itself")
        elif "architecture" in hosts[where]:
            requires["architecture"] = hosts[where]["architecture"]
        for key in ("cores", "memory"):
            if key not in requires:
                self.made.lost.append(f"{guest}: how much of {key} it needs, which is not said")
        name = self.names["service"][guest]
        return machine(
            name,
            **title(guest, name),
            environment=self.names["environment"][_first([of], _ENVIRONMENT) or "production"],
            requires=requires,
            on=where,
            source=f"{self.file}, host {harmless(guest)[:90]}",
        )

    def amounts(self, host: str, of: Variables) -> Thing:
        """Return what a host has or needs; what is no number is said."""
        found: Thing = {}
        for key, names in _AMOUNTS.items():
            name, unit = next(((name, unit) for name, unit in names if name in of), ("", ""))
            if not name:
                continue
            match = _SIZE.fullmatch(str(of[name]).strip())
            if match and match[2] and unit:
                unit = f"{match[2].upper()}iB"
            try:
                if match is None or (match[2] and not unit):
                    raise ValueError
                found[key] = written(key, match[1], unit)
            except ValueError:
                what = harmless(str(of[name]))[:40]
                self.made.lost.append(f"{host}: its {name}, as {what!r} is no amount of {key}")
        return found


def _first(places: list[Variables], names: tuple[str, ...]) -> str:
    """Return the first of these variables that is said in one of these places."""
    for of in places:
        for name in names:
            if isinstance(of.get(name), str) and of[name].strip():
                return str(of[name]).strip()
    return ""
