"""Estates small enough to try every placement, drawn at random, and what is feasible in them.

`feasible` says the rules once more in the plainest way, so that the verifier is not its own judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from commonfarm.estate.facts import Facts, Network
from tests.estate.making import facts, host, instance, site, spread

NETWORK = Network("build", "here", "10.0.0.0/29", 1, 4, "sites.yaml:2:1")
few = st.integers(0, 6)


@st.composite
def estates(draw: st.DrawFn, instances: int = 4, hosts: int = 3) -> Facts:
    """Draw an estate of few hosts and instances, with every rule there is."""
    host_names = [f"h{number}" for number in range(draw(st.integers(1, hosts)))]
    names = [f"s{number}" for number in range(draw(st.integers(1, instances)))]
    things: list[Any] = [site("here", [NETWORK], bandwidth=f"{draw(few)} Gbit/s")]
    things += [draw(_host(name)) for name in host_names]
    things += [draw(_instance(name, host_names)) for name in names]
    full = [f"{name}/app/production/1" for name in names]
    for _ in range(draw(st.integers(0, 2))):
        said: dict[str, Any] = draw(
            st.sampled_from([{"at_most": 1}, {"at_most": 2}, {"at_least": 2}])
        )
        members = draw(st.lists(st.sampled_from(full), min_size=1, unique=True))
        over = draw(st.sampled_from(["host", "rack", "site"]))
        things.append(spread(*members, over=over, must=draw(st.booleans()), **said))
    return facts(*things)


@st.composite
def _host(draw: st.DrawFn, name: str) -> Any:
    said: dict[str, Any] = {"cores": draw(few), "memory": f"{draw(st.integers(1, 12))} GiB"}
    if draw(st.booleans()):
        said["allocation_ratio"] = {"cores": draw(st.sampled_from([1, "1.5", 4]))}
        said["reserved"] = {"memory": "1 GiB"}
    return host(
        name,
        site=draw(st.sampled_from(["here", "here", None])),
        rack=draw(st.sampled_from(["r1", "r2", None])),
        architecture=draw(st.sampled_from(["amd64", "amd64", "arm64"])),
        traits=draw(st.sets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"]))),
        networks=draw(st.sampled_from([("build",), ()])),
        **said,
    )


@st.composite
def _instance(draw: st.DrawFn, name: str, hosts: list[str]) -> Any:
    said: dict[str, Any] = {"memory": f"{draw(few)} GiB", "cores": draw(st.integers(0, 2))}
    rare = st.sampled_from([False, False, False, True])
    if draw(rare):
        said["isolated_cores"] = 1
    if draw(rare):
        said["bandwidth"] = f"{draw(few)} Gbit/s"
    if draw(rare):
        said["addresses"] = {"build": draw(st.integers(1, 2))}
    if draw(rare):
        said["required"] = (("CUSTOM_A", "CUSTOM_B"),)
    if draw(rare):
        said["forbidden"] = ("CUSTOM_A",)
    if draw(rare):
        said["preferred"] = ("CUSTOM_B",)
    if draw(rare):
        said["architectures"] = ("amd64",)
    if draw(rare):
        said["dedicated"] = True
    on = draw(st.sampled_from([None, None, *hosts]))
    return instance(name, priority=draw(st.integers(1, 9)), on=on, **said)


def feasible(estate: Facts, on: Mapping[str, str]) -> bool:
    """Say whether instances can be on these hosts together, at level `likely`, all hosts there."""
    taken: Counter[tuple[str, str]] = Counter()
    attached = sum(one.site == "here" and "build" in one.networks for one in estate.hosts.values())
    used = {"bandwidth": 0, "addresses": 0}
    guests = Counter(on.values())
    for name, where in on.items():
        need, place = estate.instances[name].requirement, estate.hosts[where]
        if need.architectures and place.architecture not in need.architectures:
            return False
        if not all(set(one) & place.traits for one in need.required):
            return False
        if set(need.forbidden) & place.traits or (need.dedicated and guests[where] > 1):
            return False
        if need.addresses and place.site != "here":
            return False
        amounts = need.at("likely")
        for key, amount in place.takes(amounts).items():
            taken[where, key] += amount
        if place.site == "here":
            used["bandwidth"] += amounts.get("bandwidth", 0)
            used["addresses"] += need.addresses.get("build", 0)
    for (where, key), amount in taken.items():
        room = estate.hosts[where].room(key)
        if room is not None and amount > room:
            return False
    if used["bandwidth"] > estate.sites["here"].limits["bandwidth"]:
        return False
    if used["addresses"] > max(0, NETWORK.capacity - attached):
        return False
    return all(kept(estate, on, number) for number, one in enumerate(estate.spreads) if one.must)


def kept(estate: Facts, on: Mapping[str, str], number: int) -> bool:
    rule = estate.spreads[number]
    domains = Counter(
        estate.hosts[on[name]].domain(rule.over) for name in rule.instances if name in on
    )
    if rule.at_most is not None and any(count > rule.at_most for count in domains.values()):
        return False
    return len(domains) >= min(rule.at_least or 0, sum(domains.values()))
