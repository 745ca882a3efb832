"""What goes where, when, and what does not fit: the plan of an estate.

For each interval between the days on which hosts come or go, and for each level of what is not
known exactly. Each interval starts from the one before, so that as little moves as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date

from commonfarm.estate import timeline
from commonfarm.estate.facts import LEVELS, Facts, Level
from commonfarm.estate.placement import reasons, search
from commonfarm.estate.placement.ledger import excess
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Effort, Problem
from commonfarm.estate.placement.process import Solver
from commonfarm.estate.plan import FORMAT, Certificate, Placed, Plan, PlannedInterval
from commonfarm.estate.verifier import violations
from commonfarm.lib.errors import Reason, RefusedError

PLANNER = "commonfarm 1"
ORDER: tuple[Level, ...] = ("likely", "low", "high")
"""The order of solving: what is likely is planned, the others tell how that would differ."""
Progress = Callable[[int, int], None]
"""Called with how many answers are there, of how many."""


def plan(
    facts: Facts,
    at: date,
    *,
    seed: int = 1,
    progress: Progress | None = None,
    limit: float = 9.0,
    solver: Solver | None = None,
) -> Plan:
    """Return the plan of an estate as of a day; it passed the verifier.

    The same facts, day and seed give the same plan. `limit` is the effort for all answers together,
    in deterministic time; `solver` one that is there already. Raise RefusedError if the solver was
    ended from outside.
    """
    days = timeline.intervals(facts, at)
    before: dict[Level, Mapping[str, str]] = dict.fromkeys(LEVELS, running(facts))
    planned: list[PlannedInterval] = []
    left = limit
    with nullcontext(solver) if solver else Solver() as solver:
        for done, interval in enumerate(days):
            asked = {level: pose(facts, interval.hosts, level, before[level]) for level in ORDER}
            # Where nothing is a range, the three levels are one question.
            first = {level: _first(level, asked, before) for level in ORDER}
            several = len(set(first.values()))
            answers: dict[Level, Placed] = {}
            for level, problem in asked.items():
                if first[level] == level:
                    # What one question leaves of the effort is for those to come.
                    open_here = several - sum(first[one] == one for one in answers)
                    share = left / (open_here + several * (len(days) - done - 1))
                    near = answers["likely"].on if answers else {}
                    answers[level], spent = place(
                        solver, facts, problem, level, before[level], Effort(seed, share),
                        interval.start, near,
                    )  # fmt: skip
                    left = max(0.0, left - spent)
                else:
                    answers[level] = answers[first[level]]
                if progress:
                    progress(len(ORDER) * done + len(answers), len(ORDER) * len(days))
            levels = {level: answers[level] for level in LEVELS}
            before = {level: one.on for level, one in levels.items()}
            planned.append(
                PlannedInterval(
                    interval.start, interval.end, interval.ending, interval.starting, levels
                )
            )
    safe = safe_until(facts, at, planned)
    made = Plan(FORMAT, facts.digest, at, PLANNER, seed, tuple(planned), safe)
    wrong = violations(facts, made)
    if wrong:
        what = "the plan breaks its own promises: " + "; ".join(map(str, wrong[:3]))
        raise RefusedError(Reason("planner-at-fault", what, "report it with the estate's files"))
    return made


def _first(
    level: Level, asked: Mapping[Level, Problem], before: Mapping[Level, Mapping[str, str]]
) -> Level:
    """Return the first level at which the same is asked from the same start."""
    return next(
        one
        for one in ORDER
        if one == level or (asked[one] == asked[level] and before[one] == before[level])
    )


def running(facts: Facts) -> dict[str, str]:
    """Return where instances run today."""
    return {name: one.on for name, one in facts.instances.items() if one.on}


def place(
    solver: Solver,
    facts: Facts,
    problem: Problem,
    level: Level,
    before: Mapping[str, str],
    effort: Effort,
    day: date,
    near: Mapping[str, str],
) -> tuple[Placed, float]:
    """Return the answer to one problem, and the effort it took.

    `before` is what ran where, `day` when it is asked for, `near` a placement to stay near to
    where others would be as good.
    """
    found = search.at_once(problem, near)
    bound, certificate = search.ideal(problem).weight, Certificate(1, ())
    if found is None:
        found, bound, certificate = solver.call(search.certified, problem, effort, near)
    on = found.on
    weight = sum(item.priority for item in problem.items if item.name in on)
    wanted = {name: facts.instances[name].requirement.preferred for name in on}
    missing = {
        name: tuple(sorted(set(traits) - facts.hosts[on[name]].traits))
        for name, traits in wanted.items()
    }
    placed = Placed(
        on=on,
        unplaced=reasons.unplaced(facts, problem, on, level, day),
        moved={name: before[name] for name, host in on.items() if before.get(name, host) != host},
        weight=weight,
        bound=bound,
        certificate=certificate,
        most_placed="proven" if found.most_placed or bound == weight else "best found",
        fewest_moves="proven" if found.fewest_moves else "best found",
        broken_spreads=tuple(
            sorted(one.number for one in problem.spreads if not one.must and excess(one, on))
        ),
        missing_traits={name: traits for name, traits in missing.items() if traits},
    )
    return placed, found.spent


def safe_until(
    facts: Facts, at: date, planned: Sequence[PlannedInterval]
) -> dict[str, date | None]:
    """Return until when what is placed at `likely` is assured where it is, and left there."""
    safe: dict[str, date | None] = {}
    for name, host in planned[0].levels["likely"].on.items():
        leaves = (one.start for one in planned if one.levels["likely"].on.get(name) != host)
        ends = (timeline.assured(facts, facts.hosts[host], at), next(leaves, None))
        safe[name] = min((day for day in ends if day), default=None)
    return safe
