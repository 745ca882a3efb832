"""An estate in the making: what an import found, as the YAML that people write."""

from __future__ import annotations

import io
import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from commonfarm.estate.facts import ASSUMPTION
from commonfarm.estate.resources import MOST, resource
from commonfarm.estate.schema import SECTIONS
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless

Thing = dict[str, Any]
COMPONENT = "vm"
_CAPACITY = ("cores", "memory", "disk")


@dataclass(frozen=True, slots=True)
class Draft:
    """Sections of an estate as lists of mappings, as in the files; `lost` is what fits nowhere."""

    origin: str
    sites: list[Thing] = field(default_factory=list)
    sizes: list[Thing] = field(default_factory=list)
    hosts: list[Thing] = field(default_factory=list)
    services: list[Thing] = field(default_factory=list)
    policy: Thing = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What the file begins with, as comments."""

    def sections(self) -> Iterator[tuple[str, list[Thing]]]:
        """Yield the sections that are lists, by their names in the files."""
        yield "sites", self.sites
        yield "sizes", self.sizes
        yield "hosts", self.hosts
        yield "services", self.services


def assume(thing: Thing, *keys: str) -> None:
    """Mark some keys of a thing as said by nobody; who said the rest stays."""
    source = thing.pop("source")
    said = source if isinstance(source, dict) else {"name": source}
    thing["source"] = {**said, **dict.fromkeys(keys, ASSUMPTION)}


class Names:
    """Names as the files want them, one for each name elsewhere; `lost` is told what changed."""

    def __init__(self, kind: str, lost: list[str]) -> None:
        self._kind = kind
        self._lost = lost
        self._of: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def __getitem__(self, other: str) -> str:
        """Return our name for what is called `other` elsewhere; the same each time."""
        if other not in self._of:
            plain = re.sub(r"[^a-z0-9.+]+", "-", other.lower())[:63].strip(".+-") or self._kind
            name = plain
            while name in self._taken:
                self._taken[plain] = number = self._taken.get(plain, 1) + 1
                name = f"{plain[:56].rstrip('.+-')}-{number}"
            self._of[other] = name
            self._taken[name] = 1
            if name != other:
                told = f"{self._kind} {harmless(other)[:80]!r}: its name; it is called {name}"
                self._lost.append(told)
        return self._of[other]

    def __contains__(self, other: str) -> bool:
        return other in self._of


def title(text: str, name: str) -> Thing:
    """Return the title of a thing where it says more than the name."""
    shown = " ".join(harmless(text[:1000]).split())[:200]
    return {"title": shown} if shown and shown != name else {}


def written(key: str, number: str, unit: str) -> str | int:
    """Return an amount as people write it: `4`, `16 GiB` for 16384 MiB."""
    return _exactly(key, resource(key).parse(f"{number} {unit}".rstrip(), up=True))


def _exactly(key: str, amount: int) -> str | int:
    text = resource(key).exactly(amount)
    return int(text) if text.isdigit() else text


def plain_address(text: str) -> str | None:
    """Return the IP address that a text is, without the length of a prefix; None if it is none."""
    try:
        found = str(ipaddress.ip_interface(text).ip)
    except ValueError:
        return None
    # One that is of a machine's own interface only is of no use to others.
    return found if "%" not in found else None


def machine(
    name: str, *, environment: str, requires: Thing, on: str | None, source: str, **more: Any
) -> Thing:
    """Return the service that stands for one virtual machine, on the host where it runs."""
    instances: Thing = {"on": [on]} if on is not None else {}
    component: Thing = {"name": COMPONENT, "requires": requires}
    if environment != "production":
        more["environments"] = [{"name": environment}]
        instances["environment"] = environment
    if instances:
        component["instances"] = [instances]
    return {"name": name, **more, "components": [component], "source": source}


def with_capacity_from_load(draft: Draft, factor: float) -> Draft:
    """Return the draft with a capacity for each host that says none: its guests' need, times this.

    Rounded up to whole cores and MiB, and marked as assumed. A host without guests stays as it is.
    """
    load: dict[str, dict[str, int]] = {}
    for service in draft.services:
        for component in service["components"]:
            for instances in component.get("instances", ()):
                for host in instances.get("on", ()):
                    of_host = load.setdefault(host, {})
                    for key, text in component["requires"].items():
                        if key in _CAPACITY:
                            needed = resource(key).parse(text, up=True)
                            of_host[key] = of_host.get(key, 0) + needed
    exact = Fraction(str(factor))
    remark = f"What hosts are assumed to have is {factor:g} times what their guests need."
    made = replace(
        draft, hosts=[dict(host) for host in draft.hosts], remarks=[*draft.remarks, remark]
    )
    for host in made.hosts:
        unsaid = [
            key for key in _CAPACITY if key not in host and load.get(host["name"], {}).get(key)
        ]
        for key in unsaid:
            step = 1000 if key == "cores" else 2**20
            rounded = step * math.ceil(load[host["name"]][key] * exact / step)
            host[key] = _exactly(key, min(rounded, MOST))
        if unsaid:
            assume(host, *unsaid)
    known = {host["name"] for host in made.hosts if "memory" in host}
    now_known = set(map(_unknown, known))
    return replace(made, lost=[line for line in made.lost if line not in now_known])


def finished(draft: Draft) -> Draft:
    """Return the draft without what the files may not say; each such part is told as lost.

    A host without an architecture gets the commonest, marked as assumed. Of one without a capacity
    it is said that nothing fits on it. Raise BadInputError where nothing is left.
    """
    for section, things in draft.sections():
        things[:] = [thing for thing in things if _taken(draft, section, thing)]
    _agree(draft)
    draft.lost.extend(_unknown(host["name"]) for host in draft.hosts if "memory" not in host)
    if not any(things for _, things in draft.sections()):
        what = f"{harmless(draft.origin)} has nothing in it that an estate could say"
        raise BadInputError(Problem("import", 0, 0, what, "look whether that is the right file"))
    return draft


def _agree(draft: Draft) -> None:
    """Take away what hosts and services may not say beside each other."""
    whose: dict[str, str] = {}
    standing = {host["name"] for host in draft.hosts if host.get("status") in (None, "existing")}
    for host in draft.hosts:
        address = str(host.get("address"))
        if whose.setdefault(address, host["name"]) != host["name"] and "address" in host:
            draft.lost.append(
                f"{host['name']}: {address}, which is the address of {whose[address]}"
            )
            del host["address"]
    for service in draft.services:
        for component in service["components"]:
            for instances in component.get("instances", ()):
                for host in set(instances.get("on", ())) - standing:
                    what = f"that it runs on {host}, which is no existing host"
                    draft.lost.append(f"{service['name']}: {what}")
                    del instances["on"]
            if component.get("instances") == [{}]:
                del component["instances"]


def _taken(draft: Draft, section: str, thing: Thing) -> bool:
    """Take away what is wrong with a thing, part by part; say whether the rest may stay."""
    while True:
        if section == "hosts" and "architecture" not in thing:
            thing["architecture"] = "amd64"
            assume(thing, "architecture")
        try:
            SECTIONS[section].model_validate(thing)
        except ValidationError as error:
            first = error.errors()[0]
            context = first.get("ctx", {})
            what = context.get("what", first["msg"])
            place = (*first["loc"], *context.get("inside", ()))
            draft.lost.append(f"{thing['name']}: {harmless(str(what))[:200]}")
            if not _without(thing, place):
                draft.lost.append(f"{thing['name']}: all of it")
                return False
        else:
            return True


def _without(thing: Thing, place: tuple[Any, ...]) -> bool:
    """Take away what stands at a place, or the nearest part around it; False for the thing."""
    inside: Any = thing
    held: list[tuple[Any, Any]] = []
    for part in place:
        if not (isinstance(inside, dict) and part in inside) and not (
            isinstance(inside, list) and isinstance(part, int) and part < len(inside)
        ):
            break
        held.append((inside, part))
        inside = inside[part]
    # Without a name or a component it is nothing.
    if not held or (held[0][1] in ("name", "components") and len(held) < 4):
        return False
    around, part = held[-1]
    del around[part]
    return True


def _unknown(host: str) -> str:
    to_do = "write cores, memory and disk, or use --capacity-from-load 1.25"
    return f"host {host}: its capacity, which is not said there; {to_do}"


def as_yaml(draft: Draft) -> str:
    """Return the draft as a file of an estate."""
    document: dict[str, Any] = {
        section: [_laid_out(thing) for thing in things]
        for section, things in draft.sections()
        if things
    }
    if draft.policy:
        document["policy"] = _laid_out(draft.policy)
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _data: True
    out = io.StringIO()
    yaml.dump(document or {"hosts": []}, out)
    head = [f"Imported by `commonfarm estate import` from {draft.origin}.", *draft.remarks]
    return "".join(f"# {harmless(line)}\n" for line in head) + out.getvalue()


def _laid_out(thing: Thing) -> Thing:
    """Return a thing with what is short on one line."""
    return {key: _flow(value) for key, value in thing.items()}


def _flow(value: object) -> object:
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return [CommentedMap({key: _flow(one) for key, one in item.items()}) for item in value]
        row = CommentedSeq(map(_flow, value))
        row.fa.set_flow_style()
        return row
    if isinstance(value, dict):
        inner = CommentedMap({key: _flow(one) for key, one in value.items()})
        inner.fa.set_flow_style()
        return inner
    return harmless(value) if isinstance(value, str) else value
