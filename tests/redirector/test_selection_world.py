"""A world of mirrors in twenty countries: where clients of other countries go."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector.countries import COUNTRIES
from commonfarm.redirector.nearness import (
    EARTH_KM,
    UNKNOWN_BAND,
    band,
    distance_km,
    place_of,
    vector,
)
from commonfarm.redirector.selection import Selector
from tests.redirector.atlas import DEB, NOON, client, mirror, world

HOMES = [
    *("AR", "AU", "BR", "CA", "DE", "FR", "GB", "IN", "IT", "JP"),
    *("KE", "NZ", "PL", "RU", "SE", "SG", "TR", "TW", "US", "ZA"),
]
WORLD = Selector(world([mirror(home.lower(), home) for home in HOMES]))

GOES_TO = {
    "UY": "AR",
    "PY": "AR",
    "CL": "AR",
    "BO": "AR BR",
    "PE": "AR BR",
    "CO": "AR BR",
    "FK": "AR",
    "MX": "CA US",
    "CU": "CA US",
    "PA": "US",
    "PR": "CA US",
    "BM": "CA US",
    "GL": "CA US",
    "IE": "GB",
    "IS": "DE FR GB SE",
    "NO": "SE",
    "FI": "SE",
    "EE": "SE",
    "UA": "PL",
    "BY": "PL",
    "RO": "TR",
    "GR": "TR",
    "CY": "TR",
    "XK": "IT TR",
    "ES": "FR",
    "PT": "FR GB",
    "CH": "FR",
    "AT": "DE PL",
    "CZ": "DE",
    "BE": "FR GB",
    "EU": "FR GB",
    "MA": "FR",
    "DZ": "IT",
    "TN": "IT",
    "EG": "TR",
    "NG": "KE ZA",
    "ET": "KE",
    "TZ": "KE",
    "MZ": "ZA",
    "ZW": "ZA",
    "MG": "KE ZA",
    "IL": "TR",
    "IQ": "TR",
    "IR": "IN RU TR",
    "AE": "IN",
    "GE": "RU TR",
    "KZ": "IN",
    "PK": "IN",
    "BD": "IN",
    "NP": "IN",
    "LK": "IN",
    "CN": "TW",
    "HK": "TW",
    "KR": "JP TW",
    "VN": "SG",
    "TH": "IN SG",
    "MY": "SG",
    "ID": "SG",
    "PH": "TW",
    "PG": "AU",
    "FJ": "NZ",
    "WS": "NZ",
    "AQ": "AU NZ",
}


def nearest(country: str) -> set[str]:
    """The countries between which weight and network decide."""
    ranked = WORLD.explain(DEB, client(country), NOON, {}).ranked
    share = ranked[0].share
    assert share is not None
    return {one.mirror.country for one in ranked[: round(1 / share)]}


@pytest.mark.parametrize("country", [*GOES_TO])
def test_a_country_without_a_mirror_goes_to_those_near_it(country: str) -> None:
    assert " ".join(sorted(nearest(country))) == GOES_TO[country]


@pytest.mark.parametrize("country", HOMES)
def test_a_country_with_a_mirror_stays_at_home(country: str) -> None:
    assert nearest(country) == {country}


@pytest.mark.parametrize("country", ["ZZ", "QQ"])
def test_whoever_is_nowhere_goes_anywhere(country: str) -> None:
    assert nearest(country) == set(HOMES)


def test_nobody_is_sent_past_the_date_line_the_long_way() -> None:
    nome, anadyr = (64.5, -165.4), (64.73, 177.51)
    selector = Selector(
        world(
            [
                mirror("anadyr", "RU", latitude=anadyr[0], longitude=anadyr[1]),
                mirror("toronto", "CA"),
                mirror("moscow", "RU"),
            ]
        )
    )
    ranked = selector.explain(DEB, client("GL", point=nome), NOON, {}).ranked
    assert [one.mirror.name for one in ranked] == ["anadyr", "toronto", "moscow"]
    assert ranked[0].distance_km == pytest.approx(817, abs=5)
    back = Selector(world([mirror("nome", "US", latitude=nome[0], longitude=nome[1])]))
    found = back.choose(DEB, client("RU", point=anadyr), NOON, {}).ranked[0]
    assert found.distance_km == ranked[0].distance_km


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((52.52, 13.405), (48.137, 11.575), 504),
        ((-34.9, -56.16), (-34.6, -58.38), 206),
        ((51.5, -0.12), (-33.87, 151.21), 16_994),
        ((90, 0), (-90, 123), math.pi * EARTH_KM),
        ((0, 0), (0, 180), math.pi * EARTH_KM),
        ((-52, 64), (52, 244), math.pi * EARTH_KM),  # by rounding further apart than can be
        ((90, 0), (90, 77), 0),
        ((10, -180), (10, 180), 0),
        ((48.1, 11.6), (48.1, 11.6), 0),
    ],
)
def test_distances_are_great_circles(
    one: tuple[float, float], other: tuple[float, float], km: float
) -> None:
    assert distance_km(vector(*one), vector(*other)) == pytest.approx(km, rel=0.005, abs=0.01)


@settings(deadline=None)
@given(
    *[st.tuples(st.floats(-90, 90), st.floats(-180, 180))] * 2,
    st.floats(-1000, 1000),
)
def test_distances_are_the_same_wherever_zero_is(
    one: tuple[float, float], other: tuple[float, float], turn: float
) -> None:
    km = distance_km(vector(*one), vector(*other))
    assert 0 <= km <= math.pi * EARTH_KM + 0.01
    turned = (vector(one[0], one[1] + turn), vector(other[0], other[1] + turn))
    assert distance_km(*turned) == pytest.approx(km, abs=0.01)
    assert distance_km(vector(*other), vector(*one)) == km
    assert band(vector(*one), vector(*other), True) <= band(vector(*one), vector(*other), False)


def test_bands_grow_by_half_and_another_continent_counts_double() -> None:
    origin = vector(0, 0)

    def at(km: float) -> tuple[float, float, float]:
        return vector(0, math.degrees(km / EARTH_KM))

    near = [band(origin, at(km), True) for km in (0, 499, 501, 749, 751, 1124, 1126, 20_015)]
    assert near == [0, 0, 1, 1, 2, 2, 3, 10]
    far = [band(origin, at(km), False) for km in (0, 249, 251, 374, 376, 20_015)]
    assert far == [0, 0, 1, 1, 2, 11]
    assert far[-1] < UNKNOWN_BAND
    every = [band(origin, at(km), False) for km in range(0, 20_016, 5)]
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(every))


def test_every_country_has_a_place_and_what_is_none_has_none() -> None:
    assert all(place_of(code) is not None for code in COUNTRIES)
    assert place_of("ZZ") is None
