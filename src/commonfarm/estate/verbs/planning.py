"""`commonfarm estate plan`: what goes where, what does not fit and why, and what ends next."""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.showing import in_a_row
from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day
from commonfarm.lib.errors import ExitCode
from commonfarm.lib.terminal import harmless

if TYPE_CHECKING:
    from commonfarm.estate.facts import Facts
    from commonfarm.estate.plan import Placed, Plan, PlannedInterval
    from commonfarm.lib.errors import Reason

OUT = typer.Option(None, "--out", metavar="FILE", help="Write the plan there, as JSON.")
SHORT = 8


def plan(
    directory: Path = DIRECTORY,
    at: datetime | None = AT,
    out: Path | None = OUT,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what goes where, what does not fit and why; exit 1 if something does not fit."""
    from commonfarm.estate import planner
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs.assumed import rests_on

    today = day(at)
    facts = read_facts(directory, today)
    with _progress(quiet=as_json) as progress:
        made = planner.plan(facts, today, progress=progress)
    if out is not None:
        _write(out, made.to_json())
    if as_json:
        typer.echo(made.to_json(), nl=False)
    else:
        for line in (*_told(facts, made, full), *rests_on(facts.assumptions)):
            typer.echo(_wrapped(line) if sys.stdout.isatty() else line)
        if out is not None:
            typer.echo(f"written to {out}; check it with: commonfarm estate verify {out} DIR")
    if made.intervals[0].levels["likely"].unplaced:
        raise typer.Exit(ExitCode.NO)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _wrapped(line: str) -> str:
    """Return a line as a terminal of this width shows it, words whole."""
    inside = " " * (len(line) - len(line.lstrip()) + 4)
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=inside, break_on_hyphens=False)


def _write(out: Path, text: str) -> None:
    from commonfarm.lib.errors import BadInputError, Problem

    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise BadInputError(Problem(str(out), 0, 0, what, "name another file")) from None


def _told(facts: Facts, made: Plan, full: bool) -> Iterator[str]:
    first = made.intervals[0]
    placed = first.levels["likely"]
    if not placed.on and not placed.unplaced:
        yield "no service says what it needs, so there is nothing to place"
        yield ""
        return
    until = f" until {first.end}" if first.end else ""
    yield f"{_share(placed)} are placed from {made.at}{until}"
    yield f"  {_best(placed)}"
    yield from _other_levels(first)
    yield ""
    yield from _unplaced(first, full)
    yield from _moves(placed, full)
    yield from _wishes(facts, placed, full)
    if full:
        yield from _placements(made)
    for before, interval in itertools.pairwise(made.intervals if full else made.intervals[:2]):
        yield from _change(facts, before, interval, full)
    later = len(made.intervals) - 2
    if later > 0 and not full:
        yield f"{_count(later, 'later change')}: see --full"
        yield ""


def _share(placed: Placed) -> str:
    every = len(placed.on) + len(placed.unplaced)
    return f"{len(placed.on)} of {_count(every, 'instance')}" if placed.unplaced else f"all {every}"


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
    for level in ("high", "low"):
        one = first.levels[level]
        if {*one.on, *_names(one)} != {*likely.on, *_names(likely)} or _names(one) != _names(
            likely
        ):
            yield f"  at {level} {_share(one)} are placed"


def _names(placed: Placed) -> list[str]:
    return [one.instance for one in placed.unplaced]


def _unplaced(interval: PlannedInterval, full: bool) -> Iterator[str]:
    """Instances that share all reasons are told together."""
    found = interval.levels["likely"].unplaced
    if not found:
        return
    at_low = interval.levels["low"].on
    together: dict[tuple[tuple[Reason, ...], bool], list[str]] = {}
    for one in found:
        reasons = one.reasons if full else one.reasons[:1]
        together.setdefault((reasons, one.instance in at_low), []).append(one.instance)
    yield "not placed:"
    shown = list(together.items())[: None if full else SHORT]
    for (reasons, low), names in shown:
        yield f"  {_some(in_a_row(names), full)}{': fits at low only' if low else ''}"
        for reason in reasons:
            yield f"    {harmless(reason.text)}"
            yield f"      lifted by: {harmless(reason.lifted_by)}"
    left = len(found) - sum(len(names) for _, names in shown)
    if left:
        yield f"  and {left} more: see --full"
    elif not full and any(len(one.reasons) > 1 for one in found):
        yield "  other reasons: see --full"
    yield ""


def _moves(placed: Placed, full: bool) -> Iterator[str]:
    if not placed.moved:
        return
    word = "by the solver's word" if placed.fewest_moves == "proven" else "that were found"
    yield f"{_count(len(placed.moved), 'move')}, the fewest {word}:"
    moves = [f"{name}: {was} -> {placed.on[name]}" for name, was in placed.moved.items()]
    yield from _list(moves, full)
    yield ""


def _wishes(facts: Facts, placed: Placed, full: bool) -> Iterator[str]:
    rules = [facts.spreads[number] for number in placed.broken_spreads]
    broken = [
        f"spread over {rule.over} ({rule.where}): {_some(in_a_row(rule.instances), full)}"
        for rule in rules
    ]
    missing = [
        f"{name} on {placed.on[name]}: without {', '.join(traits)}"
        for name, traits in placed.missing_traits.items()
    ]
    if broken or missing:
        yield "wishes that are not kept:"
        yield from _list([*broken, *missing], full)
        yield ""


def _placements(made: Plan) -> Iterator[str]:
    """Say who is on which host, by host, until when, and whether it fits there at high too."""
    levels = made.intervals[0].levels
    yield "where each is placed, and is safe until:"
    for name, host in sorted(levels["likely"].on.items(), key=lambda pair: (pair[1], pair[0])):
        safe = made.safe_until[name]
        high = "" if name in levels["high"].on else ", not at high"
        yield f"  {host}: {name}, {safe or 'no end is known'}{high}"
    yield ""


def _change(
    facts: Facts, before: PlannedInterval, interval: PlannedInterval, full: bool
) -> Iterator[str]:
    """Say what a day brings, against the days before it."""
    was, placed = before.levels["likely"], interval.levels["likely"]
    lost = [one for one in facts.pledges if one in before.ending]
    what = [f"pledge {name} of {facts.pledges[name].sponsor} ends" for name in lost]
    if before.starting:
        what.append(
            f"{_some(before.starting, full)} {'is' if len(before.starting) == 1 else 'are'} there"
        )
    yield f"on {interval.start} {' and '.join(what) or 'hosts come or go'}:"
    kept = {*_names(was)}
    gone = [name for name in _names(placed) if name not in kept]
    came = [name for name in placed.on if name in kept]
    if gone:
        some = _some(in_a_row(gone), full)
        yield f"  {_count(len(gone), 'instance')} then without a host: {some}"
    if came:
        yield f"  {_count(len(came), 'instance')} placed then: {_some(in_a_row(came), full)}"
    moves = [f"{name} ({host} -> {placed.on[name]})" for name, host in placed.moved.items()]
    if moves:
        yield f"  {_count(len(moves), 'move')}: {_some(moves, full)}"
    if not (gone or came or moves):
        yield "  nothing moves"
    if full:
        yield from (f"  {line}" if line else "" for line in _unplaced(interval, full))
    else:
        yield ""


def _list(lines: Sequence[str], full: bool) -> Iterator[str]:
    yield from (f"  {line}" for line in (lines if full else lines[:SHORT]))
    if len(lines) > SHORT and not full:
        yield f"  and {len(lines) - SHORT} more: see --full"


def _some(names: Sequence[str], full: bool, most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most and not full else ""
    return ", ".join(names if full else names[:most]) + more


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}"
