"""How many mirrors have each file of a tree, from what scans and checks saw there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt
from django.db.models import Max

from commonfarm.archive.interface import TreeFile, current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors.models import Holdings, Mirror

Numbers = npt.NDArray[np.int64]
ENOUGH = 2
"""With so many mirrors one may fail."""
STEPS = ((0, 0, "no mirror"), (1, 1, "1 mirror"), (2, 2, "2 mirrors"), (3, 5, "3 to 5"))
MORE = "6 or more"
MOST_FILES = 200
_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """How many files are held by so many mirrors, and their bytes; `part` of all files."""

    label: str
    files: int
    size: int
    part: float

    @property
    def width(self) -> int:
        """The length of its bar, of 1000."""
        return round(1000 * self.part)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How well the files of a tree are held: in steps, and those that too few mirrors have.

    `thin` are numbers of files with how many mirrors have them: the fewest first, of these the
    largest, MOST_FILES at most; `few` is how many there are in all.
    """

    files: int
    mirrors: int
    steps: tuple[Step, ...]
    few: int
    few_size: int
    thin: tuple[tuple[int, int], ...]


def coverage(
    numbers: Numbers, sizes: Numbers, holdings: Iterable[tuple[int, bytes]], enough: int = ENOUGH
) -> Coverage:
    """Count for files (number and size) in how many `holdings` (first number, bits) each is."""
    if not numbers.size:
        return Coverage(0, sum(1 for _ in holdings), (), 0, 0, ())
    first, last = int(numbers.min()), int(numbers.max())
    counts = np.zeros(last - first + 1, np.uint16)
    mirrors = 0
    for begin, bits in holdings:
        mirrors += 1
        flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
        low, high = max(begin, first), min(begin + len(flags), last + 1)
        if low < high:
            counts[low - first : high - first] += flags[low - begin : high - begin]
    held = counts[numbers - first]
    steps = [_step(label, (held >= least) & (held <= most), sizes) for least, most, label in STEPS]
    steps.append(_step(MORE, held > STEPS[-1][1], sizes))
    few = np.flatnonzero(held < enough)
    order = np.lexsort((-sizes[few], held[few]))[:MOST_FILES]
    return Coverage(
        files=int(numbers.size),
        mirrors=mirrors,
        steps=tuple(steps),
        few=int(few.size),
        few_size=int(sizes[few].sum()),
        thin=tuple((int(numbers[one]), int(held[one])) for one in few[order]),
    )


def of_tree(tree: ReleaseTree, mirrors: Sequence[Mirror], enough: int = ENOUGH) -> Coverage:
    """Return how the present files of `tree` are held by these mirrors, as last seen."""
    numbers = tuple(sorted(mirror.pk for mirror in mirrors if mirror.tree_id == tree.pk))
    seen = Holdings.objects.filter(mirror__in=numbers).aggregate(newest=Max("seen_at"))["newest"]
    return _kept(tree.pk, current_revision(tree), numbers, str(seen), enough)


@lru_cache(maxsize=8)
def _kept(tree: int, revision: int, mirrors: tuple[int, ...], _seen: str, enough: int) -> Coverage:
    rows = files_of(ReleaseTree.objects.get(pk=tree), revision).filter(changes=False)
    files = rows.order_by().values_list("pk", "size").iterator(chunk_size=_AT_ONCE)
    table: Numbers = np.fromiter(chain.from_iterable(files), np.int64).reshape(-1, 2)
    held = Holdings.objects.filter(mirror__in=mirrors).values_list("first", "bits")
    return coverage(
        table[:, 0], table[:, 1], ((first, bytes(bits)) for first, bits in held.iterator(1)), enough
    )


@dataclass(frozen=True, slots=True)
class Thin:
    """A file that too few mirrors have."""

    path: str
    size: int
    mirrors: int


def thin(found: Coverage) -> list[Thin]:
    """Return the files that `found` names, in its order."""
    rows = TreeFile.objects.in_bulk([number for number, _ in found.thin])
    return [
        Thin(rows[number].path, rows[number].size, mirrors)
        for number, mirrors in found.thin
        if number in rows
    ]


def _step(label: str, chosen: npt.NDArray[np.bool_], sizes: Numbers) -> Step:
    count = int(chosen.sum())
    return Step(label, count, int(sizes[chosen].sum()), count / len(sizes))
