"""Countries as people write them, and whether a mirror is in the one that it names. No Django."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.redirector.countries import COUNTRIES
from commonfarm.redirector.networks import normal
from commonfarm.redirector.places import NOWHERE, Places, PlacesError

MEANT = {"UK": "GB", "EL": "GR"}
"""Codes that are in use, but not in ISO 3166."""


def country_code(text: str, field: str = "country") -> str:
    """Return the code of a country as it is kept, or raise BadInputError of `field`."""
    code = text.strip().upper()
    if code in COUNTRIES:
        return code
    names = {country.name.upper(): known for known, country in COUNTRIES.items()}
    meant = MEANT.get(code) or names.get(code, "")
    to_do = f"did you mean {meant}?" if meant else "write two letters, as in ISO 3166: DE"
    raise BadInputError(Problem(field, 0, 0, f"{text[:20]!r} is no country", to_do))


VAGUE = frozenset({NOWHERE, "EU"})
"""What the tables say of an address of which they know no country."""


def elsewhere(country: str, addresses: Iterable[str], files: Sequence[Path]) -> str:
    """Say in which country a mirror's addresses are if none is in `country`; empty if one is.

    By what the redirector itself knows of addresses: the tables that come with it, and `files`.
    """
    places = _places(tuple((file, _changed(file)) for file in files))
    found = {address: places.find(normal(address)).country for address in addresses}
    known = {address: code for address, code in found.items() if code not in VAGUE}
    if not known or country in known.values() or country in VAGUE:
        return ""
    address, code = min(known.items())
    name = COUNTRIES[code].name if code in COUNTRIES else code
    return f"its address {address} is in {name} ({code}), by the tables of countries here"


@lru_cache(maxsize=1)
def _places(files: tuple[tuple[Path, int], ...]) -> Places:
    try:
        return Places([file for file, _ in files])
    except PlacesError:  # of which `doctor` and the redirector tell
        return Places()


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
