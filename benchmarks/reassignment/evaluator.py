"""What an assignment costs and which rules it breaks, counted from nothing in plain integers.

This shares no code with the search, and has the last word on each answer of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .instance import Instance


@dataclass(frozen=True, slots=True)
class Cost:
    """The parts of the objective: load and balance weighted, the three of moves as counted."""

    load: int
    balance: int
    process_move: int
    service_move: int
    machine_move: int
    total: int


def evaluate(instance: Instance, assignment: Sequence[int]) -> Cost:
    """Return the exact cost of an assignment (the machine of each process), broken rules or not."""
    initial, service = instance.initial.tolist(), instance.service.tolist()
    capacity, safety = instance.capacity.tolist(), instance.safety.tolist()
    use = _use(instance, assignment)
    load = sum(
        weight * max(0, use[m][r] - safety[m][r])
        for r, weight in enumerate(instance.load_weight.tolist())
        for m in range(instance.machines)
    )
    balance = 0
    for one in instance.balances:
        for m in range(instance.machines):
            first = capacity[m][one.first] - use[m][one.first]
            second = capacity[m][one.second] - use[m][one.second]
            balance += one.weight * max(0, one.target * first - second)
    moved = [p for p, m in enumerate(assignment) if m != initial[p]]
    process_move = sum(int(instance.process_move[p]) for p in moved)
    service_move = max(Counter(service[p] for p in moved).values(), default=0)
    machine_move = sum(int(instance.machine_move[initial[p], assignment[p]]) for p in moved)
    return Cost(
        load, balance, process_move, service_move, machine_move,
        load + balance + instance.process_weight * process_move
        + instance.service_weight * service_move + instance.machine_weight * machine_move,
    )  # fmt: skip


def breaches(instance: Instance, assignment: Sequence[int]) -> list[str]:
    """Return each hard rule that an assignment breaks, in words; none if it is feasible."""
    found = []
    initial, service = instance.initial.tolist(), instance.service.tolist()
    occupied = _use(instance, assignment)
    for p, m in enumerate(assignment):
        if m != initial[p]:
            for r, required in enumerate(instance.requirement[p].tolist()):
                occupied[initial[p]][r] += required if instance.transient[r] else 0
    for m, limits in enumerate(instance.capacity.tolist()):
        for r, limit in enumerate(limits):
            if occupied[m][r] > limit:
                found.append(f"machine {m}: {occupied[m][r]} of resource {r}, it has {limit}")
    locations: defaultdict[int, set[int]] = defaultdict(set)
    neighbourhoods: defaultdict[int, set[int]] = defaultdict(set)
    together: Counter[tuple[int, int]] = Counter()
    for p, m in enumerate(assignment):
        locations[service[p]].add(int(instance.location[m]))
        neighbourhoods[service[p]].add(int(instance.neighbourhood[m]))
        together[service[p], m] += 1
    for (s, m), count in together.items():
        if count > 1:
            found.append(f"machine {m}: {count} processes of service {s}")
    for s, least in enumerate(instance.spread.tolist()):
        if len(locations[s]) < least:
            found.append(f"service {s}: in {len(locations[s])} locations, not in {least}")
        for t in instance.depends[s]:
            found += [
                f"service {s}: without service {t} in neighbourhood {n}"
                for n in sorted(neighbourhoods[s] - neighbourhoods[t])
            ]
    return found


def lower_bound(instance: Instance) -> int:
    """Return a cost that no assignment goes below.

    For each resource the machines' excess over safety is together at least the whole use less the
    whole safety capacity, and for each balance the same holds of the free amounts: the sum of the
    positive parts is at least the positive part of the sum, wherever the processes are.
    """
    whole = instance.requirement.sum(axis=0)
    excess = whole - instance.safety.sum(axis=0)
    free = instance.capacity.sum(axis=0) - whole
    bound = sum(
        weight * max(0, over)
        for weight, over in zip(instance.load_weight.tolist(), excess.tolist(), strict=True)
    )
    for one in instance.balances:
        bound += one.weight * max(0, one.target * int(free[one.first]) - int(free[one.second]))
    return int(bound)


def _use(instance: Instance, assignment: Sequence[int]) -> list[list[int]]:
    use = [[0] * len(instance.load_weight) for _ in range(instance.machines)]
    for p, m in enumerate(assignment):
        for r, required in enumerate(instance.requirement[p].tolist()):
            use[m][r] += required
    return use
