"""What is used today, where, and how that is known: measured, asked for, or only planned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal, NamedTuple

from commonfarm.estate.answers.trends import Amounts, Trend, Trends
from commonfarm.estate.facts import LEVELS, Facts, Instance, Level, Observed

Basis = Literal["observed", "requested", "planned"]


class Place(NamedTuple):
    """A component (None: what of its service no component is known to take) on a host, or none."""

    service: str
    component: str | None
    host: str | None
    site: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """What a component takes of a resource class in one place.

    `amounts` is what was measured or, where nothing was, what its instances ask for: `requested`.
    `ratio` is how much of a host's room one unit takes: what was measured is physical, and takes
    `allocation_ratio` times as much of the overcommitted room as what is only asked for. `trend` is
    that of an instance, `counted` that of all together, whose number may grow too. `assumed` says
    what of it nobody knows.
    """

    place: Place
    resource: str
    basis: Basis
    amounts: Amounts
    requested: Amounts
    ratio: Fraction
    trend: Trend
    counted: Trend
    assumed: str | None = None

    def room(self) -> Amounts:
        """Return what it takes of a host's room."""
        return {level: amount * self.ratio for level, amount in self.amounts.items()}


@dataclass(frozen=True, slots=True)
class Uses:
    """All parts, and in words what could not be computed."""

    parts: tuple[Part, ...]
    gaps: tuple[str, ...]


NOTHING: Amounts = dict.fromkeys(LEVELS, Fraction(0))
Key = tuple[Place, str]
Asked = dict[Key, tuple[Basis, Amounts]]


@dataclass(frozen=True, slots=True)
class _Measured:
    amount: Fraction
    ratio: Fraction
    on: date
    assumed: str | None = None


def uses(facts: Facts, today: date) -> Uses:
    """Return what is used: what was measured by `today`, and where nothing was, what is asked."""
    asked = _asked(facts)
    measured, gaps = _measured(facts, asked, today)
    trends = Trends(facts)
    parts = []
    for key in sorted(
        {*asked, *measured}, key=lambda key: tuple(one or "" for one in (*key[0], key[1]))
    ):
        place, resource = key
        basis, requested = asked.get(key, ("observed", NOTHING))
        seen = measured.get(key)
        amounts = requested
        if seen:
            basis = "observed"
            # An isolated core is taken, whether it works or not.
            held = asked.get((place, "isolated_cores"), (basis, NOTHING))[1]
            least = held if resource == "cores" else NOTHING
            amounts = {level: max(seen.amount, least[level]) for level in LEVELS}
        of, on = (place.service, place.component), seen.on if seen else None
        parts.append(
            Part(
                place,
                resource,
                basis,
                amounts,
                requested,
                seen.ratio if seen else Fraction(1),
                trends.of(*of, (resource,), on),
                trends.of(*of, (resource, "instances"), on),
                seen.assumed if seen else None,
            )
        )
    return Uses(tuple(parts), tuple(gaps))


def site_of(facts: Facts, one: Instance) -> str | None:
    """Return the site where an instance runs, or the only one where it may."""
    if one.on:
        return facts.hosts[one.on].site
    return one.requirement.sites[0] if len(one.requirement.sites) == 1 else None


def hosts_of(facts: Facts, service: str, component: str | None) -> list[str]:
    """Return the hosts of a component, or of a whole service: of production, where it has one.

    Neither what was measured nor a ladder says which environment it is about.
    """
    placed = [one for one in _of(facts, service, component) if one.on]
    production = [one for one in placed if one.environment == "production"]
    return sorted({one.on for one in production or placed if one.on})


def _of(facts: Facts, service: str, component: str | None) -> list[Instance]:
    return [
        one
        for one in facts.instances.values()
        if one.service == service and component in (None, one.component)
    ]


def _asked(facts: Facts) -> Asked:
    found: dict[Key, dict[Level, Fraction]] = {}
    existing: set[Key] = set()
    for one in facts.instances.values():
        host = facts.hosts[one.on] if one.on else None
        place = Place(one.service, one.component, one.on, site_of(facts, one))
        for level in LEVELS:
            amounts = one.requirement.at(level)
            for resource, amount in (host.takes(amounts) if host else amounts).items():
                had = found.setdefault((place, resource), dict.fromkeys(LEVELS, Fraction(0)))
                had[level] += amount if one.there(level) else 0
                if one.status == "existing":
                    existing.add((place, resource))
    return {
        key: ("requested" if key in existing else "planned", amounts)
        for key, amounts in found.items()
    }


def _measured(facts: Facts, asked: Asked, today: date) -> tuple[dict[Key, _Measured], list[str]]:
    found: dict[Key, _Measured] = {}
    gaps: list[str] = []
    # A service's own figure comes after those of its components, which are part of it.
    latest = _latest(facts.observed, today)
    for one in sorted(latest, key=lambda one: (one.component is None, one.where)):
        places = _places(facts, one)
        if not places:
            gaps.append(f"{one.where}: {one.service} was measured, but runs on no host")
        for name, here in places.items():
            host = facts.hosts[name]
            if one.amount is not None:
                wanted = sum(_likely(asked, place, one.resource) for place in here)
                everywhere = [p for places_there in places.values() for p in places_there]
                of_all = sum(_likely(asked, place, one.resource) for place in everywhere)
                share = wanted / of_all if of_all else Fraction(len(here), len(everywhere))
                amount = one.amount * share
            elif one.share is not None and one.resource in host.capacity:
                amount = one.share * host.capacity[one.resource]
            else:
                gaps.append(f"{one.where}: host {name} does not say how much {one.resource} it has")
                continue
            ratio = host.allocation_ratio.get(one.resource, Fraction(1))
            if one.component:
                found[here[0], one.resource] = _Measured(amount, ratio, one.on)
            else:
                split = _split(one, amount, here, asked, found)
                for place, (part, assumed) in split.items():
                    found[place, one.resource] = _Measured(part, ratio, one.on, assumed)
    return found, gaps


def _latest(observed: Iterable[Observed], today: date) -> list[Observed]:
    last: dict[tuple[str, str | None, str], Observed] = {}
    for one in sorted(observed, key=lambda one: (one.on, one.where)):
        if one.on <= today:
            last[one.service, one.component, one.resource] = one
    return list(last.values())


def _places(facts: Facts, one: Observed) -> dict[str, list[Place]]:
    """Return, for each host where what was measured runs, its components there."""
    hosts = hosts_of(facts, one.service, one.component)
    found: dict[str, set[Place]] = {name: set() for name in hosts}
    for instance in _of(facts, one.service, one.component):
        if instance.on in found:
            site = site_of(facts, instance)
            place = Place(one.service, instance.component, instance.on, site)
            found[instance.on].add(place)
    return {name: sorted(found[name], key=lambda place: place.component or "") for name in hosts}


def _likely(asked: Asked, place: Place, resource: str) -> Fraction:
    return asked.get((place, resource), ("requested", NOTHING))[1]["likely"]


def _split(
    one: Observed, amount: Fraction, here: list[Place], asked: Asked, found: dict[Key, _Measured]
) -> dict[Place, tuple[Fraction, str | None]]:
    """Return what each component on a host takes of what was measured of its service there.

    What no component is known to take is split as they ask for it, or evenly, and said to be so.
    """
    known = [place for place in here if (place, one.resource) in found]
    rest = max(Fraction(0), amount - sum(found[place, one.resource].amount for place in known))
    unknown = [place for place in here if place not in known]
    if not unknown:
        return {here[0]._replace(component=None): (rest, None)} if rest else {}
    asks = {place: _likely(asked, place, one.resource) for place in unknown}
    by = "as they ask for it" if all(asks.values()) else "evenly"
    weights = asks if all(asks.values()) else dict.fromkeys(unknown, Fraction(1))
    total = sum(weights.values())
    split: dict[Place, tuple[Fraction, str | None]] = {}
    for place, weight in weights.items():
        part, said = rest * weight / total, None
        if amount and len(here) > 1:
            said = (
                f"{place.component} takes {float(part / amount):.0%} of the {one.resource} "
                f"measured of {one.service}, which is split {by} where it is not known"
            )
        split[place] = part, said
    return split
