"""Makes `redirector/countries.py` from the public-domain tables of tzdata.

    python tests/redirector/countries_of_tzdata.py > src/commonfarm/redirector/countries.py
    ruff format src/commonfarm/redirector/countries.py

A country stands where its first zone in `zone.tab` is, which most often is that of its capital;
`STANDS_FOR` names another one where that is an island or an edge. Its region is the continent of
that zone's name; `REGIONS` says it for oceans, for America, and where the name misleads.
"""

from __future__ import annotations

import re
from pathlib import Path

TABLES = Path("/usr/share/zoneinfo")

STANDS_FOR = {
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "RU": "Europe/Moscow",
    "UA": "Europe/Kyiv",
    "US": "America/Chicago",
    "UZ": "Asia/Tashkent",
}
REGIONS = {
    "south-america": "AR BO BR CL CO EC FK GF GS GY PE PY SR UY VE",
    "africa": "CV IO KM MG MU RE SC SH YT",
    "antarctica": "AQ BV HM TF",
    "asia": "MV",
    "europe": "CY FO IS SJ",
    "north-america": "BM",
    "oceania": "CC CX",
}
BY_AREA = {
    "Africa": "africa",
    "America": "north-america",
    "Asia": "asia",
    "Australia": "oceania",
    "Europe": "europe",
    "Pacific": "oceania",
}
LACKING = {
    "BV": (-54.42, 3.36),
    "EU": (50.83, 4.33),
    "HM": (-53.1, 73.52),
    "XK": (42.67, 21.17),
}
NAMES = {"EU": "European Union", "XK": "Kosovo"}

HEAD = '''"""Where countries are: facts from the tables of tzdata, which are in the public domain.

Made by tests/redirector/countries_of_tzdata.py.

A country is a point: its capital or largest city, for which its zone in tzdata is named. A country
of two continents is on that of this point (Russia and Turkey are in Europe, Egypt is in Africa,
Kazakhstan is in Asia); Cyprus is in Europe. `EU` is what registries write of networks all over
Europe, `XK` is Kosovo.
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """Name, region (a continent), and latitude and longitude in degrees of its main city."""

    name: str
    region: str
    latitude: float
    longitude: float


COUNTRIES = {
    code: Country(name, region, latitude, longitude)
    for code, name, region, latitude, longitude in (
'''


def rows(file: str) -> list[list[str]]:
    lines = (TABLES / file).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def degrees(text: str) -> float:
    """Read ±DDMM, ±DDDMM, ±DDMMSS or ±DDDMMSS."""
    found = re.fullmatch(r"([+-])(\d{2,3})(\d\d)(\d\d)?", text)
    assert found is not None, text
    sign, whole, minutes, seconds = found.groups()
    size = int(whole) + int(minutes) / 60 + int(seconds or 0) / 3600
    return round(-size if sign == "-" else size, 2)


def countries() -> dict[str, tuple[str, str, float, float]]:
    """Return name, region, latitude and longitude by code."""
    zones: dict[str, dict[str, str]] = {}
    for code, place, zone, *_ in rows("zone.tab"):
        zones.setdefault(code, {})[zone] = place
    regions = {code: region for region, codes in REGIONS.items() for code in codes.split()}
    names = dict(rows("iso3166.tab")) | NAMES
    found = {}
    for code, name in sorted(names.items()):
        if code in LACKING:
            latitude, longitude = LACKING[code]
            region = regions.get(code, "europe")
        else:
            zone = STANDS_FOR.get(code) or next(iter(zones[code]))
            parts = re.fullmatch(r"([+-]\d+)([+-]\d+)", zones[code][zone])
            assert parts is not None, zone
            latitude, longitude = degrees(parts[1]), degrees(parts[2])
            region = regions.get(code) or BY_AREA[zone.partition("/")[0]]
        found[code] = (name, region, latitude, longitude)
    return found


if __name__ == "__main__":
    print(HEAD, end="")
    for code, row in countries().items():
        print(f"        {(code, *row)!r},")
    print("    )\n}")
