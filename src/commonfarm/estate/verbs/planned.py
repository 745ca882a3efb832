"""A plan in words: short, or by host and with all reasons."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from commonfarm.estate import timeline
from commonfarm.estate.verbs.wording import count, counted, instances, placements, reasons_of, some

if TYPE_CHECKING:
    from commonfarm.estate.facts import Facts, Level
    from commonfarm.estate.plan import Placed, Plan, PlannedInterval
    from commonfarm.lib.errors import Reason

SHORT = 8
NAMES = 4
T = TypeVar("T")


def told(facts: Facts, made: Plan, full: bool) -> Iterator[str]:
    """Yield the lines that tell a plan: what is placed now, what is not, and what changes when."""
    first = made.intervals[0]
    placed = first.levels["likely"]
    if not placed.on and not placed.unplaced:
        yield "no service says what it needs, so there is nothing to place"
        yield ""
        return
    until = f" until {first.end}" if first.end else ""
    yield f"{_share(placed)} placed from {made.at}{until}"
    yield f"  {_best(placed)}"
    yield from _other_levels(first)
    yield from _ranges(facts, first, full)
    yield from _needed(facts, placed, full)
    yield ""
    yield from _unplaced(facts, first, _names(placed), full)
    yield from _moves(placed, full)
    yield from _wishes(facts, placed, full)
    if full:
        yield from _by_host(facts, made)
    for before, interval in itertools.pairwise(made.intervals if full else made.intervals[:2]):
        yield from _change(facts, before, interval, full)
    later = len(made.intervals) - 2
    if later > 0 and not full:
        yield f"{count(later, 'later change')}: see --full"
        yield ""


def _share(placed: Placed) -> str:
    here, every = len(placed.on), len(placed.on) + len(placed.unplaced)
    verb = "is" if 1 in (here, every) else "are"
    if placed.unplaced:
        return f"{here} of {count(every, 'instance')} {verb}"
    return f"all {every} are" if every > 1 else "the one instance is"


def _best(placed: Placed) -> str:
    """Say how good it is, and who says so."""
    if placed.bound == placed.weight:
        return "no plan places more: checked"
    gap = f"it weighs {placed.weight}; that none weighs more than {placed.bound} is checked"
    if placed.most_placed == "proven":
        return f"no plan places more: the solver's word; {gap}"
    return f"the best that was found: {gap}"


def _other_levels(first: PlannedInterval) -> Iterator[str]:
    likely = first.levels["likely"]
    levels: tuple[Level, ...] = ("high", "low")
    for level in levels:
        one = first.levels[level]
        if one.on.keys() != likely.on.keys() or _names(one) != _names(likely):
            yield f"  at {level} {_share(one)} placed"


def _ranges(facts: Facts, first: PlannedInterval, full: bool) -> Iterator[str]:
    """Say up to which level those fit whose needs are ranges."""
    likely = first.levels["likely"]
    found: dict[str, list[str]] = {
        "even at high": [],
        "at likely": [],
        "at low only": [],
        "not even at low": [],
    }
    for name in (*likely.on, *_names(likely)):
        if not _exact(facts, name):
            if name in likely.on:
                fits = "even at high" if name in first.levels["high"].on else "at likely"
            else:
                fits = "at low only" if name in first.levels["low"].on else "not even at low"
            found[fits].append(name)
    parts = [
        f"{len(names)} {_fits(len(names), how)}: {instances(names, full, 2)}"
        for how, names in found.items()
        if names
    ]
    if parts and full:
        yield "  with a range of needs:"
        yield from (f"    {part}" for part in parts)
    elif parts:
        yield f"  with a range of needs, {'; '.join(parts)}"


def _fits(many: int, how: str) -> str:
    if how.startswith("not "):
        return f"{'does' if many == 1 else 'do'} not fit {how.removeprefix('not ')}"
    return f"{'fits' if many == 1 else 'fit'} {how}"


def _exact(facts: Facts, name: str) -> bool:
    return all(amount.exact for amount in facts.instances[name].requirement.amounts.values())


def _needed(facts: Facts, placed: Placed, full: bool) -> Iterator[str]:
    """Say what of that which is not there yet has a place, and where."""
    status = {name: facts.instances[name].status for name in (*placed.on, *_names(placed))}
    names = [name for name, one in status.items() if one != "existing"]
    on = {name: placed.on[name] for name in names if name in placed.on}
    if not names or (not on and len(names) == len(status)):
        return
    word = " or ".join(sorted({status[name] for name in names}))
    if len(names) == 1:
        what = f"the one that is {word} has {'a' if on else 'no'} place"
    elif len(on) == len(names):
        what = f"all {len(on)} that are {word} have a place"
    else:
        has = "has" if len(on) == 1 else "have"
        what = f"{len(on)} of {len(names)} that are {word} {has} a place"
    if not on:
        yield f"  {what}"
    elif full:
        yield f"  {what}:"
        yield from (f"    {line}" for line in placements(on, full, SHORT))
    else:
        yield f"  {what}: {', '.join(placements(on, full, SHORT))}"


def _names(placed: Placed) -> list[str]:
    return [one.instance for one in placed.unplaced]


def _unplaced(
    facts: Facts, interval: PlannedInterval, names: Collection[str], full: bool
) -> Iterator[str]:
    """Tell why these have no place; those that share all reasons together."""
    found = [one for one in interval.levels["likely"].unplaced if one.instance in names]
    if not found:
        return
    together: dict[tuple[Reason, ...], list[str]] = {}
    for one in found:
        reasons = one.reasons if full else one.reasons[:1]
        together.setdefault(reasons, []).append(one.instance)
    yield "not placed:"
    most_first = sorted(together.items(), key=lambda one: -len(one[1]))
    shown = most_first[: None if full else SHORT]
    for reasons, those in shown:
        at_low = [name for name in those if name in interval.levels["low"].on]
        if at_low == those:
            low = ": fits at low only" if len(those) == 1 else ": fit at low only"
        else:
            ranges = not any(at_low or _exact(facts, name) for name in those)
            low = ": not even at low" if ranges else ""
        yield f"  {instances(those, full, NAMES)}{low}"
        if at_low and at_low != those:
            yield f"    at low {instances(at_low, full, NAMES)} would fit"
        yield from reasons_of(reasons)
    left = len(found) - sum(len(those) for _, those in shown)
    if left:
        yield f"  and {left} more: see --full"
    elif not full and any(len(one.reasons) > 1 for one in found):
        yield "  other reasons: see --full"
    yield ""


def _moves(placed: Placed, full: bool) -> Iterator[str]:
    if not placed.moved:
        return
    word = "by the solver's word" if placed.fewest_moves == "proven" else "that were found"
    yield f"{count(len(placed.moved), 'move')}, the fewest {word}:"
    yield from _list(
        [f"{name}: {was} -> {placed.on[name]}" for name, was in _natural(placed.moved.items())],
        full,
    )
    yield ""


def _wishes(facts: Facts, placed: Placed, full: bool) -> Iterator[str]:
    rules = [facts.spreads[number] for number in placed.broken_spreads]
    inside = [[name for name in rule.instances if name in placed.on] for rule in rules]
    broken = [
        f"spread over {rule.over} ({rule.where}): {instances(names, full, NAMES)}"
        for rule, names in zip(rules, inside, strict=True)
    ]
    missing = [
        f"{name} on {placed.on[name]}: without {', '.join(traits)}"
        for name, traits in _natural(placed.missing_traits.items())
    ]
    if broken or missing:
        yield "wishes that are not kept:"
        yield from _list([*broken, *missing], full)
        yield ""


def _by_host(facts: Facts, made: Plan) -> Iterator[str]:
    """Say who is on which host, until when, and whether at high too; and where nobody is."""
    levels = made.intervals[0].levels
    guests: dict[str, dict[str, list[str]]] = {
        name: {} for name, host in facts.hosts.items() if timeline.stands(facts, host, made.at)
    }
    for name, host in levels["likely"].on.items():
        safe = made.safe_until[name]
        till = f"until {safe}" if safe else "no known end"
        high = "" if name in levels["high"].on else ", not at high"
        guests[host].setdefault(till + high, []).append(name)
    yield "where each is placed, and until when it is safe there:"
    for host, there in _natural(guests.items()):
        for till, names in sorted(there.items()):
            yield f"  {host} ({till}): {instances(names, True, 0)}"
    empty = [host for host, there in _natural(guests.items()) if not there]
    if empty:
        yield f"  nothing on {count(len(empty), 'host')}: {some(empty, True, 0)}"
    yield ""


def _change(
    facts: Facts, before: PlannedInterval, interval: PlannedInterval, full: bool
) -> Iterator[str]:
    """Say what a day brings, against the days before it."""
    was, placed = before.levels["likely"], interval.levels["likely"]
    lost = [one for one in facts.pledges if one in before.ending]
    what = [f"pledge {name} of {facts.pledges[name].sponsor} ends" for name in lost]
    if before.starting:
        are = "is" if len(before.starting) == 1 else "are"
        what.append(f"{some(before.starting, full, NAMES)} {are} there")
    yield f"on {interval.start} {' and '.join(what) or 'hosts come or go'}:"
    without = {*_names(was)}
    gone = [name for name in _names(placed) if name not in without]
    came = [name for name in placed.on if name in without]
    if gone:
        left = len(placed.unplaced) - len(gone)
        as_before = f", and {left} as before" if left else ""
        names = instances(gone, full, NAMES)
        yield f"  {count(len(gone), 'instance')} then without a host: {names}{as_before}"
    if came:
        yield f"  {count(len(came), 'instance')} placed then: {instances(came, full, NAMES)}"
    moves = [
        f"{name} ({host} -> {placed.on[name]})" for name, host in _natural(placed.moved.items())
    ]
    if moves and full:
        yield f"  {count(len(moves), 'move')}:"
        yield from (f"    {line}" for line in moves)
    elif moves:
        yield f"  {count(len(moves), 'move')}: {some(moves, full, NAMES)}"
    if not (gone or came or moves):
        yield "  nothing moves"
    if full and gone:
        told = _unplaced(facts, interval, {*gone}, full)
        yield from (f"  {line}" if line else "" for line in told)
    else:
        yield ""


def _list(lines: Sequence[str], full: bool) -> Iterator[str]:
    yield from (f"  {line}" for line in (lines if full else lines[:SHORT]))
    if len(lines) > SHORT and not full:
        yield f"  and {len(lines) - SHORT} more: see --full"


def _natural(named: Iterable[tuple[str, T]]) -> list[tuple[str, T]]:
    """Return what has names in the order in which people count: a2 before a10."""
    return sorted(named, key=lambda one: counted(one[0]))
