"""An assignment that knows its cost and its rules, and changes by moves that keep the rules.

Load and balance are one thing here: terms k, each a sum over machines of max(0, excess), where a
process adds a fixed amount to the excess of its machine. Amounts are floats that hold integers
below 2**53, so that every sum is exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .instance import Flags, Instance, Integers

Floats = npt.NDArray[np.float64]
EXACT = float(2**53)


class Terms:
    """What of an instance the search reads, in the form in which it reads it.

    With a `price`, each unit of a transient resource costs so much that a process away from home
    still takes there: a guide for the search, and no part of the problem.
    """

    def __init__(self, instance: Instance, price: int = 0) -> None:
        self.instance = instance
        requirement = instance.requirement.astype(np.float64)
        capacity = instance.capacity.astype(np.float64)
        loaded = np.flatnonzero(instance.load_weight)
        weights = instance.load_weight[loaded]
        adds = [requirement[:, loaded] * weights]
        starts = [-(instance.safety[:, loaded] * weights).astype(np.float64)]
        for one in instance.balances:
            first, second = one.first, one.second
            target, weight = one.target, one.weight
            adds.append(weight * (requirement[:, [second]] - target * requirement[:, [first]]))
            starts.append(weight * (target * capacity[:, [first]] - capacity[:, [second]]))
        self.adds: Floats = np.hstack(adds)  # P, K
        self.starts: Floats = np.hstack(starts)  # M, K
        self.need: Floats = requirement  # P, R
        # What a process still needs on the machine it comes from, where all else is held for it.
        self.need_at_home: Floats = np.where(instance.transient, 0.0, requirement)
        self.capacity: Floats = capacity  # M, R
        # What another's process may find on a machine at most: the rest is never given back.
        self.open: Floats = capacity.copy()
        np.subtract.at(self.open, instance.initial, requirement - self.need_at_home)
        self.process_move: Floats = (instance.process_weight * instance.process_move).astype(float)
        self.process_move += price * (self.need - self.need_at_home).sum(axis=1)
        self.machine_move: Integers = (
            instance.machine_weight * instance.machine_move
        ).ravel()  # M * M
        largest = np.abs(self.starts).sum() + np.abs(self.adds).sum() + self.process_move.sum()
        largest += float(self.machine_move.max(initial=0)) * instance.processes
        if largest >= EXACT:
            raise OverflowError(f"{instance.name}: its costs are too large to be summed exactly")
        self.service: list[int] = instance.service.tolist()
        self.home: Integers = instance.initial
        self.homes: list[int] = instance.initial.tolist()
        self.location: list[int] = instance.location.tolist()
        self.neighbourhood: list[int] = instance.neighbourhood.tolist()
        self.spread: list[int] = instance.spread.tolist()
        # A service that depends on itself always has what it needs.
        self.depends = [[t for t in one if t != s] for s, one in enumerate(instance.depends)]
        self.dependants: list[list[int]] = [[] for _ in range(instance.services)]
        for s, others in enumerate(self.depends):
            for t in others:
                self.dependants[t].append(s)

    def fits(self, processes: Integers, machines: Integers) -> Flags:
        """Say of each process and the machine beside it whether it could ever be there."""
        short = np.minimum(self.open.take(machines, 0) - self.need.take(processes, 0), 0)
        return np.asarray((short.sum(axis=1) == 0) | (self.home.take(processes) == machines))

    def needs(self, processes: Integers, machines: Integers) -> Floats:
        """Return what each process takes of the room of the machine beside it."""
        away = (self.home.take(processes) != machines)[:, None]
        return np.asarray(
            np.where(away, self.need.take(processes, 0), self.need_at_home.take(processes, 0))
        )

    def moving(self, processes: Integers, machines: Integers) -> Floats:
        """Return what each process costs in moves on the machine beside it."""
        home = self.home.take(processes)
        cost = self.process_move.take(processes) * (home != machines)
        return np.asarray(cost + self.machine_move.take(home * len(self.capacity) + machines))


class State:
    """A feasible assignment. `shift` and `swap` change it or leave it as it is."""

    def __init__(self, terms: Terms, place: Integers) -> None:
        self.terms = terms
        self.load(place)

    def load(self, place: Integers) -> None:
        """Take another feasible assignment, counted anew."""
        terms, instance = self.terms, self.terms.instance
        self.place: Integers = np.array(place, dtype=np.int64)
        home = (self.place == instance.initial)[:, None]
        self.excess: Floats = terms.starts.copy()  # M, K
        np.add.at(self.excess, self.place, terms.adds)
        self.machine_cost: Floats = np.maximum(self.excess, 0).sum(axis=1)  # M
        self.room: Floats = terms.capacity.copy()  # M, R
        np.subtract.at(self.room, self.place, np.where(home, terms.need_at_home, terms.need))
        np.subtract.at(self.room, instance.initial, terms.need - terms.need_at_home)
        self.on: Flags = np.zeros((instance.services, instance.machines), dtype=np.bool_)
        self.on[instance.service, self.place] = True
        where = instance.location[self.place], instance.neighbourhood[self.place]
        self.in_location = _counts(instance.service, where[0], instance.services)
        self.in_neighbourhood = _counts(instance.service, where[1], instance.services)
        moved = instance.service[~home[:, 0]]
        self.moved: list[int] = np.bincount(moved, minlength=instance.services).tolist()
        self.with_moved = np.bincount(self.moved, minlength=instance.processes + 2).tolist()
        self.most_moved = max(self.moved, default=0)
        self.paid: Floats = terms.moving(np.arange(instance.processes), self.place)  # P
        self.cost = float(
            self.machine_cost.sum() + self.paid.sum() + instance.service_weight * self.most_moved
        )

    def shift(self, p: int, to: int, limit: float) -> bool:
        """Move p to another machine if the rules allow it and the cost rises by `limit` at most."""
        terms, at = self.terms, int(self.place[p])
        s, home = terms.service[p], terms.homes[p]
        if at == to or self.on[s, to] or (self.room[to] < self._needs(p, to)).any():
            return False
        adds = terms.adds[p]
        leaves, joins = self.excess[at] - adds, self.excess[to] + adds
        left, joined = _positive(leaves), _positive(joins)
        change = left + joined - float(self.machine_cost[at] + self.machine_cost[to])
        change += self._moving(p, to) - float(self.paid[p])
        # The largest count of moved processes falls by one at most.
        if change - terms.instance.service_weight > limit or not self._may_shift(s, at, to):
            return False
        further = (to != home) - (at != home)
        service = self._count(s, further)
        if change + service > limit:
            self._count(s, -further)
            return False
        self.cost += change + service
        self.excess[at], self.excess[to] = leaves, joins
        self.machine_cost[at], self.machine_cost[to] = left, joined
        self._transfer(p, s, at, to)
        return True

    def swap(self, p: int, q: int, limit: float) -> bool:
        """Exchange the machines of p and q, on the same terms as `shift`."""
        terms, at, to = self.terms, int(self.place[p]), int(self.place[q])
        s, t = terms.service[p], terms.service[q]
        if at == to or (s != t and (self.on[s, to] or self.on[t, at])):
            return False
        if (self.room[to] + self._needs(q, to) < self._needs(p, to)).any():
            return False
        if (self.room[at] + self._needs(p, at) < self._needs(q, at)).any():
            return False
        adds = terms.adds[q] - terms.adds[p]
        first, second = self.excess[at] + adds, self.excess[to] - adds
        cost, other = _positive(first), _positive(second)
        change = cost + other - float(self.machine_cost[at] + self.machine_cost[to])
        change += (
            self._moving(p, to) - float(self.paid[p]) + self._moving(q, at) - float(self.paid[q])
        )
        if change - 2 * terms.instance.service_weight > limit:
            return False
        if s != t and not self._may_swap(s, t, at, to):
            return False
        mine = (to != terms.homes[p]) - (at != terms.homes[p])
        theirs = (at != terms.homes[q]) - (to != terms.homes[q])
        service = self._count(s, mine) + self._count(t, theirs)
        if change + service > limit:
            self._count(t, -theirs)
            self._count(s, -mine)
            return False
        self.cost += change + service
        self.excess[at], self.excess[to] = first, second
        self.machine_cost[at], self.machine_cost[to] = cost, other
        self._transfer(p, s, at, to)
        self._transfer(q, t, to, at)
        self.on[s, to] = self.on[t, at] = True
        return True

    def _needs(self, p: int, m: int) -> Floats:
        terms = self.terms
        return np.asarray(terms.need_at_home[p] if terms.homes[p] == m else terms.need[p])

    def _moving(self, p: int, m: int) -> float:
        terms, home = self.terms, self.terms.homes[p]
        if home == m:
            return 0.0
        return float(terms.process_move[p] + terms.machine_move[home * len(terms.capacity) + m])

    def _count(self, s: int, change: int) -> float:
        """Count one more or one fewer process of s as moved; return what that costs."""
        if not change:
            return 0.0
        before, most = self.moved[s], self.most_moved
        self.moved[s] = after = before + change
        self.with_moved[before] -= 1
        self.with_moved[after] += 1
        if after > most or (before == most and not self.with_moved[most]):
            self.most_moved = after
        return float(self.terms.instance.service_weight * (self.most_moved - most))

    def _may_shift(self, s: int, at: int, to: int) -> bool:
        """Say whether spread and dependencies allow a process of s to change its machine."""
        terms = self.terms
        here, there = terms.location[at], terms.location[to]
        if here != there:
            counts = self.in_location[s]
            lost, won = counts[here] == 1, there not in counts
            if len(counts) - lost + won < terms.spread[s]:
                return False
        here, there = terms.neighbourhood[at], terms.neighbourhood[to]
        if here != there:
            if any(there not in self.in_neighbourhood[t] for t in terms.depends[s]):
                return False
            if self.in_neighbourhood[s][here] == 1:
                return not any(here in self.in_neighbourhood[u] for u in terms.dependants[s])
        return True

    def _may_swap(self, s: int, t: int, at: int, to: int) -> bool:
        """Say the same of a process of s and one of t that exchange their machines."""
        terms = self.terms
        here, there = terms.location[at], terms.location[to]
        if here != there:
            for one, left, reached in ((s, here, there), (t, there, here)):
                counts = self.in_location[one]
                lost, won = counts[left] == 1, reached not in counts
                if len(counts) - lost + won < terms.spread[one]:
                    return False
        here, there = terms.neighbourhood[at], terms.neighbourhood[to]
        if here == there:
            return True
        counts, others = self.in_neighbourhood[s], self.in_neighbourhood[t]
        _transfer(counts, here, there)
        _transfer(others, there, here)
        allowed = (
            all(there in self.in_neighbourhood[one] for one in terms.depends[s])
            and all(here in self.in_neighbourhood[one] for one in terms.depends[t])
            and (
                here in counts
                or not any(here in self.in_neighbourhood[u] for u in terms.dependants[s])
            )
            and (
                there in others
                or not any(there in self.in_neighbourhood[u] for u in terms.dependants[t])
            )
        )
        _transfer(counts, there, here)
        _transfer(others, here, there)
        return allowed

    def _transfer(self, p: int, s: int, at: int, to: int) -> None:
        """Change all that is counted, but the costs, as p goes from one machine to another."""
        terms = self.terms
        self.room[at] += self._needs(p, at)
        self.room[to] -= self._needs(p, to)
        self.place[p] = to
        self.paid[p] = self._moving(p, to)
        self.on[s, at], self.on[s, to] = False, True
        here, there = terms.location[at], terms.location[to]
        if here != there:
            _transfer(self.in_location[s], here, there)
        here, there = terms.neighbourhood[at], terms.neighbourhood[to]
        if here != there:
            _transfer(self.in_neighbourhood[s], here, there)


def _positive(amounts: Floats) -> float:
    return float(np.add.reduce(np.maximum(amounts, 0)))


def _counts(keys: Integers, values: Integers, size: int) -> list[dict[int, int]]:
    """Count the values of each key."""
    found: list[dict[int, int]] = [{} for _ in range(size)]
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        found[key][value] = found[key].get(value, 0) + 1
    return found


def _transfer(counts: dict[int, int], here: int, there: int) -> None:
    """Count one fewer here, and one more there."""
    counts[there] = counts.get(there, 0) + 1
    if counts[here] == 1:
        del counts[here]
    else:
        counts[here] -= 1
