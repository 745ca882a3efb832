"""A plan: what runs where, in each interval and for each level, what does not fit, and why.

Its JSON is the same byte for byte for the same input. The planner writes it; the verifier reads it
and believes nothing in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from commonfarm.estate.facts import Level
from commonfarm.lib.errors import BadInputError, Problem, Reason

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A limit that the certificate counts on, times `multiplier`.

    `scope` and `name` say which: of a host; of a site (what its hosts share); of a network
    (`site/network`; `resource` is `addresses`); of a spread (number of the rule and domain as
    `3 site-a`; `resource` is `instances`, for `at_most` alone). With `divisor` above 1 all amounts
    and the limit are divided by it and rounded down, which holds for whole instances
    (Chvátal-Gomory).
    """

    scope: Literal["host", "site", "network", "spread"]
    name: str
    resource: str
    divisor: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that no placement has more weight than `bound` (weak duality).

    With p(i, h) = the sum over rows of multiplier * amount that instance i takes of the row on
    host h, every placement weighs at most (sum over rows of multiplier * limit + sum over i of
    max(0, max over hosts h that i may run on of scale * priority(i) - p(i, h))) / scale, and since
    weights are whole, that rounded down. Of a host where it may run, a dedicated instance takes
    all there is. An instance may run where it would if no other ran anywhere. Only hosts that
    stand, and limits that limit, have rows; no row is there twice, and of one limit at most 8.
    """

    scale: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An instance without a host, and each reason why, the nearest to being lifted first."""

    instance: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer for one level in one interval.

    `on`: instance -> host. `weight`: priorities of what is placed, together. `bound`: no placement
    has more, by the certificate. `most_placed` and `fewest_moves` are the solver's word: proven
    optimal, or the best that was found. `moved`: what is placed on another host than before -> the
    host where it was before (today, or in the interval before). `broken_spreads` (their numbers)
    and `missing_traits` (preferred ones) are the wishes that are not kept: all of them.
    """

    on: Mapping[str, str]
    unplaced: tuple[Unplaced, ...]
    moved: Mapping[str, str]
    weight: int
    bound: int
    certificate: Certificate
    most_placed: Literal["proven", "best found"]
    fewest_moves: Literal["proven", "best found"]
    broken_spreads: tuple[int, ...]
    missing_traits: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PlannedInterval:
    """The days from `start` to before `end` (None: no end known), and what ends them."""

    start: date
    end: date | None
    ending: tuple[str, ...]
    starting: tuple[str, ...]
    levels: Mapping[Level, Placed]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of an estate (`digest` of its files) as of a day.

    `safe_until`: instance -> the day until which its host of the first interval is assured and the
    plan leaves it there (None: no end is known); at level `likely`, only for what is placed.
    """

    format: int
    digest: str
    at: date
    planner: str
    seed: int
    intervals: tuple[PlannedInterval, ...]
    safe_until: Mapping[str, date | None]

    def to_json(self) -> str:
        """Return the plan as JSON, keys sorted, so that equal plans are equal bytes."""
        return json.dumps(_ADAPTER.dump_python(self, mode="json"), sort_keys=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, file: str) -> Plan:
        """Read a plan; raise BadInputError that names `file` and what in it is no plan."""
        try:
            plan: Plan = _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            what = f"{place}: {first['msg']}" if place else first["msg"]
            to_do = "make it anew: commonfarm estate plan DIR --out FILE"
            raise BadInputError(Problem(file, 0, 0, f"is no plan: {what}", to_do)) from None
        if plan.format != FORMAT:
            what = f"is a plan of format {plan.format}, and this reads format {FORMAT}"
            raise BadInputError(Problem(file, 0, 0, what, "make it anew"))
        if _ADAPTER.dump_python(plan, mode="json") != json.loads(text):
            what, to_do = "is no plan: it holds what no plan has", "make it anew"
            raise BadInputError(Problem(file, 0, 0, what, to_do))
        return plan


_ADAPTER = TypeAdapter(Plan)
