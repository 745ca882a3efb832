"""When a network runs out of addresses, and which prefix would be enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from ipaddress import ip_network
from typing import Literal

from commonfarm.estate.answers.outlooks import Point, days_to_draw, merged, spans_to
from commonfarm.estate.answers.trends import Amounts, Load, Trend, Trends, Window
from commonfarm.estate.answers.uses import site_of
from commonfarm.estate.facts import LEVELS, Facts, Host, Instance, Level, Network, Range
from commonfarm.estate.prefixes import Prefix, usable
from commonfarm.estate.timeline import Interval, stands
from commonfarm.lib.errors import Reason

Code = Literal["addresses-run-out"]


@dataclass(frozen=True, slots=True)
class EnoughPrefix:
    """The smallest prefix that is enough up to the end, and the networks that lie in its way.

    `prefix` is the network's own, widened where it must be; `overlaps` are `site/network`.
    """

    prefix: str
    capacity: int
    overlaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkAhead:
    """A network's addresses: taken today, planned beside them, and the most up to the end.

    What is planned without a date counts from the first day on. `undecided` are addresses of
    instances that may go to several networks of that name: they are in none of the other figures.
    `enough` is by level, None where no prefix is. `points` is the curve, empty where it is flat.
    """

    network: Network
    taken: int
    planned: Range
    most: Range
    undecided: Range
    out: Window
    enough: dict[Level, EnoughPrefix | None]
    reason: Reason | None
    points: tuple[Point, ...]


def networks_ahead(facts: Facts, start: date, end: date) -> list[NetworkAhead]:
    """Return the answers for all networks, from `start` to `end`, the first that is full first."""
    trends = Trends(facts)
    spans = spans_to(facts, start, end)
    found = [_ahead(facts, network, trends, spans, end) for network in facts.networks()]
    return sorted(
        found,
        key=lambda one: (
            one.out.likely or date.max,
            one.out.earliest or date.max,
            one.network.site,
            one.network.name,
        ),
    )


def _ahead(
    facts: Facts, network: Network, trends: Trends, spans: list[Interval], end: date
) -> NetworkAhead:
    start = spans[0].start
    attached = [
        host
        for host in facts.hosts.values()
        if host.site == network.site and network.name in host.networks
    ]
    guests, undecided = _guests(facts, network, trends)
    load = Load.of((trend, amounts) for _, trend, amounts in guests)
    # What machines take themselves comes and goes with them: it narrows what is left for guests.
    hosts = [(span.start, sum(_there(facts, h, span.start) for h in attached)) for span in spans]
    left = merged((day, network.capacity - number) for day, number in hosts)
    days = {day for piece in load.pieces(left, start, end) for day in piece}
    most = Range(*(max(_in_use(load, hosts, day, level) for day in days) for level in LEVELS))
    out = Window.of(
        {level: load.first_over(left, start, end, level, whole=True) for level in LEVELS}
    )
    running = [(trend, amounts) for one, trend, amounts in guests if one.status == "existing"]
    taken = Load.of(running).ones(start, "likely") + sum(
        host.status == "existing" and stands(facts, host, start) for host in attached
    )
    planned = [(trend, amounts) for one, trend, amounts in guests if one.status != "existing"]
    to_come = sum(host.status != "existing" for host in attached)
    enough = {level: enough_prefix(facts, network, most.at(level)) for level in LEVELS}
    return NetworkAhead(
        network,
        taken,
        Range(*(Load.of(planned).ones(start, level) + to_come for level in LEVELS)),
        most,
        Range(*(undecided.ones(start, level) for level in LEVELS)),
        out,
        enough,
        _reason(network, most, out, enough),
        tuple(
            Point(
                day,
                Range(*(_in_use(load, hosts, day, level) for level in LEVELS)),
                network.capacity,
            )
            for day in days_to_draw(load, left, start, end, out)
            if load.bends() or len(left) > 1
        ),
    )


def _guests(
    facts: Facts, network: Network, trends: Trends
) -> tuple[list[tuple[Instance, Trend, Amounts]], Load]:
    """Return the instances with addresses in a network, and the load of those that may have."""
    here: list[tuple[Instance, Trend, Amounts]] = []
    undecided: list[tuple[Trend, Amounts]] = []
    for one in facts.instances.values():
        wanted = one.requirement.addresses.get(network.name)
        if not wanted:
            continue
        amounts = {level: Fraction(wanted * one.there(level)) for level in LEVELS}
        trend = trends.of(one.service, one.component, ("instances",), None)
        sites = _sites(facts, one, network.name)
        if sites == [network.site]:
            here.append((one, trend, amounts))
        elif network.site in sites:
            undecided.append((trend, amounts))
    return here, Load.of(undecided)


def _sites(facts: Facts, one: Instance, name: str) -> list[str]:
    """Return the sites that have a network of that name and where the instance may be."""
    site = site_of(facts, one)
    allowed = (site,) if site else one.requirement.sites or facts.sites
    return [place for place in allowed if name in facts.sites[place].networks]


def _there(facts: Facts, host: Host, day: date) -> bool:
    """Say whether a host has its address on a day; one that is only needed as soon as it may."""
    if host.status == "needed":
        return host.available_from is None or host.available_from <= day
    return stands(facts, host, day)


def _in_use(load: Load, hosts: list[tuple[date, int]], day: date, level: Level) -> int:
    standing = next(number for since, number in reversed(hosts) if since <= day)
    return standing + load.ones(day, level)


def enough_prefix(facts: Facts, network: Network, needed: int) -> EnoughPrefix | None:
    """Return the smallest prefix with so many addresses for machines; None where none has."""
    own = ip_network(network.prefix)
    for length in range(own.max_prefixlen, -1, -1):
        # The one that holds the network, or of the longer ones the first within it.
        prefix = ip_network((own.network_address, length), strict=False)
        capacity = usable(prefix) - network.reserved
        if capacity >= needed:
            return EnoughPrefix(str(prefix), capacity, tuple(_overlaps(facts, network, prefix)))
    return None


def _overlaps(facts: Facts, network: Network, prefix: Prefix) -> Iterator[str]:
    for other in facts.networks():
        if other is not network and prefix.overlaps(ip_network(other.prefix)):
            yield f"{other.site}/{other.name}"


def _reason(
    network: Network, most: Range, out: Window, enough: dict[Level, EnoughPrefix | None]
) -> Reason | None:
    level: Level = "likely" if out.likely else "high"
    if out.at(level) is None:
        return None
    what = (
        f"network {network.name} of {network.site} has {network.capacity} addresses, "
        f"and {most.at(level)} would be needed"
    )
    wider = enough[level]
    if wider is None:
        return Reason("addresses-run-out", what, "split it: no prefix has so many")
    lifted, at_high = _has(wider), enough["high"]
    if at_high is None:
        lifted += "; at high no prefix has so many"
    elif at_high.capacity > wider.capacity:
        lifted += f"; at high {_has(at_high)}"
    return Reason("addresses-run-out", what, lifted)


def _has(one: EnoughPrefix) -> str:
    are = "is" if len(one.overlaps) == 1 else "are"
    once = f", once {', '.join(one.overlaps)} {are} elsewhere" if one.overlaps else ""
    return f"{one.prefix} has {one.capacity}{once}"
