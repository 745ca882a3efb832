"""Simulated annealing over shifts and swaps, proposed thousands at a time.

Kirkpatrick, Gelatt and Vecchi, "Optimization by simulated annealing", Science 220 (1983), with the
two neighbourhoods that most of the challenge's entries had: a process goes to another machine, or
two processes change places. A proposal is accepted if its cost rises by less than an exponential
variate with the temperature as mean, which is Metropolis's rule. As the variates come first, one
vector operation weighs a whole block of proposals and leaves the few that would be accepted. These
are put to the state one by one, which knows all rules and counts each cost anew.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .instance import Flags, Integers
from .state import Floats, State

BLOCK = 2000  # proposals
REFRESH = 16  # blocks
LISTED = 20_000_000  # pairs of a process and a machine are listed up to this number
POOL = 1 << 18  # variates that are drawn once and used over and over, from random places
# A change of cost far below the temperature is noise, and on a plateau nearly all changes are. They
# are accepted in proportion to their size, but not more seldom than this. It is the same for a
# change and for its reverse, so that the distribution to which annealing tends stays as it is.
NOISE = 0.05


class Annealing:
    """Anneals a state; `best` and `best_place` are the lowest cost seen and its assignment."""

    def __init__(self, state: State, seed: int) -> None:
        self.state = state
        self.dice = np.random.default_rng(seed)
        self.variates: Floats = self.dice.standard_exponential(POOL)
        worth = self.dice.random(POOL)
        self.worth: Floats = np.where(worth < NOISE, 0.0, worth)
        self.best, self.best_place = state.cost, state.place.copy()
        instance = state.terms.instance
        self.machines = instance.machines
        self.could: Flags | None = None  # process * machines + machine
        self.pairs: Integers | None = None
        if instance.processes * self.machines <= LISTED:
            could = np.empty((instance.processes, self.machines), dtype=np.bool_)
            every = np.arange(instance.processes)
            for m in range(self.machines):
                could[:, m] = state.terms.fits(every, np.full_like(every, m))
            self.could = could.ravel()
            self.pairs = np.flatnonzero(self.could)
        self._list_residents()

    def cool(self, hot: float, cold: float, progress: Callable[[], float]) -> None:
        """Cool from one temperature to another, in equal ratios, as `progress` goes from 0 to 1."""
        while (passed := progress()) < 1:
            temperature = hot * (cold / hot) ** passed
            for _ in range(REFRESH // 2):
                self.shifts(temperature)
                self.swaps(temperature)
                if self.state.cost < self.best:
                    self.best, self.best_place = self.state.cost, self.state.place.copy()
            self._list_residents()

    def shifts(self, temperature: float) -> None:
        """Propose a block of shifts."""
        state, terms = self.state, self.state.terms
        ps, to = self._pairs()
        at = state.place.take(ps)
        adds = terms.adds.take(ps, 0)
        change = _positive(state.excess.take(to, 0) + adds)
        change += _positive(state.excess.take(at, 0) - adds)
        change -= state.machine_cost.take(at) + state.machine_cost.take(to)
        change += terms.moving(ps, to) - state.paid.take(ps)
        good, limits = self._accepted(change, temperature, at != to)
        ps, to = ps.take(good), to.take(good)
        fits = self._fits(state.room.take(to, 0) - terms.needs(ps, to))
        fits &= ~state.on[terms.instance.service.take(ps), to]
        for one in np.flatnonzero(fits).tolist():
            state.shift(int(ps[one]), int(to[one]), float(limits[one]))

    def swaps(self, temperature: float) -> None:
        """Propose a block of swaps, each of a process and one on a machine that could take it."""
        state, terms = self.state, self.state.terms
        ps, to = self._pairs()
        picks = self.begins.take(to) + (self.dice.random(BLOCK) * self.counts.take(to)).astype(int)
        qs = self.residents.take(picks, mode="clip")
        at, to = state.place.take(ps), state.place.take(qs)
        open_to = at != to
        if self.could is not None:
            open_to &= self.could.take(ps * self.machines + to)
            open_to &= self.could.take(qs * self.machines + at)
        open_to = np.flatnonzero(open_to)
        ps, qs, at, to = ps.take(open_to), qs.take(open_to), at.take(open_to), to.take(open_to)
        adds = terms.adds.take(qs, 0) - terms.adds.take(ps, 0)
        change = _positive(state.excess.take(at, 0) + adds)
        change += _positive(state.excess.take(to, 0) - adds)
        change -= state.machine_cost.take(at) + state.machine_cost.take(to)
        change += terms.moving(ps, to) - state.paid.take(ps)
        change += terms.moving(qs, at) - state.paid.take(qs)
        good, limits = self._accepted(change, temperature)
        ps, qs, at, to = ps.take(good), qs.take(good), at.take(good), to.take(good)
        fits = self._fits(state.room.take(to, 0) + terms.needs(qs, to) - terms.needs(ps, to))
        fits &= self._fits(state.room.take(at, 0) + terms.needs(ps, at) - terms.needs(qs, at))
        for one in np.flatnonzero(fits).tolist():
            state.swap(int(ps[one]), int(qs[one]), float(limits[one]))

    def _list_residents(self) -> None:
        """List the processes by machine; the list is let go stale for a few blocks."""
        self.residents = np.argsort(self.state.place, kind="stable")
        self.counts = np.bincount(self.state.place, minlength=self.machines)
        self.begins = np.cumsum(self.counts) - self.counts

    def _pairs(self) -> tuple[Integers, Integers]:
        """Return a block of processes, and a machine for each on which it could be."""
        if self.pairs is None:
            processes = self.state.terms.instance.processes
            return (
                self.dice.integers(0, processes, BLOCK),
                self.dice.integers(0, self.machines, BLOCK),
            )
        chosen = self.pairs.take(self.dice.integers(0, len(self.pairs), BLOCK))
        drawn: Integers = np.floor_divide(chosen, self.machines)
        return drawn, chosen - drawn * self.machines

    def _accepted(
        self, change: Floats, temperature: float, rightly: Flags | None = None
    ) -> tuple[Integers, Floats]:
        """Return which changes of cost would be accepted, and by how much each may raise it."""
        first, second = self.dice.integers(0, POOL - BLOCK, 2).tolist()
        limits = self.variates[first : first + len(change)] * temperature
        accepted = change <= limits
        accepted &= np.abs(change) >= self.worth[second : second + len(change)] * temperature
        if rightly is not None:
            accepted &= rightly
        good = np.flatnonzero(accepted)
        return good, limits.take(good)

    def _fits(self, left: Floats) -> Flags:
        return np.asarray(np.einsum("ij->i", np.minimum(left, 0)) == 0)


def _positive(amounts: Floats) -> Floats:
    """Return the sum of the positive amounts of each row; einsum sums short rows fastest."""
    np.maximum(amounts, 0, out=amounts)
    return np.asarray(np.einsum("ij->i", amounts))
