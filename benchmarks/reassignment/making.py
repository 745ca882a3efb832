"""Instances made in the manner of the challenge's set A, for where its files are not at hand.

The sizes are those of the real ones. The amounts follow what a1_1 and a1_2 show: requirements and
machines of very different sizes, about half of the machines full to the brim at the start in every
resource and a few nearly idle, nine tenths of all capacity in use, and safety capacities at 70 to
95 % of capacity, so that whole resources are above safety. Their costs say nothing of the real
instances' costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .instance import Balance, Flags, Instance, Integers


@dataclass(frozen=True, slots=True)
class Kind:
    """The sizes of one instance of set A."""

    name: str
    resources: int
    transient: int
    machines: int
    processes: int
    services: int
    depends: int
    locations: int
    neighbourhoods: int
    balances: int
    idle: float  # share of the machines that are not full at the start


KINDS = (
    Kind("a1_1", 2, 0, 4, 100, 79, 0, 4, 1, 1, 0.6),
    Kind("a1_2", 4, 1, 100, 1000, 980, 40, 4, 2, 0, 0.1),
    Kind("a1_3", 3, 1, 100, 1000, 216, 342, 25, 5, 0, 0.15),
    Kind("a1_4", 3, 1, 50, 1000, 142, 297, 50, 50, 1, 0.4),
    Kind("a1_5", 4, 1, 12, 1000, 981, 32, 4, 2, 1, 0.1),
    Kind("a2_1", 3, 0, 100, 1000, 1000, 0, 1, 1, 0, 1.0),
    Kind("a2_2", 12, 4, 100, 1000, 170, 0, 25, 5, 0, 0.18),
    Kind("a2_3", 12, 4, 100, 1000, 129, 577, 25, 5, 0, 0.13),
    Kind("a2_4", 12, 0, 50, 1000, 180, 397, 25, 5, 1, 0.1),
    Kind("a2_5", 12, 0, 50, 1000, 153, 506, 25, 5, 0, 0.25),
)


def make(kind: Kind, seed: int) -> Instance:
    """Make an instance of a kind, whose initial assignment is feasible; the same for a seed."""
    dice = np.random.default_rng(seed)
    p, m, r = kind.processes, kind.machines, kind.resources
    service = _services(kind, dice)
    scale = np.exp(dice.normal(0, 0.2, r)) * 32_000
    # How large a process is shows in all its resources, and each has its own share of chance.
    amounts = scale * np.exp(dice.normal(0, 0.7, (p, 1)) + dice.normal(0, 1.1, (p, r)))
    requirement = amounts.astype(np.int64) + 100
    initial = _place(service, np.exp(dice.normal(0, 0.7, m)), dice)
    use = np.zeros((m, r), dtype=np.int64)
    np.add.at(use, initial, requirement)
    idle = dice.random(m) < kind.idle
    filled = np.where(idle[:, None], dice.uniform(0.3, 0.95, (m, 1)), 1.0)
    capacity = np.ceil(use / (filled * dice.uniform(0.98, 1.0, (m, r)))).astype(np.int64)
    capacity = np.where(use > 0, capacity, use.mean(axis=0).astype(np.int64) // 2)
    safety = (capacity * dice.uniform(0.7, 0.95, (m, r))).astype(np.int64)
    location = np.arange(m) % kind.locations
    neighbourhood = location % kind.neighbourhoods
    there = [set(location[initial[service == s]].tolist()) for s in range(kind.services)]
    spread = np.array([dice.integers(0, len(one), endpoint=True) for one in there])
    costs = dice.integers(1, 5, (m, m))
    np.fill_diagonal(costs, 0)
    return Instance(
        name=f"{kind.name}-like",
        transient=np.arange(r) >= r - kind.transient,
        load_weight=np.full(r, 10),
        neighbourhood=neighbourhood,
        location=location,
        capacity=capacity,
        safety=safety,
        machine_move=costs,
        spread=spread,
        depends=_depends(kind, service, neighbourhood[initial], dice),
        service=service,
        requirement=requirement,
        process_move=dice.integers(1, 10, p, endpoint=True),
        balances=tuple(Balance(b, b + 1, 2, 10) for b in range(kind.balances)),
        process_weight=1,
        service_weight=10,
        machine_weight=100,
        initial=initial,
    )


def _services(kind: Kind, dice: np.random.Generator) -> Integers:
    """Return each process's service: each has one, the others gather in few."""
    weights = np.exp(dice.normal(0, 1.0, kind.services))
    most = kind.machines // 2
    sizes = np.ones(kind.services, dtype=np.int64)
    for _ in range(kind.processes - kind.services):
        s = dice.choice(kind.services, p=weights / weights.sum())
        sizes[s] += 1
        if sizes[s] >= most:
            weights[s] = 0
    return np.asarray(dice.permutation(np.repeat(np.arange(kind.services), sizes)))


def _place(
    service: Integers, weights: np.typing.NDArray[np.float64], dice: np.random.Generator
) -> Integers:
    """Place each process on a machine, by weight, with no other of its service there."""
    taken: Flags = np.zeros((int(service.max()) + 1, len(weights)), dtype=np.bool_)
    placed = np.zeros(len(service), dtype=np.int64)
    for p, s in enumerate(service.tolist()):
        open_to = np.where(taken[s], 0.0, weights)
        placed[p] = dice.choice(len(weights), p=open_to / open_to.sum())
        taken[s, placed[p]] = True
    return placed


def _depends(
    kind: Kind, service: Integers, at: Integers, dice: np.random.Generator
) -> tuple[tuple[int, ...], ...]:
    """Choose dependencies among those that the initial assignment meets."""
    present: Flags = np.zeros((kind.services, kind.neighbourhoods), dtype=np.bool_)
    present[service, at] = True
    # s may depend on t where s is in no neighbourhood that t is not in.
    met: Flags = np.logical_not((present[:, None, :] & ~present[None, :, :]).any(axis=2))
    np.fill_diagonal(met, val=False)
    pairs = np.argwhere(met)
    chosen = pairs[dice.permutation(len(pairs))[: kind.depends]]
    found: list[list[int]] = [[] for _ in range(kind.services)]
    for s, t in chosen.tolist():
        found[s].append(t)
    return tuple(tuple(one) for one in found)
