"""Small estates made of facts directly, for tests of what lies behind the files.

Amounts are written as in the files: `host("a", cores=4, memory="16 GiB")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from fractions import Fraction
from typing import Any

from commonfarm.estate.facts import (
    Facts,
    Host,
    HostKind,
    Instance,
    Level,
    Network,
    Period,
    Pledge,
    Policy,
    Range,
    Requirement,
    Service,
    Site,
    Sponsor,
    Spread,
)
from commonfarm.estate.resources import resource

TODAY = date(2026, 1, 15)
Written = str | int | tuple[str | int, str | int, str | int]


def amounts(written: Mapping[str, Written]) -> dict[str, int]:
    """Return what a host has; rounded down."""
    return {key: resource(key).parse(str(value)) for key, value in written.items()}


def host(name: str, **said: Any) -> Host:
    """Return a host: facts by their names, all other keys are resource classes."""
    facts: dict[str, Any] = {
        "site": None,
        "rack": None,
        "architecture": "amd64",
        "reserved": {},
        "allocation_ratio": {},
        "traits": frozenset(),
        "networks": (),
        "address": None,
        "pledge": None,
        "sponsor": None,
        "administrators": (),
        "status": "existing",
        "available_from": None,
        "ssh_host_keys": (),
        "where": f"hosts.yaml:1:1 ({name})",
    }
    facts.update({key: said.pop(key) for key in list(said) if key in facts})
    facts["traits"] = frozenset(facts["traits"])
    facts["reserved"] = amounts(facts["reserved"])
    ratios = facts["allocation_ratio"].items()
    facts["allocation_ratio"] = {key: Fraction(str(value)) for key, value in ratios}
    return Host(name=name, capacity=amounts(said), **facts)


def requirement(**said: Any) -> Requirement:
    """Return a requirement; an amount may be a tuple of low, likely and high."""
    rules = ("architectures", "required", "forbidden", "preferred", "sites", "addresses")
    facts = {key: said.pop(key) for key in list(said) if key in (*rules, "dedicated")}
    ranges = {
        key: Range(*(resource(key).parse(str(one), up=True) for one in _three(value)))
        for key, value in said.items()
    }
    return Requirement(amounts=ranges, **facts)


def _three(value: Written) -> Iterable[str | int]:
    return value if isinstance(value, tuple) else (value, value, value)


def instance(
    name: str,
    *,
    on: str | None = None,
    priority: int = 1,
    level: Level = "low",
    **said: Any,
) -> Instance:
    """Return an instance; `wiki/app/production/2` in full, or only `wiki`."""
    parts = [*name.split("/"), *("app", "production", "1")[name.count("/") :]]
    service, component, environment, number = parts
    return Instance(
        name="/".join(parts),
        service=service,
        component=component,
        environment=environment,
        number=int(number),
        requirement=requirement(**said),
        level=level,
        on=on,
        status="existing" if on else "needed",
        priority=priority,
        disruption_budget=Fraction(0),
        where=f"services.yaml:1:1 ({name})",
    )


def spread(*instances: str, over: str = "host", must: bool = True, **said: Any) -> Spread:
    """Return a rule of spread: at most one in a domain where nothing else is said."""
    at_least = said.get("at_least")
    at_most = said.get("at_most", None if at_least else 1)
    return Spread(instances, over, must, at_most, at_least, "services.yaml:9:1")


def pledge(name: str, sponsor: str = "giver", **said: Any) -> Pledge:
    """Return a pledge: a year at least, three months' notice."""
    facts: dict[str, Any] = {
        "what": name,
        "start": date(2025, 1, 1),
        "until": None,
        "minimum_term": Period(12),
        "notice": Period(3),
        "notice_given_on": None,
        "terms": "goodwill",
        "disclosure": "public",
        "where": f"pledges.yaml:1:1 ({name})",
    }
    return Pledge(name, sponsor, **{**facts, **said})


def site(name: str, networks: Iterable[Network] = (), **limits: Written) -> Site:
    """Return a site; keys are what its hosts share, such as bandwidth."""
    inside = {one.name: one for one in networks}
    return Site(name, name, amounts(limits), inside, (), None, f"sites.yaml:1:1 ({name})")


def facts(*things: Any, **said: Any) -> Facts:
    """Return the estate of these things; sponsors and services that are named are made."""

    def by_name(kind: type[Any]) -> dict[str, Any]:
        found = [one for one in things if isinstance(one, kind)]
        return {one.name: one for one in sorted(found, key=lambda one: str(one.name))}

    named: dict[str, list[str]] = {}
    for one in by_name(Instance).values():
        named.setdefault(one.service, []).append(one.component)
    services = {
        name: Service(name, name, (), tuple(sorted(set(parts))), {}, (), "services.yaml:1:1")
        for name, parts in sorted(named.items())
    }
    givers = sorted({one.sponsor for one in by_name(Pledge).values()})
    everything: dict[str, Any] = {
        "digest": "made for a test",
        "sites": by_name(Site),
        "sponsors": {
            one: Sponsor(one, one, None, None, None, "sponsors.yaml:1:1") for one in givers
        },
        "pledges": by_name(Pledge),
        "hosts": by_name(Host),
        "services": {**services, **by_name(Service)},
        "instances": by_name(Instance),
        "spreads": tuple(one for one in things if isinstance(one, Spread)),
        "observed": (),
        "growth": (),
        "steps": (),
        "transfers": (),
        "catalogue": by_name(HostKind),
        "policy": Policy(),
        "assumptions": (),
    }
    return Facts(**{**everything, **said})
