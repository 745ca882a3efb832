"""Packing: the engine of `estate wanted` on vector bin packing, beside published heuristics.

    python benchmarks/packing.py [FOLDER] [--seconds 60] [--quick] [--json]

FOLDER holds VBP files, at any depth; a `reference.csv` beside or above them says what is known of
each (best of the published heuristics, optimum where it is known). Without a FOLDER instances of
the same kinds are made, which have no published result; of those where three items fill a bin the
optimum is known all the same. One kind of bin, of cost 1; --seconds for each instance, two workers.
Every packing is checked by code that shares nothing with the engine.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonfarm.estate.placement.packing.engine import cheapest
from commonfarm.estate.placement.packing.problem import Item, Kind, Packing
from commonfarm.lib.errors import BadInputError, ExitCode, Problem

SMALL = 60
"""Up to so many items the optimum is asked for, where it is known."""
WORKERS = 2
QUICK_INSTANCES, QUICK_SECONDS = 12, 3.0
Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """Bins of one capacity, the items, and what others found: bins, where that is known."""

    name: str
    capacity: Vector
    items: tuple[Vector, ...]
    heuristic: int | None = None
    optimum: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one instance, and how long it took."""

    instance: Instance
    packing: Packing
    seconds: float

    def line(self) -> str:
        """Return it as a line for people."""
        one, known = self.instance, []
        if one.optimum is not None:
            known.append(f"optimum {one.optimum}")
        if one.heuristic is not None:
            known.append(f"heuristics {one.heuristic}")
        bound = "proven" if self.packing.proven else f"at least {self.packing.lower_bound}"
        told = f" ({', '.join(known)})" if known else ""
        return f"{one.name:<24} {self.packing.cost:>4} bins, {bound}{told}, {self.seconds:.1f} s"


def read(file: Path) -> Instance:
    """Read a VBP file; raise BadInputError."""
    try:
        numbers = [int(word) for word in file.read_text().split()]
        dimensions = numbers[0]
        capacity = tuple(numbers[1 : 1 + dimensions])
        count = numbers[1 + dimensions]
        rows, width = numbers[2 + dimensions :], dimensions + 1
        if dimensions < 1 or len(rows) != count * width or min(numbers) < 0:
            raise ValueError("the counts do not match")
    except (ValueError, IndexError, OSError) as error:
        problem = Problem(str(file), 0, 0, f"is no VBP file: {error}", "see the format's README")
        raise BadInputError(problem) from None
    items = [
        tuple(rows[at : at + dimensions])
        for at in range(0, len(rows), width)
        for _ in range(rows[at + dimensions])
    ]
    return Instance(file.stem, capacity, tuple(items))


def read_folder(folder: Path) -> list[Instance]:
    """Read all VBP files below `folder`, with what the references nearest to them know."""
    known: dict[Path, dict[str, dict[str, str]]] = {}

    def reference(directory: Path) -> dict[str, dict[str, str]]:
        if directory not in known:
            file = directory / "reference.csv"
            if file.is_file():
                with file.open(newline="") as lines:
                    known[directory] = {row["instance"]: row for row in csv.DictReader(lines)}
            elif directory in (folder.parent, directory.parent):
                known[directory] = {}
            else:
                known[directory] = reference(directory.parent)
        return known[directory]

    instances = []
    for file in sorted(folder.rglob("*.vbp"), key=lambda path: (path.parent, _order(path.stem))):
        one, row = read(file), reference(file.parent).get(file.stem, {})
        instances.append(
            Instance(
                one.name, one.capacity, one.items,
                heuristic=_number(row.get("best_heuristic")),
                optimum=_number(row.get("optimum_if_known")),
            )
        )  # fmt: skip
    if not instances:
        raise BadInputError(Problem(str(folder), 0, 0, "holds no .vbp file", "name another folder"))
    return instances


def _number(text: str | None) -> int | None:
    return int(text) if text and int(text) >= 0 else None


def _order(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("_"))


# The classes of Panigrahy, Talwar, Uyeda and Wieder (2011), 1 to 6: capacity, least, largest size.
UNIFORM = {
    1: (1000, 100, 400), 2: (1000, 1, 1000), 3: (1000, 200, 800), 4: (1000, 50, 200),
    5: (1000, 25, 100), 6: (150, 20, 100),
}  # fmt: skip


def _uniform(number: int) -> Callable[[random.Random, int, int], tuple[int, list[Vector]]]:
    capacity, least, largest = UNIFORM[number]

    def make(chance: random.Random, n: int, d: int) -> tuple[int, list[Vector]]:
        return capacity, [tuple(chance.randint(least, largest) for _ in range(d)) for _ in range(n)]

    return make


def _paired(chance: random.Random, n: int, d: int, *, alike: bool) -> tuple[int, list[Vector]]:
    """Return items whose dimensions go in pairs, alike (7) or the one large where not the other."""
    items = []
    for _ in range(n):
        sizes: list[int] = []
        while len(sizes) < d:
            first = chance.randint(20, 99)
            second = first if alike else 120 - first
            sizes += [first, second + chance.randint(-10, 10)]
        items.append(tuple(sizes[:d]))
    return 150, items


def _uneven(chance: random.Random, n: int, d: int) -> tuple[int, list[Vector]]:
    """Return items that are large in the few dimensions that chance prefers (9)."""
    items: list[Vector] = []
    while len(items) < n:
        weights = [0] * d
        for _ in range(2 * d):
            weights[chance.randrange(d)] += 1
        scale = chance.randint(10, 40)
        sizes = tuple(scale * weight + chance.randint(0, 1) for weight in weights)
        if max(sizes) <= 100:
            items.append(sizes)
    return 100, items


def _normal(chance: random.Random, n: int, d: int) -> tuple[int, list[Vector]]:
    """Return items with normally distributed sizes, mean 30 and deviation 15."""

    def size() -> int:
        while not 0 <= (drawn := round(chance.gauss(30, 15))) <= 100:
            pass
        return drawn

    return 100, [tuple(size() for _ in range(d)) for _ in range(n)]


def _large_in_one(chance: random.Random, n: int, d: int) -> tuple[int, list[Vector]]:
    """Return items that are large in one dimension each and small in the others."""
    items = []
    for number in range(n):
        sizes = [chance.randint(0, 25) for _ in range(d)]
        sizes[number % d] = chance.randint(50, 100)
        items.append(tuple(sizes))
    return 100, items


def _triples(chance: random.Random, n: int, d: int) -> tuple[int, list[Vector]]:
    """Return items of which three fill a bin exactly (Falkenauer 1996, in each dimension)."""
    items: list[Vector] = []
    for _ in range(n // 3):
        columns = []
        for _ in range(d):
            large = chance.randint(38, 49)
            middle = chance.randint(25, (100 - large) // 2)
            columns.append((large, middle, 100 - large - middle))
        items += zip(*columns, strict=True)
    chance.shuffle(items)
    return 100, items


FAMILIES: dict[str, Callable[[random.Random, int, int], tuple[int, list[Vector]]]] = {
    **{f"uniform{number}": _uniform(number) for number in UNIFORM},
    "alike7": lambda chance, n, d: _paired(chance, n, d, alike=True),
    "opposed8": lambda chance, n, d: _paired(chance, n, d, alike=False),
    "uneven9": _uneven,
    "normal": _normal,
    "largeinone": _large_in_one,
    "triples": _triples,
}


def made() -> Iterator[Instance]:
    """Yield instances of each family, the same every time."""
    for family, make in FAMILIES.items():
        for n, d in ((60, 3), (60, 10), (249, 5)):
            name = f"{family}_{n}_{d}"
            capacity, items = make(random.Random(name), n, d)  # noqa: S311 - no secret
            optimum = n // 3 if family == "triples" else None
            yield Instance(name, (capacity,) * d, tuple(items), optimum=optimum)


def check(instance: Instance, packing: Packing) -> None:
    """Raise ValueError unless every item is in one bin and no bin holds more than it can."""
    seen = sorted(int(name) for one in packing.bins for name in one.items)
    if seen != list(range(len(instance.items))):
        raise ValueError(f"{instance.name}: not every item is packed once")
    for one in packing.bins:
        loads = map(sum, zip(*(instance.items[int(name)] for name in one.items), strict=True))
        if any(load > most for load, most in zip(loads, instance.capacity, strict=True)):
            raise ValueError(f"{instance.name}: a bin holds more than it can")
    if packing.cost != len(packing.bins) or packing.lower_bound > packing.cost:
        raise ValueError(f"{instance.name}: the figures are not those of the bins")
    if instance.optimum is not None and packing.lower_bound > instance.optimum:
        raise ValueError(f"{instance.name}: the bound is above the known optimum")


def run(instance: Instance, seconds: float) -> Result:
    """Pack one instance and check what comes of it."""
    items = [Item(str(number), sizes) for number, sizes in enumerate(instance.items)]
    begun = time.monotonic()
    packing = cheapest(
        items, [Kind("bin", instance.capacity, 1)],
        seconds=seconds, clock=time.monotonic, workers=WORKERS,
    )  # fmt: skip
    took = time.monotonic() - begun
    check(instance, packing)
    return Result(instance, packing, took)


def figure(
    values: list[float], unit: str, *, peer: list[float] | None = None, goal: float | None = None,
    total: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return one figure, a mean or a `total`; less is better."""
    put = sum if total else statistics.fmean
    ours = put(values) if values else 0.0
    theirs = put(peer) if peer else None
    return {
        "ours": round(ours, 4),
        "peer": theirs if theirs is None else round(theirs, 4),
        "ratio": round(ours / theirs, 4) if theirs else None,
        "unit": unit,
        "runs": len(values),
        "min": round(min(values, default=0.0), 4),
        "max": round(max(values, default=0.0), 4),
        "goal": goal,
        "met": None if goal is None else ours <= goal,
    }


def figures(results: list[Result], goal: float | None) -> dict[str, Any]:
    """Return all figures of a run; it may be worse than others `goal` times, if that counts."""
    beside = [r for r in results if r.instance.heuristic is not None]
    known = [r for r in results if r.instance.optimum is not None]
    small = [r for r in known if len(r.instance.items) <= SMALL + 1]
    compared = [r for r in known if r.instance.heuristic is not None]

    def above(bins: int | None, optimum: int | None) -> float:
        return 100.0 * (bins or 0) / max(optimum or 0, 1) - 100.0

    return {
        "name": "packing",
        "worse_than_heuristics": figure(
            [float(r.packing.cost > (r.instance.heuristic or 0)) for r in beside],
            "instances", goal=goal, total=True,
        ),
        "optimum_missed_up_to_60_items": figure(
            [float(r.packing.cost > (r.instance.optimum or 0)) for r in small],
            "instances", goal=goal, total=True,
        ),
        "above_known_optimum": figure(
            [above(r.packing.cost, r.instance.optimum) for r in known], "%",
            peer=[above(r.instance.heuristic, r.instance.optimum) for r in compared],
        ),
        "bins": figure(
            [float(r.packing.cost) for r in beside or results], "bins", total=True,
            peer=[float(r.instance.heuristic or 0) for r in beside],
        ),
        "above_own_bound": figure(
            [above(r.packing.cost, r.packing.lower_bound) for r in results], "%"
        ),
        "not_proven": figure(
            [float(not r.packing.proven) for r in results], "instances", total=True
        ),
        "time": figure([r.seconds for r in results], "s"),
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    try:
        instances = read_folder(asked.folder.resolve()) if asked.folder else list(made())
    except BadInputError as error:
        print(error, file=sys.stderr)
        sys.exit(ExitCode.BAD_INPUT)
    seconds = asked.seconds
    if asked.quick:
        step = -(-len(instances) // QUICK_INSTANCES)
        instances, seconds = instances[::step], min(seconds, QUICK_SECONDS)
    results = []
    for instance in instances:
        results.append(run(instance, seconds))
        print(results[-1].line(), file=sys.stderr if asked.json else sys.stdout, flush=True)
    result = figures(results, None if asked.quick else 0.0)
    if asked.json:
        print(json.dumps(result))
        return
    where = asked.folder or "instances made here"
    print(
        f"\n{len(results)} instances ({where}), at most {seconds:g} s each,"
        f" {WORKERS} workers, {os.cpu_count()} cores; the peer is the best published heuristic"
    )
    for name, one in result.items():
        if isinstance(one, dict) and one["runs"]:
            peer = f"; heuristics {one['peer']}" if one["peer"] is not None else ""
            goal = f"; goal {one['goal']:g}, met: {one['met']}" if one["goal"] is not None else ""
            spread = f"of {one['runs']}, {one['min']:g} to {one['max']:g}"
            print(f"{name:<30} {one['ours']:>9} {one['unit']} ({spread}){peer}{goal}")


if __name__ == "__main__":
    main()
