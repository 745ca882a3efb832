"""Sites, sponsors, pledges, hosts and kinds of host: from what is written to facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from commonfarm.estate import schema
from commonfarm.estate.facts import Host, HostKind, Network, Pledge, Site, Sponsor
from commonfarm.estate.prefixes import usable
from commonfarm.estate.reader import Declared, Estate, no_such
from commonfarm.estate.timeline import ends_on
from commonfarm.lib.errors import Problem

Architecture = Callable[[str], str]


def sites(estate: Estate, problems: list[Problem]) -> dict[str, Site]:
    """Return the sites with their networks; note networks that overlap or have one name."""
    prefixes: list[tuple[Declared[schema.Site], int]] = []
    found = {}
    for one in estate.sites:
        networks: dict[str, Network] = {}
        for number, network in enumerate(one.thing.networks):
            made = _network(one, number)
            first = networks.setdefault(network.name, made)
            if first is not made:
                what = f"the network {network.name} is declared already, at {first.where}"
                place = ("networks", number, "name")
                problems.append(one.problem(what, "give one of them another name", *place))
            if made.capacity < 0:
                what = f"{network.prefix} has fewer addresses than are reserved"
                problems.append(one.problem(what, "reserve fewer", "networks", number, "reserved"))
            prefixes.append((one, number))
        limits = {"bandwidth": one.thing.bandwidth, "traffic": one.thing.traffic}
        found[one.thing.name] = Site(
            name=one.thing.name,
            title=one.thing.title or one.thing.name,
            limits={key: amount for key, amount in limits.items() if amount is not None},
            networks=dict(sorted(networks.items())),
            administrators=tuple(one.thing.administrators),
            jump_host=one.thing.jump_host,
            where=one.where(),
            source=one.thing.source_text,
        )
    problems += _overlapping(prefixes)
    return dict(sorted(found.items()))


def _network(one: Declared[schema.Site], number: int) -> Network:
    network = one.thing.networks[number]
    capacity = usable(ip_network(network.prefix)) - network.reserved
    return Network(
        name=network.name,
        site=one.thing.name,
        prefix=network.prefix,
        reserved=network.reserved,
        capacity=capacity,
        where=one.where("networks", number),
        source=network.source_text,
    )


def _overlapping(declared: Sequence[tuple[Declared[schema.Site], int]]) -> Iterator[Problem]:
    """Yield every prefix that lies in another, or is the same; of two, the one declared later."""
    order = [
        (ip_network(one.thing.networks[number].prefix), position, one, number)
        for position, (one, number) in enumerate(declared)
    ]
    order.sort(key=lambda e: (e[0].version, int(e[0].network_address), e[0].prefixlen, e[1]))
    around: list[Any] = []
    for entry in order:
        # Prefixes nest or lie apart, so those around this one are the last that were opened.
        while around and (
            around[-1][0].version != entry[0].version
            or around[-1][0].broadcast_address < entry[0].network_address
        ):
            around.pop()
        if around:
            first, second = sorted((around[-1], entry), key=lambda e: e[1])
            site, name = first[2].thing.name, first[2].thing.networks[first[3]].name
            # What is declared twice is told as that.
            if (site, name) != (second[2].thing.name, second[2].thing.networks[second[3]].name):
                what = (
                    f"{second[0]} overlaps {first[0]} of the network {name} at {site},"
                    f" declared at {first[2].where('networks', first[3])}"
                )
                place = ("networks", second[3], "prefix")
                yield second[2].problem(what, "give each network a prefix of its own", *place)
        around.append(entry)


def jumps_in_circles(
    estate: Estate, sites: Mapping[str, Site], hosts: Mapping[str, Host]
) -> Iterator[Problem]:
    """Yield each circle of sites that are reached through a host of the next, once."""

    def through(name: str) -> str | None:
        site = sites.get(name)
        jump = hosts.get(site.jump_host or "") if site else None
        return jump.site if jump and jump.site != name else None

    seen: set[str] = set()
    for one in sorted(estate.sites, key=lambda one: one.thing.name):
        way: list[str] = []
        now: str | None = one.thing.name
        while now and now not in seen and now not in way:
            way.append(now)
            now = through(now)
        seen.update(way)
        if now in way:
            circle = way[way.index(now) :]
            steps = (f"{name} is reached through {sites[name].jump_host}" for name in circle)
            what = f"jump hosts lead to each other: {', '.join(steps)}"
            first = next(other for other in estate.sites if other.thing.name == circle[0])
            to_do = "let one of these sites be reached without a jump host"
            yield first.problem(what, to_do, "jump_host")


def sponsors(estate: Estate) -> dict[str, Sponsor]:
    """Return who lends or gives."""
    found = [
        Sponsor(
            name=one.thing.name,
            title=one.thing.title or one.thing.name,
            url=one.thing.url,
            logo=one.thing.logo,
            contact=one.thing.contact,
            where=one.where(),
            source=one.thing.source_text,
        )
        for one in estate.sponsors
    ]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def pledges(estate: Estate) -> dict[str, Pledge]:
    """Return what is lent."""
    found = [
        Pledge(
            name=one.thing.name,
            sponsor=one.thing.sponsor,
            what=one.thing.what,
            start=one.thing.start,
            until=one.thing.until,
            minimum_term=one.thing.minimum_term,
            notice=one.thing.notice,
            notice_given_on=one.thing.notice_given_on,
            terms=one.thing.terms,
            disclosure=one.thing.disclosure,
            where=one.where(),
            source=one.thing.source_text,
        )
        for one in estate.pledges
    ]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def hosts(
    estate: Estate,
    lent: Mapping[str, Pledge],
    architecture: Architecture,
    problems: list[Problem],
) -> dict[str, Host]:
    """Return the hosts, one by one where many were written as one."""
    givers = {name: one.sponsor for name, one in lent.items()}
    found: dict[str, Host] = {}
    addresses: dict[str, Declared[schema.Host]] = {}
    for one in estate.hosts:
        problems += _foreign_networks(estate, one)
        problems += _never_there(one, lent)
        thing = one.thing
        first = addresses.setdefault(thing.address or "", one)
        if thing.address and first.thing.name != thing.name:
            what = f"{thing.address} is the address of {first.thing.name}, at {first.where()}"
            problems.append(one.problem(what, "give each host its own", "address"))
        said = dict(
            **_machine(thing, architecture),
            rack=thing.rack,
            address=thing.address,
            pledge=thing.pledge,
            sponsor=givers.get(thing.pledge or ""),
            administrators=tuple(thing.administrators),
            status=thing.status,
            available_from=thing.available_from,
            ssh_host_keys=tuple(thing.ssh_host_keys),
            where=one.where(),
        )
        found.update((name, Host(name=name, **said)) for name in thing.names())
    return dict(sorted(found.items()))


def _never_there(one: Declared[schema.Host], lent: Mapping[str, Pledge]) -> Iterator[Problem]:
    """Yield that a host comes no earlier than its pledge ends."""
    comes, pledge = one.thing.available_from, lent.get(one.thing.pledge or "")
    end = ends_on(pledge) if pledge else None
    if comes and pledge and end and comes >= end:
        what = f"it is there from {comes}, and its pledge {pledge.name} ends on {end}"
        yield one.problem(what, "mend one of the two", "available_from")


def catalogue(
    estate: Estate, architecture: Architecture, problems: list[Problem]
) -> dict[str, HostKind]:
    """Return the kinds of host that could be asked for."""
    found = []
    for one in estate.catalogue:
        problems += _foreign_networks(estate, one)
        thing, where = one.thing, one.where()
        host = Host(
            name=thing.name,
            **_machine(thing, architecture),
            rack=None,
            address=None,
            pledge=None,
            sponsor=None,
            administrators=(),
            status="needed",
            available_from=None,
            where=where,
        )
        title = thing.title or thing.name
        found.append(HostKind(thing.name, title, thing.cost, host, where, thing.source_text))
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def _machine(thing: schema.Machine, architecture: Architecture) -> dict[str, Any]:
    return {
        "site": thing.site,
        "architecture": architecture(thing.architecture),
        "capacity": thing.amounts(),
        "reserved": thing.reserved.amounts(),
        "allocation_ratio": thing.allocation_ratio.ratios(),
        "traits": thing.all_traits(),
        "networks": tuple(sorted(thing.networks)),
        "source": thing.source_text,
    }


def _foreign_networks(
    estate: Estate, one: Declared[schema.Host] | Declared[schema.HostKind]
) -> Iterator[Problem]:
    """Yield every network of a machine that its site does not have."""
    if not one.thing.networks:
        return
    if one.thing.site is None:
        what = "networks are those of a site, and none is named"
        yield one.problem(what, "add `site:`", "networks")
        return
    known = networks_at(estate, one.thing.site)
    for number, name in enumerate(one.thing.networks):
        if known is not None and name not in known:
            what, to_do = no_such("networks", name, known)
            yield one.problem(f"{what} at {one.thing.site}", to_do, "networks", number)


def networks_at(estate: Estate, site: str) -> frozenset[str] | None:
    """Return the names of a site's networks; None where that is not known, for faults of its."""
    item = estate.names.of["sites"].get(site)
    written = item.get("networks") if item is not None else None
    if item is None or not isinstance(written, list | None):
        return None
    names = [one.get("name") if isinstance(one, dict) else None for one in written or ()]
    return frozenset(name for name in names if isinstance(name, str))
