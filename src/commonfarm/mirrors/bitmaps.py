"""Sets of file numbers as bits: a mirror's million files are 125 KB, and two such sets are compared
in microseconds. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """A set of numbers: bit n (of byte n // 8, the lowest first) is number `first` + n.

    `first` is a multiple of 8, so that sets are joined byte by byte.
    """

    first: int
    bits: _Bytes

    @classmethod
    def of(cls, numbers: Numbers | Iterable[int]) -> Bitmap:
        """Return the set of these numbers, in any order."""
        if not isinstance(numbers, np.ndarray):
            numbers = np.fromiter(numbers, np.int64)
        if not numbers.size:
            return cls(0, np.zeros(0, np.uint8))
        first = int(numbers.min()) // 8 * 8
        flags = np.zeros(int(numbers.max()) - first + 1, np.bool_)
        flags[numbers - first] = True
        return cls(first, np.packbits(flags, bitorder="little"))

    @classmethod
    def unpacked(cls, first: int, bits: bytes | memoryview) -> Bitmap:
        """Return the set that was kept as `first` and `packed`."""
        return cls(first, np.frombuffer(bits, np.uint8))

    @property
    def packed(self) -> bytes:
        """Its bits, as they are kept."""
        return self.bits.tobytes()

    def has(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Say of each of `numbers` whether it is in the set."""
        if not self.bits.size:
            return np.zeros(len(numbers), np.bool_)
        places = numbers - self.first
        inside = (places >= 0) & (places < 8 * self.bits.size)
        places = np.where(inside, places, 0)
        found = (self.bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        both: npt.NDArray[np.bool_] = np.logical_and(found, inside)
        return both

    def numbers(self) -> Numbers:
        """Return all numbers, ascending."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little")) + self.first

    def some(self, most: int, chance: random.Random) -> list[int]:
        """Return up to so many of its numbers by chance; a million are not made objects of."""
        numbers = self.numbers()
        chosen: list[int] = numbers[
            chance.sample(range(numbers.size), min(most, numbers.size))
        ].tolist()
        return chosen

    def __len__(self) -> int:
        return int(np.bitwise_count(self.bits).sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bitmap) and not (self ^ other).bits.any()

    def __or__(self, other: Bitmap) -> Bitmap:
        return Bitmap(*_joined(self, other, np.bitwise_or))

    def __and__(self, other: Bitmap) -> Bitmap:
        return Bitmap(*_joined(self, other, np.bitwise_and))

    def __xor__(self, other: Bitmap) -> Bitmap:
        return Bitmap(*_joined(self, other, np.bitwise_xor))

    def __sub__(self, other: Bitmap) -> Bitmap:
        return self ^ (self & other)


def _joined(one: Bitmap, other: Bitmap, how: np.ufunc) -> tuple[int, _Bytes]:
    if not one.bits.size or not other.bits.size:
        first = one.first if one.bits.size else other.first
    else:
        first = min(one.first, other.first)
    end = max(one.first // 8 + one.bits.size, other.first // 8 + other.bits.size)
    size = max(end - first // 8, 0)
    return first, how(_over(one, first, size), _over(other, first, size))


def _over(bitmap: Bitmap, first: int, size: int) -> _Bytes:
    begin = (bitmap.first - first) // 8
    if not begin and bitmap.bits.size == size:
        return bitmap.bits
    wide = np.zeros(size, np.uint8)
    if bitmap.bits.size:
        wide[begin : begin + bitmap.bits.size] = bitmap.bits
    return wide
