"""How far a mirror is from a client: great circles, in bands.

Distances are compared by bands, each half again as far as the one before (mirrorbits takes all
within 1.5 times the closest): what lies in one band is equally near, and weight decides. The bands
stand fixed and do not begin at the closest mirror, so that whether two mirrors are equals depends
on no third one: when one is lost, nobody but its own clients moves. Within the first band, 500 km,
light in fibre takes 5 ms there and back, and a country's main city stands for its people well
enough.

Another continent counts as twice as far: cables there are few and full. It is not ranked behind all
of one's own, or Morocco would be sent past Spain to South Africa.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache

from commonfarm.redirector.countries import COUNTRIES

EARTH_KM = 6371.0088
"""The mean radius (IUGG)."""
FIRST_BAND_KM = 500.0
BAND_RATIO = 1.5
OTHER_REGION = 2.0

Vector = tuple[float, float, float]
"""A place as a point of the unit sphere: there, nothing wraps."""


def vector(latitude: float, longitude: float) -> Vector:
    """Return the place at `latitude` and `longitude` (degrees)."""
    phi, lam = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)


@lru_cache(maxsize=1024)
def place_of(country: str) -> Vector | None:
    """Return where a country's main city is; None for one that there is not."""
    found = COUNTRIES.get(country)
    return vector(found.latitude, found.longitude) if found else None


def distance_km(one: Vector, other: Vector) -> float:
    """Return the great-circle distance in km, by the chord: exact near and far."""
    half = math.dist(one, other) / 2
    return 2 * EARTH_KM * math.asin(min(1.0, half))


def _edges(factor: float) -> list[float]:
    """Return the bands' ends as squares of chords, for distances that count `factor` times."""
    edges = []
    end = FIRST_BAND_KM / factor
    while end < math.pi * EARTH_KM:
        edges.append((2 * math.sin(end / EARTH_KM / 2)) ** 2)
        end *= BAND_RATIO
    return edges


_SAME_REGION = _edges(1.0)
_OTHER_REGION = _edges(OTHER_REGION)
UNKNOWN_BAND = len(_OTHER_REGION) + 1
"""Behind all others: where one of the two is, nobody knows."""


def band(one: Vector, other: Vector, same_region: bool) -> int:
    """Return the band of the distance, 0 the nearest."""
    x, y, z = one[0] - other[0], one[1] - other[1], one[2] - other[2]
    return bisect_right(_SAME_REGION if same_region else _OTHER_REGION, x * x + y * y + z * z)
