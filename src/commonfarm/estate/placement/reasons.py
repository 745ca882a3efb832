"""Why an instance has no host, in words, with what would lift it.

Every host is looked at: which rules keep the instance off it, where all else is as planned. A set
of rules is a reason if some host would take the instance without just these, and none would with
fewer of them left out. This is deletion filtering (Chinneck and Dravnieks 1991) by the planner's
own rules; the solver is not asked, as its cores cannot be trusted.

First comes what takes no place from another: a host that is taken is not near.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from commonfarm.estate import timeline
from commonfarm.estate.facts import Facts, Host, Instance, Level, Requirement
from commonfarm.estate.placement.ledger import Crowded, Ledger, Short, Taken
from commonfarm.estate.placement.pose import Rule, broken
from commonfarm.estate.placement.problem import Item, Problem, takes
from commonfarm.estate.placement.words import (
    a_host,
    all_of,
    amount_of,
    any_of,
    networks,
    trait,
)
from commonfarm.estate.plan import Unplaced
from commonfarm.estate.showing import first_of
from commonfarm.lib.errors import Reason

MOST_REASONS = 5
"""So many are told of one instance, the nearest to being lifted first."""


class Why(StrEnum):
    """What keeps an instance off a host; in the order in which it is the easier to lift."""

    NO_ROOM = "no-room"
    TAKEN = "hosts-taken"
    ADDRESSES = "addresses-used-up"
    SHARED = "site-used-up"
    DEDICATED = "dedicated"
    SPREAD = "spread"
    NOT_THERE = "host-not-there"
    TRAITS = "traits"
    FORBIDDEN = "forbidden-traits"
    SITE = "site"
    NETWORK = "no-network"
    TOO_LARGE = "too-large"
    ARCHITECTURE = "architecture"
    NO_HOST = "no-host"


_ORDER = list(Why)
_ANOTHER_HOST = {Why.SITE, Why.TOO_LARGE, Why.ARCHITECTURE}
"""Where one of these keeps an instance off, only another host will do."""
_NOT_OF_HOST = {Why.ADDRESSES, Why.SHARED, Why.SPREAD}
"""Where one of these does, another host does not help by itself."""
_SHORT = {"host": Why.NO_ROOM, "site": Why.SHARED, "network": Why.ADDRESSES}


def unplaced(
    facts: Facts, problem: Problem, on: Mapping[str, str], level: Level, day: date
) -> tuple[Unplaced, ...]:
    """Return each instance that a placement leaves out, and why; `day` is when it is asked for."""
    left = [item for item in problem.items if item.name not in on]
    if not left:
        return ()
    ledger = Ledger(problem)
    for item in problem.items:
        if item.name in on:
            ledger.put(item, on[item.name])
    known: dict[tuple[int, tuple[int, ...]], tuple[Reason, ...]] = {}
    for item in left:
        key = (id(item.kind), tuple(one.number for one in ledger.rules.get(item.name, ())))
        if key not in known:
            known[key] = _Case(facts, ledger, item, level, day).reasons()
    return tuple(
        Unplaced(
            item.name,
            known[id(item.kind), tuple(one.number for one in ledger.rules.get(item.name, ()))],
        )
        for item in left
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What keeps an instance off one host. `missing`: the largest share of a need that lacks."""

    host: Host
    why: frozenset[Why]
    shorts: tuple[Short, ...] = ()
    crowded: tuple[Crowded, ...] = ()
    taken: tuple[Taken, ...] = ()

    lacking: tuple[tuple[str, ...], ...] = ()

    @property
    def missing(self) -> tuple[float, int]:
        shares = ((one.needed - one.left) / one.needed for one in self.shorts)
        return max(shares, default=0.0), len(self.lacking)

    @property
    def distance(self) -> tuple[bool, int, list[int], bool, tuple[float, int]]:
        """Return how far it is from taking the instance, the less the nearer."""
        why = self.why - {Why.NO_ROOM, Why.DEDICATED} if self.full else self.why
        return not why, len(why), _ranks(why), self.full, self.missing

    @property
    def full(self) -> bool:
        """Say whether others have it: one is alone there, or half of a need is not free."""
        free = (2 * one.left >= one.needed for one in _of(Why.NO_ROOM, self))
        return Why.DEDICATED in self.why or (Why.NO_ROOM in self.why and not all(free))


@dataclass(frozen=True, slots=True)
class _Case:
    """One instance that has no host."""

    facts: Facts
    ledger: Ledger
    item: Item
    level: Level
    day: date

    @property
    def instance(self) -> Instance:
        return self.facts.instances[self.item.name]

    @property
    def need(self) -> Requirement:
        return self.instance.requirement

    def reasons(self) -> tuple[Reason, ...]:
        looks = [self.look(host) for host in self.facts.hosts.values()]
        sets = {look.why for look in looks}
        least = [one for one in sets if not any(other < one for other in sets)]
        nearest = [
            sorted((look for look in looks if look.why == one), key=self._nearness) for one in least
        ]
        nearest.sort(key=lambda found: found[0].distance)
        found = tuple(self.reason(one) for one in nearest)
        first = self.taken(nearest[0][0], looks) if nearest else None
        if first:
            found = (first, *(one for one in found if one.lifted_by != first.lifted_by))
        found = found[:MOST_REASONS]
        if not self.facts.hosts or all(Why.NOT_THERE in one for one in sets):
            what = f"no host stands on {self.day}"
            found = (Reason(Why.NO_HOST, what, self._any_host()), *found)
        return found

    def _nearness(self, look: _Look) -> tuple[tuple[float, int], int]:
        """Order hosts that share a reason: the least missing, then the least time away."""
        gone, comes = self._days(look.host) if Why.NOT_THERE in look.why else (None, None)
        day = gone or comes
        return look.missing, abs((day - self.day).days) if day else 0

    def _any_host(self) -> str:
        """Return what would be there, were it not for its time: no host stands on the day."""
        days = [self._days(host) for host in self.facts.hosts.values() if host.status != "needed"]
        longer = ", or a pledge that lasts longer" if any(gone for gone, _ in days) else ""
        sooner = ", or one that comes sooner" if any(comes for _, comes in days) else ""
        return f"a host{longer}{sooner}"

    def look(self, host: Host) -> _Look:
        site = self.facts.sites.get(host.site or "")
        why = {_of_rule(rule) for rule in broken(self.need, host, site)}
        lacking = tuple(one for one in self.need.required if host.traits.isdisjoint(one))
        if host.name not in self.ledger.problem.hosts:
            amounts = takes(self.need.at(self.level), {}, host).items()
            rooms = [(limit, host.room(limit[2]), n) for limit, n in amounts if limit[0] == "host"]
            shorts = [Short(limit, room, n) for limit, room, n in rooms if room is not None]
            shorts = [one for one in shorts if one.left < one.needed]
            why |= {Why.NOT_THERE} | ({Why.TOO_LARGE} if shorts else set())
            return _Look(host, frozenset(why), tuple(shorts), lacking=lacking)
        shorts, crowded, taken = [], [], []
        for obstacle in self.ledger.obstacles(self.item, host.name):
            match obstacle:
                case Short(limit, _, needed):
                    large = limit[0] == "host" and self.ledger.problem.limits[limit] < needed
                    why.add(Why.TOO_LARGE if large else _SHORT[limit[0]])
                    shorts.append(obstacle)
                case Crowded():
                    why.add(Why.SPREAD)
                    crowded.append(obstacle)
                case Taken():
                    why.add(Why.DEDICATED)
                    taken.append(obstacle)
        if why & _ANOTHER_HOST:
            # No room made here would help.
            why -= {Why.NO_ROOM, Why.DEDICATED}
        elif Why.DEDICATED in why:
            # Were it free, it would be empty.
            why -= {Why.NO_ROOM}
            shorts = [one for one in shorts if one.limit[0] != "host"]
        return _Look(host, frozenset(why), tuple(shorts), tuple(crowded), tuple(taken), lacking)

    def taken(self, nearest: _Look, looks: Iterable[_Look]) -> Reason | None:
        """Return the reason that all hosts that could take it are taken, if nothing is nearer."""
        ours = [look for look in looks if look.host.name in self.item.kind.hosts]
        if not (nearest.full or nearest.why & _ANOTHER_HOST) or not ours:
            return None
        if not all(look.full for look in ours):
            return None
        names = [look.host.name for look in ours]
        own = "needs a host of its own; " if self.need.dedicated else ""
        how = "taken" if any(Why.DEDICATED in look.why for look in ours) else "too full"
        if len(names) == 1:
            what = f"the only host that could take it, {names[0]}, is {how}"
        else:
            what = f"all {len(names)} hosts that could take it are {how}: {first_of(names)}"
        return Reason(Why.TAKEN, own + what, a_host(self.need, self.level))

    def reason(self, looks: Sequence[_Look]) -> Reason:
        """Return the reason that these hosts share, the nearest first."""
        look = looks[0]
        whys = sorted(look.why, key=_ORDER.index)
        needs = [one for why in whys for one in self._needs(why, look)]
        found = all_of(one for why in whys for one in self._found(why, look))
        text = f"nearest: host {look.host.name} {found}"
        if look.why == {Why.NOT_THERE}:
            text = f"host {look.host.name} would take it and {found}"
        if needs:
            text = f"needs {all_of(needs)}; {text}"
        if look.why <= {Why.TRAITS, Why.FORBIDDEN, Why.ARCHITECTURE, Why.SITE, Why.NETWORK}:
            others = [one.host.name for one in looks[1:]]
            text += f" and has all else{f', as {first_of(others)}' if others else ''}"
        return Reason(whys[0], text, self._lifted(whys, look))

    def _needs(self, why: Why, look: _Look) -> Iterator[str]:
        need = self.need
        match why:
            case Why.NO_ROOM | Why.TOO_LARGE | Why.SHARED | Why.ADDRESSES:
                yield from (_amount(one, one.needed) for one in _of(why, look))
            case Why.DEDICATED if need.dedicated:
                yield "a host of its own"
            case Why.SPREAD:
                for one in look.crowded:
                    least = "" if one.full else f"at least {one.spread.at_least} "
                    over = self.facts.spreads[one.spread.number].over
                    yield f"to be spread over {least}{over}s"
            case Why.TRAITS:
                yield from (any_of(map(trait, one)) for one in look.lacking)
            case Why.FORBIDDEN:
                yield f"a host without {any_of(map(trait, need.forbidden))}"
            case Why.SITE:
                yield f"site {any_of(need.sites)}"
            case Why.NETWORK:
                yield networks(need)
            case Why.ARCHITECTURE:
                yield f"architecture {any_of(need.architectures)}"

    def _found(self, why: Why, look: _Look) -> Iterator[str]:
        host, shorts = look.host, _of(why, look)
        match why:
            case Why.NO_ROOM:
                yield f"has {all_of(_amount(one, one.left) for one in shorts)} free"
            case Why.TOO_LARGE:
                rooms = {one: host.room(one.limit[2]) or 0 for one in shorts}
                yield f"has {all_of(_amount(one, room) for one, room in rooms.items())} in all"
            case Why.SHARED | Why.ADDRESSES:
                for one in shorts:
                    scope, name, _ = one.limit
                    yield f"shares {scope} {name}, which has {_amount(one, one.left)} left"
            case Why.DEDICATED:
                guests = first_of(look.taken[0].by)
                yield f"has {guests}" if self.need.dedicated else f"is for {guests} alone"
            case Why.SPREAD:
                yield from (self._crowd(one) for one in look.crowded)
            case Why.NOT_THERE:
                yield self._time(host)
            case Why.TRAITS:
                yield f"lacks {all_of(any_of(map(trait, one)) for one in look.lacking)}"
            case Why.FORBIDDEN:
                there = host.traits.intersection(self.need.forbidden)
                yield f"has {all_of(map(trait, sorted(there)))}"
            case Why.SITE:
                yield f"is at {host.site or 'no site'}"
            case Why.NETWORK:
                yield f"is at {host.site or 'no site'}, which has no such network"
            case Why.ARCHITECTURE:
                yield f"is {host.architecture}"

    def _lifted(self, whys: Sequence[Why], look: _Look) -> str:
        another = not _ANOTHER_HOST.isdisjoint(whys) or (look.full and len(whys) > 1)
        if not another:
            return all_of(one for why in whys for one in self._remedy(why, look))
        rest = (one for why in whys for one in self._remedy(why, look) if why in _NOT_OF_HOST)
        return all_of((a_host(self.need, self.level), *rest))

    def _remedy(self, why: Why, look: _Look) -> Iterator[str]:
        host, shorts = look.host, _of(why, look)
        more = [_amount(one, one.needed - one.left) for one in shorts]
        match why:
            case Why.NO_ROOM:
                guest = self._in_the_way(look)
                without = f", or {guest} elsewhere" if guest else ""
                yield f"{all_of(more)} more on {host.name}{without}"
            case Why.SHARED | Why.ADDRESSES:
                where = shorts[0].limit
                yield f"{all_of(more)} more in {where[0]} {where[1]}"
            case Why.DEDICATED:
                guests = look.taken[0].by
                may_go = all(self._may_go(self.ledger.items[one], host.name) for one in guests)
                yield f"{first_of(guests)} elsewhere" if may_go else a_host(self.need, self.level)
            case Why.SPREAD:
                rule = self.facts.spreads[look.crowded[0].spread.number]
                yield f"room in another {rule.over}, or `should` for `must` at {rule.where}"
            case Why.NOT_THERE:
                yield self._sooner_or_longer(host)
            case Why.TRAITS:
                traits = all_of(any_of(map(trait, one)) for one in look.lacking)
                yield f"{traits} on {host.name} or another host"
            case Why.FORBIDDEN:
                yield f"a host without {any_of(map(trait, self.need.forbidden))}"
            case Why.NETWORK:
                yield f"{networks(self.need)} at {host.site or 'its site'}"

    def _crowd(self, crowded: Crowded) -> str:
        rule = self.facts.spreads[crowded.spread.number]
        where = "" if rule.over == "host" else f"is in {rule.over} {crowded.domain}, which "
        most = f" and at most {rule.at_most} may be in one" if crowded.full else ""
        return f"{where}has {first_of(crowded.inside)}{most} ({rule.where})"

    def _time(self, host: Host) -> str:
        if host.status == "needed":
            return "is not there: it is only needed"
        gone, comes = self._days(host)
        return f"is there until {gone} only (pledge {host.pledge})" if gone else f"comes on {comes}"

    def _sooner_or_longer(self, host: Host) -> str:
        gone, comes = self._days(host)
        if host.status == "needed" or not (gone or comes):
            return f"host {host.name}"
        return f"pledge {host.pledge} beyond {gone}" if gone else f"{host.name} before {comes}"

    def _days(self, host: Host) -> tuple[date | None, date | None]:
        """Return the day on which a host went, or else the day on which it comes."""
        leaves = timeline.leaves_on(self.facts, host)
        if leaves and leaves <= self.day:
            return leaves, None
        pledge = self.facts.pledges[host.pledge] if host.pledge else None
        starts = (host.available_from, pledge.start if pledge else None)
        return None, max(filter(None, starts), default=None)

    def _in_the_way(self, look: _Look) -> str | None:
        """Return the least of those on a host without whom there would be room."""
        guests = self.ledger.guests[look.host.name].values()
        enough = [
            guest
            for guest in guests
            for freed in (dict(self.ledger.takes(guest.kind, look.host.name)),)
            if all(one.left + freed.get(one.limit, 0) >= one.needed for one in look.shorts)
            and self._may_go(guest, look.host.name)
        ]
        least = min(enough, key=lambda one: (one.priority, one.name), default=None)
        return least.name if least else None

    def _may_go(self, guest: Item, here: str) -> bool:
        """Say whether a guest weighs less, or has another host with room."""
        if guest.priority < self.item.priority:
            return True
        return any(self.ledger.fits(guest, host) for host in guest.kind.hosts if host != here)


def _of_rule(rule: Rule) -> Why:
    return {
        Rule.ARCHITECTURE: Why.ARCHITECTURE,
        Rule.REQUIRED: Why.TRAITS,
        Rule.FORBIDDEN: Why.FORBIDDEN,
        Rule.SITE: Why.SITE,
        Rule.NETWORK: Why.NETWORK,
    }[rule]


def _of(why: Why, look: _Look) -> list[Short]:
    scopes = {Why.SHARED: "site", Why.ADDRESSES: "network"}
    found = (one for one in look.shorts if one.limit[0] == scopes.get(why, "host"))
    return sorted(found, key=lambda one: one.limit)


def _ranks(whys: Iterable[Why]) -> list[int]:
    return sorted((_ORDER.index(why) for why in whys), reverse=True)


def _amount(short: Short, amount: int) -> str:
    scope, _, key = short.limit
    if scope == "network":
        return f"{amount} address{'' if amount == 1 else 'es'}"
    return amount_of(key, amount)
