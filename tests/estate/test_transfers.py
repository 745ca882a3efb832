"""How long a mass rebuild's copies take through one link."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from commonfarm.estate.answers.transfers import TransferAhead, seconds, transfers_ahead
from tests.estate.futures import transfer
from tests.estate.making import facts, host

GB = 10**9
GBIT = 10**9


def ahead(hosts: int, within: int | None = 1800) -> TransferAhead:
    machines = [host(f"h{n}", site="phx2") for n in range(hosts)]
    rebuild = transfer((100, 150, 200), 2 * GB, GBIT, within)
    (found,) = transfers_ahead(facts(*machines, transfers=(rebuild,)), date(2012, 1, 1))
    return found


def test_200_buildroots_of_2_gb_through_1_gbit_take_53_minutes() -> None:
    assert seconds(200, 2 * GB, GBIT) == 3200
    assert int(seconds(200, 2 * GB, GBIT) / 60) == 53


def test_what_a_second_link_and_caches_change() -> None:
    at_high = {str(way.remedy): way for way in ahead(50).ways if way.level == "high"}
    assert {remedy: (way.copies, int(way.seconds)) for remedy, way in at_high.items()} == {
        "as it is": (200, 3200),
        "a second link": (200, 1600),
        "a cache on each host": (50, 800),
        "a cache at each site": (1, 16),
    }
    fits = {remedy: way.fits for remedy, way in at_high.items()}
    assert fits == {
        "as it is": False,
        "a second link": True,
        "a cache on each host": True,
        # One copy crosses the link, but the cache hands on 200 by one like it.
        "a cache at each site": False,
    }
    assert at_high["a cache at each site"].handed_on == 3200
    assert {way.handed_on for way in at_high.values()} == {None, 3200}


def test_caches_at_several_sites_share_what_is_to_be_handed_on() -> None:
    machines = [host(f"h{n}", site=f"site-{n}") for n in range(3)]
    rebuild = transfer((100, 150, 200), 2 * GB, GBIT, 1800)
    (found,) = transfers_ahead(facts(*machines, transfers=(rebuild,)), date(2012, 1, 1))
    ways = [way for way in found.ways if way.remedy == "a cache at each site"]
    assert [(way.level, way.copies, int(way.handed_on or 0)) for way in ways] == [
        ("low", 3, 34 * 16),
        ("likely", 3, 50 * 16),
        ("high", 3, 67 * 16),
    ]
    assert all(way.fits for way in ways)


def test_a_cache_on_each_host_is_none_where_each_host_takes_one_copy() -> None:
    ways = {(way.remedy, way.level): way.copies for way in ahead(500).ways}
    assert ways["a cache on each host", "high"] == 200


def test_what_the_wished_time_takes_of_the_link() -> None:
    found = ahead(50)
    # 200 * 2 GB * 8 / 1800 s, rounded up.
    assert found.needed == {"low": 888888889, "likely": 1333333334, "high": 1777777778}
    assert found.links == {"low": 1, "likely": 2, "high": 2}
    assert Fraction(200 * 2 * GB * 8, found.needed["high"]) <= 1800
    exact = ahead(50, within=1600)
    assert exact.needed["high"] == 2 * GBIT
    assert exact.links["high"] == 2


def test_without_a_wished_time_nothing_fits_or_not() -> None:
    found = ahead(0, within=None)
    assert {way.fits for way in found.ways} == {None}
    assert (found.needed, found.links) == ({}, {})
    assert "a cache on each host" not in {way.remedy for way in found.ways}
