"""The question which hosts to get, so that everything has a place: plain values.

Frozen. `elastic` answers it exactly; `packed` finds where to begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from commonfarm.estate.placement.problem import Limit, Problem


@dataclass(frozen=True, slots=True)
class Offered:
    """A kind of host that can be had: the hosts that would come, in the order in which they do.

    `cost` orders what is chosen; the caller has the number of hosts in it.
    """

    name: str
    cost: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What must be placed, on all hosts that can be had and are not lost, from `start` on.

    `problem` has what is shared (sites, networks) as wide as it could be needed, `limits` as it is.
    `own`: what hosts that can be had take themselves of that.
    """

    problem: Problem
    limits: Mapping[Limit, int]
    own: Mapping[Limit, tuple[str, ...]]
    start: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """Scenarios, the first without a loss; `begin`: how many of each kind the starts use.

    `least`: nothing that places all of the first costs less.
    """

    scenarios: tuple[Scenario, ...]
    offered: tuple[Offered, ...]
    begin: Mapping[str, int]
    least: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """How many of each kind, where everything then is in each scenario, and what is widened.

    `bound`: nothing that places as much costs less. `proven`: this is as good as can be.
    """

    counts: Mapping[str, int]
    on: tuple[Mapping[str, str], ...]
    widened: Mapping[Limit, int]
    bound: int
    proven: bool
