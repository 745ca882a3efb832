"""A day of downloads as Sugar Labs had them: what is asked for, when, and from where. Pure.

The sizes are those that are accounted; the files themselves are made smaller (`SCALE`), since no
body is moved. Popularity falls with the rank as 1/rank (Zipf's law); people download in the evening
of their own time zone; half of what is asked for after a release is of that release. Before each
activity a client asks for their index, which changes in place.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

DAY_SECONDS = 86400
SCALE = 256
"""How many times larger a file is accounted than it lies there: a divisor of every size."""
RELEASED_SHARE = 0.5

# Where the children's laptops are, by share of downloads, and hours east of UTC.
COUNTRIES: dict[str, tuple[float, int]] = {
    "UY": (0.26, -3),
    "PE": (0.18, -5),
    "US": (0.14, -6),
    "BR": (0.07, -3),
    "DE": (0.06, 1),
    "AR": (0.05, -3),
    "IN": (0.05, 5),
    "FR": (0.03, 1),
    "GB": (0.03, 0),
    "MX": (0.03, -6),
    "ES": (0.03, 1),
    "AU": (0.02, 10),
    "RW": (0.02, 2),
    "NP": (0.02, 6),
    "JP": (0.01, 9),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A file that can be asked for: its path in the tree, accounted bytes, and since which second
    of the day it is there.
    """

    path: str
    size: int
    since: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A download: the second of the day, the file, and the address that asks."""

    second: int
    item: Item
    client: str


def day(
    items: Sequence[Item], index: Item, clients: dict[str, list[str]], size: int, seed: int
) -> list[Asked]:
    """Return downloads of `size` bytes in all, in the order of their time: of `items`, the most
    popular first, and of the `index` before each that lies in the same tree. The same seed, the
    same day.
    """
    indexed = index.path.partition("/")[0]
    dice = random.Random(seed)  # noqa: S311 - a plausible day, no secret
    old = [item for item in items if item.since == 0]
    new = [item for item in items if item.since > 0]
    names = list(COUNTRIES)
    asked: list[Asked] = []
    left = size
    while left > 0:
        country = dice.choices(names, [COUNTRIES[name][0] for name in names])[0]
        second = _second(dice, COUNTRIES[country][1])
        there = [item for item in new if item.since <= second]
        pool = there if there and dice.random() < RELEASED_SHARE else old
        item = pool[_rank(dice, len(pool))]
        client = dice.choice(clients[country])
        wanted = [index, item] if item.path.partition("/")[0] == indexed else [item]
        asked += [Asked(second, one, client) for one in wanted]
        left -= sum(one.size for one in wanted)
    return sorted(asked, key=lambda one: one.second)


def _busy(second: int, east: int) -> float:
    hour = second / 3600 + east
    return 1 + 0.7 * math.cos((hour - 20) / 24 * 2 * math.pi)


def _second(dice: random.Random, east: int) -> int:
    """Draw a second by how busy it is there (by rejection)."""
    while True:
        second = dice.randrange(DAY_SECONDS)
        if dice.random() * 1.7 < _busy(second, east):
            return second


def _rank(dice: random.Random, count: int) -> int:
    """Draw a rank below `count` with a chance of nearly 1/rank: the inverse of the logarithm."""
    return min(int(math.exp(dice.random() * math.log(count + 1))) - 1, count - 1)
