"""An assignment that knows its cost and its rules, and changes by moves that keep the rules.

Load and balance are one thing here: terms k, each a sum over machines of max(0, excess), where a
process adds a fixed amount to the excess of its machine. Amounts are floats that hold integers
below 2**53, so that every sum is exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .instance import Instance, Integers

Floats = npt.NDArray[np.float64]
EXACT = float(2**53)


class Terms:
    """What of an instance the search reads, in the form in which it reads it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        requirement = instance.requirement.T.astype(np.float64)
        capacity = instance.capacity.T.astype(np.float64)
        adds, starts = [], []
        for r, weight in enumerate(instance.load_weight.tolist()):
            if weight:
                adds.append(requirement[r] * weight)
                starts.append(-weight * instance.safety[:, r].astype(np.float64))
        for one in instance.balances:
            first, second = one.first, one.second
            adds.append(one.weight * (requirement[second] - one.target * requirement[first]))
            starts.append(one.weight * (one.target * capacity[first] - capacity[second]))
        self.adds: Floats = np.array(adds).reshape(len(adds), instance.processes)  # K, P
        self.starts: Floats = np.array(starts).reshape(len(starts), instance.machines)  # K, M
        self.need: Floats = np.ascontiguousarray(requirement)  # R, P
        # What a process still needs on the machine it comes from, where all else is held for it.
        self.need_at_home = np.where(instance.transient[:, None], 0.0, requirement)
        self.capacity = capacity  # R, M
        self.process_move = (instance.process_weight * instance.process_move).astype(np.float64)
        self.machine_move = instance.machine_weight * instance.machine_move  # M, M
        largest = np.abs(self.starts).sum() + np.abs(self.adds).sum() + self.process_move.sum()
        largest += float(self.machine_move.max(initial=0)) * instance.processes
        if largest >= EXACT:
            raise OverflowError(f"{instance.name}: its costs are too large to be summed exactly")
        # A service that depends on itself always has what it needs.
        self.depends = [[t for t in one if t != s] for s, one in enumerate(instance.depends)]
        self.dependants: list[list[int]] = [[] for _ in range(instance.services)]
        for s, others in enumerate(self.depends):
            for t in others:
                self.dependants[t].append(s)

    def moving(self, processes: Integers, machines: Integers) -> Floats:
        """Return what each process costs in moves on each machine beside it (broadcast)."""
        home = self.instance.initial[processes]
        cost = self.process_move[processes] * (home != machines)
        return np.asarray(cost + self.machine_move[home, machines])


class State:
    """A feasible assignment. `shift` and `swap` change it or leave it as it is."""

    def __init__(self, terms: Terms, place: Integers) -> None:
        self.terms = terms
        self.load(place)

    def load(self, place: Integers) -> None:
        """Take another feasible assignment, counted anew."""
        terms, instance = self.terms, self.terms.instance
        self.place: Integers = np.array(place, dtype=np.int64)
        processes = np.arange(instance.processes)
        self.excess = terms.starts.copy()  # K, M
        for excess, adds in zip(self.excess, terms.adds, strict=True):
            np.add.at(excess, self.place, adds)
        self.room = terms.capacity.copy()  # R, M
        away = self.place != instance.initial
        for r, room in enumerate(self.room):
            np.subtract.at(room, self.place, terms.need[r])
            if instance.transient[r]:
                np.subtract.at(room, instance.initial[away], terms.need[r, away])
        self.machine_cost = np.maximum(self.excess, 0).sum(axis=0)  # M
        self.on = np.zeros((instance.services, instance.machines), dtype=np.bool_)
        self.on[instance.service, self.place] = True
        self.in_location = _counts(
            instance.service, instance.location[self.place], instance.services
        )
        self.in_neighbourhood = _counts(
            instance.service, instance.neighbourhood[self.place], instance.services
        )
        self.distinct = [len(one) for one in self.in_location]
        self.moved = np.bincount(instance.service[away], minlength=instance.services).tolist()
        self.with_moved = np.bincount(self.moved, minlength=instance.processes + 2).tolist()
        self.most_moved = max(self.moved, default=0)
        moving = terms.moving(processes, self.place).sum()
        self.cost = float(
            self.machine_cost.sum() + moving + instance.service_weight * self.most_moved
        )

    def shift(self, p: int, to: int, limit: float) -> bool:
        """Move p to another machine if the rules allow it and the cost rises by `limit` at most."""
        terms, at = self.terms, int(self.place[p])
        instance = terms.instance
        s = int(instance.service[p])
        if at == to or self.on[s, to]:
            return False
        home = int(instance.initial[p])
        need = terms.need_at_home[:, p] if to == home else terms.need[:, p]
        if (self.room[:, to] < need).any() or not self._may_shift(s, at, to):
            return False
        adds = terms.adds[:, p]
        leaves, joins = self.excess[:, at] - adds, self.excess[:, to] + adds
        left, joined = float(np.maximum(leaves, 0).sum()), float(np.maximum(joins, 0).sum())
        change = left + joined - float(self.machine_cost[at] + self.machine_cost[to])
        change += self._moving(p, to) - self._moving(p, at)
        service = self._count(s, (to != home) - (at != home))
        if change + service > limit:
            self._count(s, (at != home) - (to != home))
            return False
        self.cost += change + service
        self.excess[:, at], self.excess[:, to] = leaves, joins
        self.machine_cost[at], self.machine_cost[to] = left, joined
        self._transfer(p, s, at, to)
        return True

    def swap(self, p: int, q: int, limit: float) -> bool:
        """Exchange the machines of p and q, on the same terms as `shift`."""
        terms, at, to = self.terms, int(self.place[p]), int(self.place[q])
        instance = terms.instance
        s, t = int(instance.service[p]), int(instance.service[q])
        if at == to or (s != t and (self.on[s, to] or self.on[t, at])):
            return False
        home, other = int(instance.initial[p]), int(instance.initial[q])
        if (
            self._room_without(q, to) < (terms.need_at_home if to == home else terms.need)[:, p]
        ).any():
            return False
        if (
            self._room_without(p, at) < (terms.need_at_home if at == other else terms.need)[:, q]
        ).any():
            return False
        adds = terms.adds[:, q] - terms.adds[:, p]
        first, second = self.excess[:, at] + adds, self.excess[:, to] - adds
        cost, other_cost = float(np.maximum(first, 0).sum()), float(np.maximum(second, 0).sum())
        change = cost + other_cost - float(self.machine_cost[at] + self.machine_cost[to])
        change += self._moving(p, to) - self._moving(p, at)
        change += self._moving(q, at) - self._moving(q, to)
        if change - instance.service_weight * 2 > limit:
            return False
        if s != t and not self._may_swap(s, t, at, to):
            return False
        mine, theirs = (to != home) - (at != home), (at != other) - (to != other)
        service = self._count(s, mine) + self._count(t, theirs)
        if change + service > limit:
            self._count(t, -theirs)
            self._count(s, -mine)
            return False
        self.cost += change + service
        self.excess[:, at], self.excess[:, to] = first, second
        self.machine_cost[at], self.machine_cost[to] = cost, other_cost
        self._transfer(p, s, at, to)
        self._transfer(q, t, to, at)
        self.on[s, to] = self.on[t, at] = True
        return True

    def _moving(self, p: int, m: int) -> float:
        home = self.terms.instance.initial[p]
        if home == m:
            return 0.0
        return float(self.terms.process_move[p] + self.terms.machine_move[home, m])

    def _room_without(self, p: int, m: int) -> Floats:
        """Return the room of a machine once p has left it."""
        terms = self.terms
        home = terms.instance.initial[p] == m
        return np.asarray(self.room[:, m] + (terms.need_at_home if home else terms.need)[:, p])

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
        instance = self.terms.instance
        here, there = int(instance.location[at]), int(instance.location[to])
        if here != there:
            counts = self.in_location[s]
            lost, won = counts[here] == 1, there not in counts
            if len(counts) - lost + won < instance.spread[s]:
                return False
        here, there = int(instance.neighbourhood[at]), int(instance.neighbourhood[to])
        if here != there:
            if any(there not in self.in_neighbourhood[t] for t in self.terms.depends[s]):
                return False
            if self.in_neighbourhood[s][here] == 1:
                return not any(here in self.in_neighbourhood[u] for u in self.terms.dependants[s])
        return True

    def _may_swap(self, s: int, t: int, at: int, to: int) -> bool:
        """Say the same of a process of s and one of t that exchange their machines."""
        instance = self.terms.instance
        here, there = int(instance.location[at]), int(instance.location[to])
        if here != there:
            for one, left, reached in ((s, here, there), (t, there, here)):
                counts = self.in_location[one]
                lost, won = counts[left] == 1, reached not in counts
                if len(counts) - lost + won < instance.spread[one]:
                    return False
        here, there = int(instance.neighbourhood[at]), int(instance.neighbourhood[to])
        if here == there:
            return True
        counts, others = self.in_neighbourhood[s], self.in_neighbourhood[t]
        _transfer(counts, here, there)
        _transfer(others, there, here)
        allowed = (
            all(there in self.in_neighbourhood[one] for one in self.terms.depends[s])
            and all(here in self.in_neighbourhood[one] for one in self.terms.depends[t])
            and (
                here in counts
                or not any(here in self.in_neighbourhood[u] for u in self.terms.dependants[s])
            )
            and (
                there in others
                or not any(there in self.in_neighbourhood[u] for u in self.terms.dependants[t])
            )
        )
        _transfer(counts, there, here)
        _transfer(others, here, there)
        return allowed

    def _transfer(self, p: int, s: int, at: int, to: int) -> None:
        """Change all that is counted, but the costs, as p goes from one machine to another."""
        terms, instance = self.terms, self.terms.instance
        home = int(instance.initial[p])
        self.room[:, at] += (terms.need_at_home if at == home else terms.need)[:, p]
        self.room[:, to] -= (terms.need_at_home if to == home else terms.need)[:, p]
        self.place[p] = to
        self.on[s, at], self.on[s, to] = False, True
        here, there = int(instance.location[at]), int(instance.location[to])
        if here != there:
            _transfer(self.in_location[s], here, there)
        here, there = int(instance.neighbourhood[at]), int(instance.neighbourhood[to])
        if here != there:
            _transfer(self.in_neighbourhood[s], here, there)


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
