"""Resource classes: what hosts have and instances need, in which unit, and how people write it.

The keys are the words of an estate's files; `openstack` is the name that OpenStack Placement has
for the same class. Amounts are integers in the class's unit everywhere behind the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from types import MappingProxyType

from commonfarm.lib.units import BYTES

Amounts = Mapping[str, int]
"""Resource class -> amount, in the unit of the class."""

MOST = 2**53
"""The largest amount of one thing: 8 PiB in bytes. Sums of thousands stay within 64 bits."""
MOST_SHOWN = 2**63 - 1
"""Amounts from here on are shown alike: after years of growth they say only "far too much"."""
_TOO_MUCH = "beyond all measure"

_BYTES = {**BYTES, "PB": 10**15, "PiB": 2**50}
_CORES = {"": 1000, "m": 1}
_BITS = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9, "Tbit/s": 10**12}
# A month is a twelfth of 365.25 days.
_TRAFFIC = {
    f"{unit}/{period}": Fraction(size) * times
    for unit, size in _BYTES.items()
    for period, times in (("month", Fraction(1)), ("day", Fraction(36525, 1200)))
}
_PLAIN = {"": 1}
# The units in which amounts are shown, the largest first; what ends alike is of one kind.
_SHOWN = (
    ("PiB", "TiB", "GiB", "MiB", "KiB", "B"),
    ("PB", "TB", "GB", "MB", "kB", "B"),
    ("Tbit/s", "Gbit/s", "Mbit/s", "kbit/s", "bit/s"),
    ("PB/month", "TB/month", "GB/month", "MB/month", "kB/month", "B/month"),
)
_QUANTITY = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([A-Za-z/]*)\s*")
CUSTOM = re.compile(r"CUSTOM_[A-Z0-9_]{1,60}")


@dataclass(frozen=True, slots=True)
class ResourceClass:
    """One kind of what hosts have: its key, its unit, and the units people may write."""

    key: str
    unit: str
    openstack: str
    written: Mapping[str, int | Fraction]
    example: str

    def parse(self, text: str | int | float, *, up: bool = False) -> int:
        """Return the amount that `text` names, in this class's unit; raise ValueError.

        What is no whole number of units is rounded down, or up where `up`: what is needed is
        rounded up and what is there is rounded down, so that rounding never makes room.
        """
        match = _QUANTITY.fullmatch(str(text))
        if match is None or match[2] not in self.written:
            raise ValueError(f"{str(text)[:80]!r} is no amount of {self.key}")
        exact = Fraction(match[1]) * self.written[match[2]]
        amount = -(-exact // 1) if up else exact // 1
        if amount > MOST:
            raise ValueError(f"{str(text)[:80]!r} is more {self.key} than there is anywhere")
        return int(amount)

    def exactly(self, amount: int) -> str:
        """Return `amount` as the files have it, so that `parse` gives the very same again."""
        fits = [unit for unit, size in self.written.items() if not amount % size]
        unit = max(fits, key=lambda unit: self.written[unit]) if amount else fits[0]
        return f"{Fraction(amount) / self.written[unit]} {unit}".rstrip()

    def format(self, amount: int, beside: int | None = None) -> str:
        """Return `amount` as people write it, to four digits or exactly where it is round.

        Bytes are shown in units of 1024, but in those of 1000 where only there they are round. What
        is round in neither is shown in those in which the amount is that it stands beside, if any.
        """
        if amount >= MOST_SHOWN:
            return _TOO_MUCH
        if self.written in (_CORES, _PLAIN):
            return f"{amount / self.written['']:.10g}"
        return self._best(amount, beside)[0]

    def estimate(self, amount: int, beside: int | None = None) -> str:
        """Return `amount`, which is an estimate, as people write it: three digits, rounded up.

        Units are as for `format`.
        """
        if amount >= MOST_SHOWN:
            return _TOO_MUCH
        unit = ""
        if self.written not in (_CORES, _PLAIN):
            text, exact = self._best(amount, beside)
            if exact:
                return text
            unit = text.rpartition(" ")[2]
        size = Decimal(int(self.written[unit]))
        exactly = Context(prec=3, rounding=ROUND_CEILING).divide(Decimal(amount), size)
        return f"{exactly:f} {unit}".rstrip()

    def _best(self, amount: int, beside: int | None) -> tuple[str, bool]:
        """Return `amount` in the kind of units to show it in, and whether it is that exactly."""
        shown = self._shown(amount)
        exact = next((one for one in shown if one[1]), None)
        if exact or beside is None:
            return exact or shown[0]
        alike = (
            one for one, (_, round_one) in zip(shown, self._shown(beside), strict=True) if round_one
        )
        return next(alike, shown[0])

    def _shown(self, amount: int) -> list[tuple[str, bool]]:
        """Return `amount` in each kind of units, and whether it is that exactly."""
        found = []
        for units in _SHOWN:
            if units[-1] in self.written:
                unit = next((one for one in units if abs(amount) >= self.written[one]), units[-1])
                value = Fraction(amount) / self.written[unit]
                number = f"{float(value):.4g}" if value < 1000 else str(round(value))
                found.append((f"{number} {unit}", Fraction(number) == value))
        return found


_KNOWN = (
    ResourceClass("cores", "milli-CPU", "VCPU", _CORES, "4, 1.5 or 500m"),
    ResourceClass("isolated_cores", "milli-CPU", "PCPU", _CORES, "4"),
    ResourceClass("memory", "bytes", "MEMORY_MB", _BYTES, "16 GiB"),
    ResourceClass("disk", "bytes", "DISK_GB", _BYTES, "2 TB"),
    ResourceClass("bandwidth", "bit/s", "NET_BW_EGR_KILOBIT_PER_SEC", _BITS, "1 Gbit/s"),
    ResourceClass("traffic", "bytes a month", "CUSTOM_TRAFFIC", _TRAFFIC, "50 TB/month"),
)
RESOURCES: Mapping[str, ResourceClass] = MappingProxyType({one.key: one for one in _KNOWN})

HOST_MUST_SAY = ("cores", "isolated_cores", "memory", "disk")
"""A host that does not say these has none. What else it does not say, the host does not limit."""


def resource(key: str) -> ResourceClass:
    """Return the class called `key`, also one of the estate's own; raise KeyError."""
    if CUSTOM.fullmatch(key):
        return ResourceClass(key, "", key, _PLAIN, "4")
    return RESOURCES[key]


def show(amounts: Amounts) -> str:
    """Return amounts in one line: `cores 4, memory 16 GiB`."""
    return ", ".join(f"{key} {resource(key).format(amounts[key])}" for key in sorted(amounts))
