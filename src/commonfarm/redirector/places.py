"""Where an address is: its country, AS and coordinates, as far as anything here knows them.

The country comes from the tables of the registries that `iptocc` carries. Files in the MaxMind DB
format that the operator brings (https://maxmind.github.io/MaxMind-DB/) are believed before it, and
are the only source of AS and coordinates. The names of fields are those of MaxMind, DB-IP, IPinfo
and ip-location-db.

They are read by the reader in Python, and not through a mapping: the one in C was seen to crash on
a damaged file, and a mapped file that is cut short under us is a crash, too. It takes 0.1 ms, once
for a client.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import iptocc

from commonfarm.redirector.mirror_map import mark_of
from commonfarm.redirector.networks import Address

if TYPE_CHECKING:
    import maxminddb

NOWHERE = "ZZ"
"""The country of an address that has none (private, loopback, unassigned)."""

VAGUE_KM = 500
"""Coordinates that may be further off than this are a country's middle, not a place."""
SAMPLED = 1000

_DAMAGE = (ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, struct.error)
"""What the reader is seen to raise on a file that is none, or damaged."""

_COUNTRY = re.compile(r"[A-Z]{2}")


class PlacesError(ValueError):
    """A file cannot be used; the text names it and says why."""


class Place(NamedTuple):
    """What is known of an address: `ZZ`, 0 and None where nothing is."""

    country: str = NOWHERE
    as_number: int = 0
    point: tuple[float, float] | None = None


@dataclass(slots=True)
class _Source:
    file: Path
    seen: tuple[int, ...]
    reader: maxminddb.Reader


class Places:
    """Finds the place of an address. Of several files the first that knows a thing is believed.

    PlacesError when one of them cannot be used.
    """

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self._sources = [_open(file) for file in files]

    def find(self, address: Address) -> Place:
        """Return what is known of `address`."""
        country, as_number, point = "", 0, None
        for source in self._sources:
            record = _get(source, address)
            country = country or _country(record)
            as_number = as_number or _as_number(record)
            point = point or _point(record)
        if not country:
            country = iptocc.country_code(str(address)) or NOWHERE
        return Place(sys.intern(country), as_number, point)

    def reload(self) -> tuple[str, ...]:
        """Take up files that were replaced.

        Of one that cannot be used the old one stays, and its problem is returned, once.
        """
        problems = []
        fresh = []
        for source in self._sources:
            seen = mark_of(source.file)
            if seen != source.seen:
                try:
                    source = _open(source.file)
                except PlacesError as error:
                    source = _Source(source.file, seen, source.reader)
                    problems.append(str(error))
            fresh.append(source)
        self._sources = fresh
        return tuple(problems)


def _open(file: Path) -> _Source:
    import maxminddb  # 3 MB, which most redirectors never need

    seen = mark_of(file)
    try:
        reader = maxminddb.open_database(file, maxminddb.MODE_FILE)
        known = any(_known(record) for _, record in islice(reader, SAMPLED))
    except OSError as error:
        raise PlacesError(f"{file} cannot be used to find places: {error.strerror}") from None
    except _DAMAGE as error:
        raise PlacesError(f"{file} cannot be used to find places: {error}") from None
    if not known:
        raise PlacesError(
            f"{file} cannot be used to find places: it tells neither country nor AS nor coordinates"
        )
    return _Source(file, seen, reader)


def _get(source: _Source, address: Address) -> Any:
    try:
        return source.reader.get(address)
    except (OSError, *_DAMAGE):
        return None  # what cannot be read says nothing, nor does a file of IPv4 only of IPv6


def _known(record: Any) -> bool:
    return bool(_country(record) or _as_number(record) or _point(record))


def _country(record: Any) -> str:
    if not isinstance(record, Mapping):
        return ""
    for key in ("country", "country_code", "registered_country"):
        found = record.get(key)
        if isinstance(found, Mapping):
            found = found.get("iso_code")
        if isinstance(found, str) and _COUNTRY.fullmatch(found) and found != NOWHERE:
            return found
    return ""


def _as_number(record: Any) -> int:
    if not isinstance(record, Mapping):
        return 0
    found = record.get("autonomous_system_number", record.get("asn"))
    if isinstance(found, str) and re.fullmatch(r"(?:AS)?[0-9]{1,10}", found):
        found = int(found.removeprefix("AS"))
    return found if type(found) is int and 0 < found < 2**32 else 0


def _point(record: Any) -> tuple[float, float] | None:
    if not isinstance(record, Mapping):
        return None
    place = record.get("location", record)
    if not isinstance(place, Mapping):
        return None
    try:
        if float(place.get("accuracy_radius", 0)) > VAGUE_KM:
            return None
        latitude = float(place.get("latitude", place.get("lat")))
        longitude = float(place.get("longitude", place.get("lng")))
    except (TypeError, ValueError):
        return None
    fits = abs(latitude) <= 90 and abs(longitude) <= 180  # NaN is not
    return (latitude, longitude) if fits and (latitude or longitude) else None
