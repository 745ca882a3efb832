"""Countries as people write them. No Django."""

from __future__ import annotations

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.redirector.countries import COUNTRIES

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
