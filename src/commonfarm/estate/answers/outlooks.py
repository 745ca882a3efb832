"""When a resource class runs out: on a host, at a site, in all hosts together, for a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from commonfarm.estate.answers.trends import Capacity, Load, Window, there_is
from commonfarm.estate.answers.uses import Basis, Part
from commonfarm.estate.facts import LEVELS, Facts, Host, Level, Period, Range
from commonfarm.estate.placement.words import all_of
from commonfarm.estate.resources import resource
from commonfarm.estate.showing import FEW, first_of
from commonfarm.estate.timeline import Interval, after, intervals
from commonfarm.lib.errors import Reason

Scope = Literal["host", "site", "estate", "service"]
Code = Literal["full-already", "grows-out", "event", "capacity-goes"]
"""Why it runs out: more is used than there is on the first day; growth; an event; hosts leave."""


@dataclass(frozen=True, slots=True)
class Point:
    """A day on a curve, in the resource class's unit; `capacity` None is no limit of its own."""

    day: date
    use: Range
    capacity: int | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """How the use of one resource class goes on somewhere, and when it is more than there is.

    `capacity` is empty for a service, which has none of its own: its window is that of the first
    host or site in its way, `limit`. `bases` says how today's use is known. `doubles_on` is the
    first day with twice today's use, likely. `missing` is how much more would last to the end.
    """

    scope: Scope
    name: str
    resource: str
    load: Load
    capacity: Capacity
    start: date
    end: date
    bases: tuple[Basis, ...]
    today: Range
    requested: Range
    out: Window
    reason: Reason | None
    doubles_on: date | None
    missing: Range
    limit: str | None = None

    @property
    def most(self) -> int | None:
        """Return the most that there ever is; None where it has no capacity of its own."""
        return max((int(amount) for _, amount in self.capacity), default=None)

    def changes(self) -> bool:
        """Say whether use or capacity is ever another than on the first day."""
        return len(self.capacity) > 1 or bool(self.load.bends())

    def points(self) -> list[Point]:
        """Return the curve."""
        return [
            Point(
                day,
                self.load.range(day),
                int(there_is(self.capacity, day)) if self.capacity else None,
            )
            for day in days_to_draw(self.load, self.capacity, self.start, self.end, self.out)
        ]


def days_to_draw(load: Load, capacity: Capacity, start: date, end: date, out: Window) -> list[date]:
    """Return the first day of each month from then, those that end or begin a piece, and `out`."""
    days = {day for piece in load.pieces(capacity, start, end) for day in piece}
    days |= {day for level in LEVELS if (day := out.at(level))}
    month, number = start, 0
    while month < end:
        days.add(month)
        number += 1
        month = after(start, Period(number))
    return sorted(days)


def outlooks(facts: Facts, parts: Iterable[Part], start: date, end: date) -> list[Outlook]:
    """Return all outlooks from `start` to `end`, the first to run out first."""
    parts = list(parts)
    spans = spans_to(facts, start, end)
    found = [
        *_of_hosts(facts, parts, spans, end),
        *_of_limits(facts, parts, spans, end),
        *_of_sums(facts, parts, spans, end),
    ]
    found += _of_services(parts, found, start, end)
    return sorted(found, key=_first_out)


def spans_to(facts: Facts, start: date, end: date) -> list[Interval]:
    """Return the intervals in which the same hosts are there, up to a day."""
    horizon = Period(0, (end - start).days)
    return intervals(replace(facts, policy=replace(facts.policy, horizon=horizon)), start)


def host_capacity(facts: Facts, name: str, key: str, spans: list[Interval]) -> Capacity | None:
    """Return the room of a host over time; None where it has no limit or never stands."""
    room = facts.hosts[name].room(key)
    if room is None or not any(name in span.hosts for span in spans):
        return None
    return merged((span.start, room if name in span.hosts else 0) for span in spans)


def merged(amounts: Iterable[tuple[date, int]]) -> Capacity:
    """Return a capacity without the days on which nothing changes."""
    kept: list[tuple[date, int]] = []
    for day, amount in amounts:
        if not kept or kept[-1][1] != amount:
            kept.append((day, amount))
    return tuple(kept)


def _first_out(one: Outlook) -> tuple[date, date, date, str, str, str]:
    days = (one.out.earliest, one.out.likely, one.out.latest)
    first, likely, latest = (day or date.max for day in days)
    return likely, first, latest, one.scope, one.name, one.resource


def _of_hosts(
    facts: Facts, parts: list[Part], spans: list[Interval], end: date
) -> Iterator[Outlook]:
    here: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        if part.place.host:
            here.setdefault((part.place.host, part.resource), []).append(part)
    for (name, key), those in here.items():
        capacity = host_capacity(facts, name, key, spans)
        if capacity:
            load = Load.of((part.trend, part.room()) for part in those)
            hosts = [facts.hosts[name]]
            yield _outlook("host", name, key, those, load, capacity, spans, end, hosts)


def _of_limits(
    facts: Facts, parts: list[Part], spans: list[Interval], end: date
) -> Iterator[Outlook]:
    """What a site's hosts share, such as its bandwidth."""
    for site in facts.sites.values():
        for key, limit in site.limits.items():
            those = [p for p in parts if p.place.site == site.name and p.resource == key]
            load = Load.of((part.counted, part.amounts) for part in those)
            capacity = ((spans[0].start, limit),)
            if those:
                yield _outlook("site", site.name, key, those, load, capacity, spans, end)


def _of_sums(
    facts: Facts, parts: list[Part], spans: list[Interval], end: date
) -> Iterator[Outlook]:
    """All hosts of a site, and all hosts: what does not fit in their sum fits nowhere.

    Hosts on which none of the load may run, for their architecture, are no room for it.
    """
    architectures = _architectures(facts)
    for site in (*facts.sites, None):
        inside = [p for p in parts if site is None or p.place.site == site]
        hosts = [h for h in facts.hosts.values() if site is None or h.site == site]
        if len(hosts) < 2 and all(part.place.host for part in inside):
            continue  # that host says it
        if site and (len(hosts), len(inside)) == (len(facts.hosts), len(parts)):
            continue  # all hosts say it
        for key in sorted({part.resource for part in inside}):
            those = [part for part in inside if part.resource == key]
            may_run = [architectures.get(part.place[:2]) for part in those]
            fitting = [
                host
                for host in hosts
                if any(not one or host.architecture in one for one in may_run)
            ]
            rooms = {host.name: host.room(key) for host in fitting}
            if (site and key in facts.sites[site].limits) or None in rooms.values():
                continue
            capacity = merged(
                (span.start, sum(rooms.get(name) or 0 for name in span.hosts)) for span in spans
            )
            load = Load.of((part.counted, part.room()) for part in those)
            scope: Scope = "site" if site else "estate"
            name = site or "all hosts"
            yield _outlook(scope, name, key, those, load, capacity, spans, end, fitting)


def _architectures(facts: Facts) -> dict[tuple[str, str | None], frozenset[str]]:
    """Return, for each component and each service as a whole, where it may run; empty: anywhere."""
    found: dict[tuple[str, str | None], frozenset[str]] = {}
    for one in facts.instances.values():
        its = frozenset(one.requirement.architectures)
        if its and one.on:
            its |= {facts.hosts[one.on].architecture}
        for place in ((one.service, one.component), (one.service, None)):
            before = found.get(place, its)
            found[place] = before | its if before and its else frozenset()
    return found


def _of_services(
    parts: list[Part], found: list[Outlook], start: date, end: date
) -> Iterator[Outlook]:
    at = {(one.scope, one.name, one.resource): one for one in found}
    named: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        named.setdefault((part.place.service, part.resource), []).append(part)
    for (service, key), those in named.items():
        load = Load.of((part.counted, part.amounts) for part in those)
        ways = {("host", part.place.host, key) for part in those} | {
            ("site", part.place.site, key) for part in those
        }
        in_its_way = sorted((at[way] for way in ways if way in at), key=_first_out)
        days: dict[Level, date | None] = {
            level: min((d for one in in_its_way if (d := one.out.at(level))), default=None)
            for level in LEVELS
        }
        first = in_its_way[0] if in_its_way else None
        yield Outlook(
            "service",
            service,
            key,
            load,
            (),
            start,
            end,
            _bases(those),
            load.range(start),
            _requested(those, start),
            Window.of(days),
            first.reason if first else None,
            _doubles_on(load, start, end),
            first.missing if first else Range(0, 0, 0),
            f"{first.scope} {first.name}" if first else None,
        )


def _outlook(
    scope: Scope,
    name: str,
    key: str,
    parts: list[Part],
    load: Load,
    capacity: Capacity,
    spans: list[Interval],
    end: date,
    hosts: Iterable[Host] = (),
) -> Outlook:
    """Return the outlook of what these hosts have, or of a limit of its own where there is none."""
    start = spans[0].start
    out = Window.of({level: load.first_over(capacity, start, end, level) for level in LEVELS})
    missing = Range(*(load.short(capacity, start, end, level) for level in LEVELS))
    one = Outlook(
        scope,
        name,
        key,
        load,
        capacity,
        start,
        end,
        _bases(parts),
        load.range(start),
        _requested(parts, start),
        out,
        None,
        _doubles_on(load, start, end),
        missing,
    )
    return replace(one, reason=_reason(one, spans, {host.pledge for host in hosts}))


def _bases(parts: list[Part]) -> tuple[Basis, ...]:
    return tuple(sorted({part.basis for part in parts}))


def _requested(parts: list[Part], day: date) -> Range:
    return Load.of((part.trend, part.requested) for part in parts).range(day)


def _doubles_on(load: Load, start: date, end: date) -> date | None:
    now = load.whole(start, "likely")
    return (
        load.first_over(((start, 2 * now - 1),), start, end, "likely", whole=True) if now else None
    )


def _reason(one: Outlook, spans: list[Interval], lent: Set[str | None]) -> Reason | None:
    """Return why it runs out; `lent` are the pledges by which its hosts are there."""
    levels: tuple[Level, ...] = ("likely", "high")
    level = next((level for level in levels if one.out.at(level)), None)
    day = one.out.at(level) if level else None
    if level is None or day is None:
        return None
    kind = resource(one.resource)
    shown = kind.estimate if one.load.grows() else kind.format
    before, has = (int(there_is(one.capacity, d)) for d in (day - timedelta(days=1), day))
    need = one.load.whole(day, level)
    what = f"{one.resource} of {one.name if one.scope == 'estate' else f'{one.scope} {one.name}'}"
    passes = f"{what} would be {shown(need, one.most)}, and there are {kind.format(has)}"
    more = f"{shown(one.missing.at(level), one.most)} more would last to {one.end}"
    twice = tuple((since, 2 * amount) for since, amount in one.capacity)
    again = one.load.first_over(twice, one.start, one.end, level)
    if again and again > day and has:
        more = f"as much again would last to {again - timedelta(days=1)}, {more}"
    if day == one.start:
        return Reason("full-already", passes, more)
    if has < before and need <= before:
        ends = sorted({p for span in spans if span.end == day for p in span.ending if p in lent})
        gone, prolong = _ending(ends)
        return Reason("capacity-goes", f"{passes}: {gone} on {day}", f"{prolong}, or {more}")
    events = sorted({s.event for trend, _ in one.load.parts for s in trend.steps if s.on == day})
    if events:
        return Reason("event", f"{passes}: {', '.join(events)} on {day}", more)
    return Reason("grows-out", passes, more)


def _ending(pledges: Sequence[str]) -> tuple[str, str]:
    """Return in words that these pledges end, and what would lift it."""
    if not pledges:
        return "a host leaves", "prolong it"
    if len(pledges) == 1:
        return f"pledge {pledges[0]} ends", "prolong it"
    told = all_of(pledges) if len(pledges) <= FEW else first_of(pledges, FEW)
    return f"pledges {told} end", "prolong them"
