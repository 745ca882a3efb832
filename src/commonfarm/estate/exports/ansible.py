"""The estate as an inventory of Ansible, in YAML."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from commonfarm.estate.exports.common import Exported, checked, jumps, running
from commonfarm.estate.facts import Facts, Host, Instance
from commonfarm.estate.resources import Amounts, resource
from commonfarm.lib.errors import Reason, RefusedError

_HEAD = "# Made by `commonfarm estate export ansible` from the estate; changes are lost.\n"


class _Unsafe(str):
    """A text that Ansible is told to leave alone."""


class _Representer(RoundTripRepresenter):
    """What writes our values; a class of its own, since ruamel keeps its table at the class."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def unsafe(self, data: _Unsafe) -> ScalarNode:
        return self.represent_scalar("!unsafe", str(data), style='"')


_Representer.add_representer(_Unsafe, _Representer.unsafe)


def inventory(facts: Facts, hosts: Sequence[Host]) -> Exported:
    """Return the hosts with their variables, and groups of them by what they are and run.

    Groups are `site_X`, `architecture_X`, `sponsor_X`, `trait_X`, `service_X` and, in it,
    `service_X_ENVIRONMENT`; what Ansible allows in no group's name becomes `_`. RefusedError where
    two would be one.
    """
    on = running(facts, hosts)
    groups: dict[str, dict[str, Any]] = {}
    whose: dict[str, tuple[str, ...]] = {}
    for host in hosts:
        for path in _groups(host, on[host.name]):
            inside = groups
            for depth, words in enumerate(path):
                name = _group_name(words)
                if whose.setdefault(name, words) != words:
                    what = (
                        f"{' '.join(whose[name])} and {' '.join(words)} would be one group, {name}"
                    )
                    raise RefusedError(Reason("groups-collide", what, "rename one of them"))
                group = inside.setdefault(name, {})
                if depth == len(path) - 1:
                    group.setdefault("hosts", {})[host.name] = None
                inside = group.setdefault("children", {}) if len(path) > depth + 1 else {}
    document = {
        "all": {
            "hosts": {host.name: _variables(facts, checked(host)) for host in hosts},
            "children": _sorted(groups),
        }
    }
    yaml = YAML()
    yaml.width = 10_000
    yaml.Representer = _Representer
    out = io.StringIO()
    yaml.dump(document, out)
    return Exported(_HEAD + out.getvalue())


def _sorted(groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: group | {"children": _sorted(group["children"])} if "children" in group else group
        for name, group in sorted(groups.items())
    }


def _groups(host: Host, instances: Sequence[Instance]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield the groups that a host is in, each with those around it."""
    yield (("architecture", host.architecture),)
    if host.site:
        yield (("site", host.site),)
    if host.sponsor:
        yield (("sponsor", host.sponsor),)
    for trait in sorted(host.traits):
        yield (("trait", trait.lower()),)
    for service, environment in sorted({(one.service, one.environment) for one in instances}):
        yield (("service", service), ("service", service, environment))


def _group_name(words: Sequence[str]) -> str:
    return re.sub(r"[^a-z0-9_]", "_", "_".join(words))


def _variables(facts: Facts, host: Host) -> dict[str, Any]:
    path = jumps(facts, host)
    found: dict[str, Any] = {}
    if host.address:
        found["ansible_host"] = host.address
    if path:
        way = ",".join(_for_jump(checked(one)) for one in path)
        found["ansible_ssh_common_args"] = f"-o ProxyJump={way}"
    said = {
        "architecture": host.architecture,
        "site": host.site,
        "rack": host.rack,
        "pledge": host.pledge,
        "sponsor": host.sponsor,
        "status": host.status,
        "capacity": _exactly(host.capacity),
        "reserved": _exactly(host.reserved),
        "allocation_ratio": {key: float(one) for key, one in sorted(host.allocation_ratio.items())},
        "networks": list(host.networks),
        "traits": sorted(host.traits),
        "administrators": list(host.administrators),
    }
    found["commonfarm"] = {key: _plain(value) for key, value in said.items() if value}
    return found


def _for_jump(host: Host) -> str:
    address = host.address or host.name
    return f"[{address}]" if ":" in address else address


def _exactly(amounts: Amounts) -> dict[str, str | int]:
    texts = {key: resource(key).exactly(amount) for key, amount in sorted(amounts.items())}
    return {key: int(text) if text.isdigit() else text for key, text in texts.items()}


def _plain(value: object) -> object:
    """Return a value that Ansible does not take for a template, which could run commands."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    return _Unsafe(value)
