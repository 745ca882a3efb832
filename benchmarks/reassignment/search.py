"""A search for a better assignment within a time: two annealings that share what they find.

Both start hot enough to leave the initial assignment behind, and cool until one unit of cost
decides. They differ in what they pay for room at home: a process that left still takes its
transient resources there, and where many left in vain, a machine stays shut to others. One
annealing pays for that room, ever less while it cools; the other does not. On some instances the
one ends lower, on some the other, so that the last rounds start from the better of both.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from .annealing import Annealing
from .instance import Instance, Integers
from .state import State, Terms

PRICES = (0.0, 1.0)  # of the annealings in turn, in the largest weight of load
COLDEST = 0.3  # where the last round ends: less than one unit of cost


@dataclass(frozen=True, slots=True)
class Round:
    """Temperatures in the average process's weighted size, share of the price and of the time."""

    hot: float
    cold: float
    price: float
    time: float


ROUNDS = (
    Round(0.15, 0.05, 1.0, 0.22),
    Round(0.05, 0.02, 0.5, 0.23),
    Round(0.02, 0.006, 0.2, 0.2),
    Round(0.006, 0.001, 0.0, 0.2),
    Round(0.001, 0.0, 0.0, 0.15),
)


def search(instance: Instance, seconds: float, workers: int = 2, seed: int = 1) -> Integers:
    """Return the best feasible assignment found in a time, by so many processes.

    Raise OverflowError if the instance's costs cannot be summed exactly.
    """
    begun = time.monotonic()
    terms = Terms(instance)
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for number in range(workers):
        mine, theirs = context.Pipe()
        price = PRICES[number % len(PRICES)]
        process = context.Process(
            target=_work,
            args=(terms, theirs, begun, seconds, seed + number, price),
            daemon=True,
        )
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    for one in ROUNDS:
        if not one.price:
            found = min((pipe.recv() for pipe in pipes), key=lambda told: told[0])
            for pipe in pipes:
                pipe.send(found)
    last = min((pipe.recv() for pipe in pipes), key=lambda told: told[0])
    for process in processes:
        process.join()
    return np.asarray(last[1])


def _work(
    terms: Terms, pipe: Connection, begun: float, seconds: float, seed: int, price: float
) -> None:
    """Anneal in rounds; before each that has no price, start from the best that any has found."""
    instance = terms.instance
    size = float(np.abs(terms.adds).sum()) / max(1, instance.processes)
    weight = price * int(instance.load_weight.max(initial=0))
    best, place = State(terms, instance.initial).cost, instance.initial
    current, passed = place, 0.0
    for number, one in enumerate(ROUNDS):
        guided = Terms(instance, round(weight * one.price)) if weight and one.price else terms
        if not one.price:
            pipe.send((best, place))
            best, current = pipe.recv()
            place = current
        annealing = Annealing(State(guided, current), seed + 1000 * number)
        passed += one.time
        cold = max(one.cold * size, COLDEST)
        progress = _progress(time.monotonic(), begun + passed * seconds)
        annealing.cool(max(one.hot * size, cold), cold, progress)
        current = annealing.state.place
        for found in (current, annealing.best_place):
            if (cost := State(terms, found).cost) < best:
                best, place = cost, found
    pipe.send((best, place))


def _progress(begin: float, end: float) -> Callable[[], float]:
    """Return what says how far the time is from one point to another: 1 at the end and after."""

    def passed() -> float:
        now = time.monotonic()
        return 1.0 if now >= end else (now - begin) / (end - begin)

    return passed
