"""An inventory of Ansible, and how the variables of a host are merged.

The order is Ansible's ("How variables are merged" in its user guide): groups from the outermost to
the innermost, of those as deep as each other by `ansible_group_priority`, then by name; then the
host's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticCustomError

from commonfarm.estate.schema.supply import expand
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless

Variables = dict[str, Any]
MOST_HOSTS = 20_000
MOST_PLACES = 1_000_000
_TO_DO = "take what `ansible-inventory --list` prints"


@dataclass(slots=True)
class Group:
    """A group: its hosts, the groups in it, its variables, and how deep it lies at most."""

    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    variables: Variables = field(default_factory=dict)
    depth: int = 0


@dataclass(slots=True)
class Inventory:
    """Groups by name, and each host's own variables."""

    file: str
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Variables] = field(default_factory=dict)
    around: dict[str, list[str]] = field(default_factory=dict)

    def variables(self, host: str) -> Variables:
        """Return all variables of a host, merged."""
        merged: Variables = {}
        for name in self.around.get(host, ()):
            merged.update(self.groups[name].variables)
        return merged | self.hosts[host]

    def group(self, name: str) -> Group:
        """Return a group, made where there is none yet."""
        return self.groups.setdefault(name, Group())

    def order(self) -> None:
        """Find which groups are around each host, and in which order they are merged."""
        self._depths()
        above: dict[str, set[str]] = {name: set() for name in self.groups}
        places = 0
        for name in sorted(self.groups, key=lambda name: self.groups[name].depth):
            for child in self.groups[name].children:
                above[child] |= above[name] | {name}
                places += len(above[name]) + 1
            if places > MOST_PLACES:
                raise _bad(
                    self.file, "its groups lie too deep in each other", "split the inventory"
                )
        ordered = sorted(self.groups, key=self._place)
        place = {name: number for number, name in enumerate(ordered)}
        around: dict[str, set[str]] = {host: {"all"} & place.keys() for host in self.hosts}
        for name, group in self.groups.items():
            for host in group.hosts:
                around[host] |= above[name] | {name}
        self.around = {host: sorted(names, key=place.__getitem__) for host, names in around.items()}

    def _place(self, name: str) -> tuple[int, int, str]:
        group = self.groups[name]
        try:
            priority = int(group.variables.get("ansible_group_priority", 1))
        except (TypeError, ValueError):
            priority = 1
        return group.depth, priority, name

    def _depths(self) -> None:
        """Set the depths of all groups, layer by layer; refuse groups that hold each other."""
        waiting = dict.fromkeys(self.groups, 0)
        for group in self.groups.values():
            for child in group.children:
                waiting[child] += 1
        ready = [name for name, count in waiting.items() if not count]
        for name in ready:
            for child in self.groups[name].children:
                inner = self.groups[child]
                inner.depth = max(inner.depth, self.groups[name].depth + 1)
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        left = sorted(self.groups.keys() - set(ready))
        if left:
            raise _bad(
                self.file, f"the groups {', '.join(left)[:200]} hold each other", "mend them"
            )


def _bad(file: str, what: str, to_do: str = _TO_DO) -> BadInputError:
    return BadInputError(Problem(file, 0, 0, harmless(what), to_do))


def inventory(file: str, value: Any) -> Inventory:
    """Return the inventory in a parsed JSON or YAML file; raise BadInputError where it is none."""
    if not isinstance(value, dict):
        raise _bad(file, "this is no inventory: no mapping stands at the top")
    found = Inventory(file)
    if "_meta" in value:
        _listed(found, value)
    else:
        for name, body in value.items():
            _nested(found, str(name), body)
    if len(found.hosts) > MOST_HOSTS:
        raise _bad(file, f"has more than {MOST_HOSTS} hosts", "split the inventory")
    if not found.hosts:
        raise _bad(file, "has no hosts")
    held = {child for group in found.groups.values() for child in group.children}
    found.group("all").children += sorted(found.groups.keys() - held - {"all"})
    for group in found.groups.values():
        group.children = list(dict.fromkeys(group.children))
    found.order()
    return found


def _listed(found: Inventory, value: dict[str, Any]) -> None:
    """Take what `--list` prints: groups by name, and the variables of hosts beside them."""
    meta = value["_meta"]
    of_hosts = meta.get("hostvars", {}) if isinstance(meta, dict) else {}
    for name, variables in _mapping(found, "hostvars", of_hosts).items():
        found.hosts[str(name)] = _mapping(found, str(name), variables)
    for name, body in value.items():
        if name == "_meta":
            continue
        inside = _mapping(found, name, body)
        group = found.group(name)
        group.variables = _mapping(found, name, inside.get("vars"))
        for host in _texts(found, name, inside.get("hosts")):
            found.hosts.setdefault(host, {})
            group.hosts.append(host)
        group.children = _texts(found, name, inside.get("children"))
        for child in group.children:
            found.group(child)


def _nested(found: Inventory, name: str, body: Any) -> None:
    """Take a group of the YAML form, and the groups in it."""
    inside = _mapping(found, name, body)
    unknown = sorted(inside.keys() - {"hosts", "children", "vars"})
    if unknown:
        raise _bad(found.file, f"the group {name} has `{unknown[0]}`; it is no inventory")
    group = found.group(name)
    group.variables.update(_mapping(found, name, inside.get("vars")))
    for pattern, variables in _mapping(found, name, inside.get("hosts")).items():
        for host in _expanded(found, pattern):
            group.hosts.append(host)
            own = found.hosts.setdefault(host, {})
            own.update(_mapping(found, host, variables))
    for child, its in _mapping(found, name, inside.get("children")).items():
        group.children.append(child)
        _nested(found, child, its)


def _expanded(found: Inventory, pattern: str) -> list[str]:
    try:
        return expand(pattern)
    except PydanticCustomError as error:
        context = error.context or {}
        raise _bad(found.file, str(context.get("what")), str(context.get("to_do"))) from None


def _mapping(found: Inventory, where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(found.file, f"in {where[:80]} stands {value!r:.40} where a mapping is wanted")
    return value


def _texts(found: Inventory, where: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad(found.file, f"in {where[:80]} stands {value!r:.40} where names are wanted")
    return value
