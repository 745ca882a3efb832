"""A search for a better assignment within a time: two annealings that share their best.

Each round cools the state of each process from where the round before ended, or from the best that
any of them has found; the first round starts hot enough to leave the initial assignment behind, the
later ones only warm enough to change parts of it, and the last goes on until single moves count.
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


@dataclass(frozen=True, slots=True)
class Round:
    """Temperatures in average processes' weighted size, and the share of the time."""

    hot: float
    cold: float
    share: float


ROUNDS = (
    Round(0.15, 0.002, 0.45),
    Round(0.03, 0.002, 0.2),
    Round(0.03, 0.002, 0.2),
    Round(0.002, 0.0, 0.15),
)
COLDEST = 0.3  # where the last round ends: less than one unit of cost


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
        process = context.Process(
            target=_work, args=(terms, theirs, begun, seconds, seed + number), daemon=True
        )
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    for _ in ROUNDS:
        cost, place = min((pipe.recv() for pipe in pipes), key=lambda found: found[0])
        for pipe in pipes:
            pipe.send((cost, place))
    for process in processes:
        process.join()
    return np.asarray(place)


def _work(terms: Terms, pipe: Connection, begun: float, seconds: float, seed: int) -> None:
    """Anneal in rounds; after each say the best and learn the best of all."""
    annealing = Annealing(State(terms, terms.instance.initial), seed)
    size = float(np.abs(terms.adds).sum() / max(1, terms.instance.processes))
    begin, share = time.monotonic(), 0.0
    for one in ROUNDS:
        share += one.share
        end = begun + share * seconds
        cold = COLDEST if one is ROUNDS[-1] else one.cold * size
        annealing.cool(max(one.hot * size, cold), cold, _progress(begin, end))
        pipe.send((annealing.best, annealing.best_place))
        annealing.take(*pipe.recv())
        begin = time.monotonic()


def _progress(begin: float, end: float) -> Callable[[], float]:
    """Return what says how far the time is from one point to another: 1 at the end and after."""

    def passed() -> float:
        now = time.monotonic()
        return 1.0 if now >= end else (now - begin) / (end - begin)

    return passed
