"""Which split of a service comes next, and when.

After a rung its component's load has left the host, and the next is computed on what remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from commonfarm.estate.answers.outlooks import host_capacity, spans_to
from commonfarm.estate.answers.trends import Capacity, Load, Window
from commonfarm.estate.answers.uses import Part, hosts_of
from commonfarm.estate.facts import LEVELS, Facts, Level, Range, Rung
from commonfarm.estate.timeline import Interval, leaves_on
from commonfarm.lib.errors import Reason

Code = Literal["runs-nowhere", "nothing-known", "host-leaves", "waits", "not-yet"]
"""Why a rung has no date: its component has no host; use or room there is not said; its host leaves
before; a rung before it has no date; it comes behind the horizon."""


@dataclass(frozen=True, slots=True)
class RungAhead:
    """A rung, the host whose use triggers it, and when it is due.

    `site` is the host's, where not the host is what limits the use but its site, for all of its
    hosts. `takes` is what the component takes of each resource class on the likely day, at the end
    where there is none. `rests_on` says what nobody knows and the dates rest on. `reason` says why
    there is no date, where there is none.
    """

    rung: Rung
    host: str | None
    site: str | None
    due: Window
    takes: Mapping[str, Range]
    rests_on: tuple[str, ...]
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    host: str
    site: str | None
    load: Load
    limit: Capacity
    last: date
    due: Window
    rests_on: tuple[str, ...]


def rungs_ahead(facts: Facts, parts: Iterable[Part], start: date, end: date) -> list[RungAhead]:
    """Return the rungs of all services' ladders, each ladder in its order, up to `end`."""
    parts = list(parts)
    spans = spans_to(facts, start, end)
    found: list[RungAhead] = []
    for service in facts.services.values():
        since: dict[Level, date | None] = dict.fromkeys(LEVELS, start)
        gone: set[str | None] = set()
        for rung in service.ladder:
            ahead = _ahead(facts, parts, rung, gone, since, spans, end)
            found.append(ahead)
            since = {level: ahead.due.at(level) for level in LEVELS}
            gone.add(rung.component)
    return found


def _ahead(
    facts: Facts,
    parts: list[Part],
    rung: Rung,
    gone: set[str | None],
    since: Mapping[Level, date | None],
    spans: list[Interval],
    end: date,
) -> RungAhead:
    mine = [p for p in parts if p.place[:2] == (rung.service, rung.component)]
    hosts = hosts_of(facts, rung.service, rung.component)
    candidates = [
        found
        for name in hosts
        if (found := _candidate(facts, parts, rung, name, gone, since, spans, end))
    ]
    # On several hosts the one that is full first decides.
    best = min(candidates, default=None, key=lambda one: (_likely_first(one.due), one.host))
    if best is None:
        host = hosts[0] if hosts else None
        return RungAhead(rung, host, None, NEVER, {}, (), _unknown(rung, hosts))
    loads: dict[str, list[Part]] = {}
    for part in mine:
        loads.setdefault(part.resource, []).append(part)
    takes = {
        key: Load.of((part.counted, part.amounts) for part in those).range(best.due.likely or end)
        for key, those in loads.items()
    }
    reason = None if best.due.earliest else _no_date(rung, best, since, end)
    return RungAhead(rung, best.host, best.site, best.due, takes, best.rests_on, reason)


NEVER = Window(None, None, None)


def _candidate(
    facts: Facts,
    parts: list[Part],
    rung: Rung,
    name: str,
    gone: set[str | None],
    since: Mapping[Level, date | None],
    spans: list[Interval],
    end: date,
) -> _Candidate | None:
    """Return when a host's use passes the rung's share; None where use or room is not known.

    What a host does not limit, its site may, for all of its hosts.
    """
    site = facts.hosts[name].site
    limit = host_capacity(facts, name, rung.resource, spans)
    if limit is not None or not site or rung.resource not in facts.sites[site].limits:
        site = None
        here = [p for p in parts if p.resource == rung.resource and p.place.host == name]
    else:
        limit = ((spans[0].start, facts.sites[site].limits[rung.resource]),)
        here = [p for p in parts if p.resource == rung.resource and p.place.site == site]
    left = [p for p in here if p.place.service != rung.service or p.place.component not in gone]
    if not limit or not any(part.amounts["high"] for part in left):
        return None
    load = Load.of((p.counted, p.amounts) if site else (p.trend, p.room()) for p in left)
    share: Capacity = tuple((day, amount * rung.above) for day, amount in limit)
    leaves = leaves_on(facts, facts.hosts[name])
    last = min(end, leaves - timedelta(days=1)) if leaves else end
    due = Window.of(
        {
            level: load.first_over(share, day, last, level) if day and day <= last else None
            for level, day in since.items()
        }
    )
    mine = [part for part in here if part.place.service == rung.service and part.assumed]
    alike = len({part.trend for part in mine}) == 1
    # While all grows alike, what each takes matters only once one of them has left.
    unknown = [part for part in mine if not alike or part.place.component in gone]
    return _Candidate(
        name, site, load, share, last, due, tuple(part.assumed or "" for part in unknown)
    )


def _likely_first(due: Window) -> tuple[date, date, date]:
    return due.likely or date.max, due.earliest or date.max, due.latest or date.max


def _unknown(rung: Rung, hosts: list[str]) -> Reason:
    if not hosts:
        what = f"{rung.component} of {rung.service} runs on no host"
        return Reason("runs-nowhere", what, "say `on:` which host it runs")
    what = f"how much {rung.resource} is used of host {hosts[0]}, or how much it has, is not said"
    return Reason("nothing-known", what, "say what was `observed`, or what it `requires`")


def _no_date(rung: Rung, best: _Candidate, since: Mapping[Level, date | None], end: date) -> Reason:
    if since["high"] is None:
        return Reason("waits", "a rung before it has no date", "see that one")
    if best.last < end:
        what = f"host {best.host} leaves on {best.last + timedelta(days=1)}, before it is due"
        return Reason("host-leaves", what, "prolong its pledge, or move the service")
    where = f"site {best.site}" if best.site else f"host {best.host}"
    stays = "stay" if rung.resource.endswith("cores") else "stays"
    what = f"{rung.resource} of {where} {stays} within {float(rung.above):.0%} up to {end}"
    return Reason("not-yet", what, "look further ahead")
