"""Where a client is: by the registries' tables, and by the files an operator brings."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from commonfarm.redirector.client import Client, locate_client
from commonfarm.redirector.countries import COUNTRIES
from commonfarm.redirector.mirror_map import Override
from commonfarm.redirector.networks import Prefixes, normal
from commonfarm.redirector.places import NOWHERE, Place, Places, PlacesError
from tests.redirector.countries_of_tzdata import countries

MUNICH = (48.1, 11.6)
DOCUMENTATION = ip_address("203.0.113.9")


def database(file: Path, records: Mapping[str, Any], version: int = 6) -> Path:
    """Write a MaxMind DB file, and put it in place as geoipupdate does: by renaming."""
    writer = MMDBWriter(version, "Test", ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    fresh = file.with_suffix(".new")
    writer.to_db_file(str(fresh))
    return fresh.replace(file)


def city(**changes: Any) -> dict[str, Any]:
    location = {"latitude": MUNICH[0], "longitude": MUNICH[1], "accuracy_radius": 20}
    return {"country": {"iso_code": "DE"}, "location": location | changes}


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("193.0.6.139", "NL"),  # RIPE NCC
        ("131.188.12.211", "DE"),  # University of Erlangen
        ("164.73.68.1", "UY"),  # Universidad de la República
        ("200.160.2.3", "BR"),  # registro.br
        ("133.11.0.1", "JP"),  # University of Tokyo
        ("2001:67c:2e8:22::c100:68b", "NL"),  # RIPE NCC
        ("127.0.0.1", "ZZ"),
        ("10.1.2.3", "ZZ"),
        ("192.0.2.1", "ZZ"),
        ("2001:db8::1", "ZZ"),
        ("::1", "ZZ"),
        ("fe80::1%eth0", "ZZ"),
        ("::ffff:164.73.68.1", "UY"),
    ],
)
def test_without_any_file_the_country_is_the_registries_word(address: str, country: str) -> None:
    assert Places().find(normal(address)) == Place(country, 0, None)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        pytest.param(city(), Place("DE", 0, MUNICH), id="MaxMind City"),
        pytest.param(city(accuracy_radius=1000), Place("DE"), id="the middle of a country"),
        pytest.param(city(latitude=91.0), Place("DE"), id="beyond the pole"),
        pytest.param(city(latitude=float("nan")), Place("DE"), id="not a number"),
        pytest.param(city(latitude=0.0, longitude=0.0), Place("DE"), id="null island"),
        pytest.param(
            {"registered_country": {"iso_code": "FR"}}, Place("FR"), id="only registered there"
        ),
        pytest.param(
            {"autonomous_system_number": 680, "autonomous_system_organization": "DFN"},
            Place(NOWHERE, 680),
            id="MaxMind ASN",
        ),
        pytest.param({"country_code": "DE"}, Place("DE"), id="ip-location-db"),
        pytest.param(
            {"country_code": "DE", "latitude": MUNICH[0], "longitude": MUNICH[1]},
            Place("DE", 0, MUNICH),
            id="ip-location-db city",
        ),
        pytest.param(
            {"country": "Germany", "country_code": "DE", "asn": "AS680"},
            Place("DE", 680),
            id="IPinfo lite",
        ),
        pytest.param(
            {"country": "DE", "lat": "48.1", "lng": "11.6"},
            Place("DE", 0, MUNICH),
            id="IPinfo location",
        ),
        pytest.param({"country": {"iso_code": "ZZ"}, "asn": 1}, Place(NOWHERE, 1), id="ZZ"),
        pytest.param(
            {"country": ["DE"], "location": "x", "asn": 680}, Place(NOWHERE, 680), id="other types"
        ),
        pytest.param(
            {"country": "de", "asn": 2**32, "country_code": "FR"}, Place("FR"), id="out of range"
        ),
        pytest.param({"asn": True, "country_code": "FR"}, Place("FR"), id="true is no number"),
    ],
)
def test_the_fields_of_the_usual_files_are_known(
    tmp_path: Path, record: dict[str, Any], place: Place
) -> None:
    file = database(tmp_path / "a.mmdb", {"203.0.113.0/24": record})
    assert Places([file]).find(DOCUMENTATION) == place


def test_of_several_files_the_first_that_knows_a_thing_is_believed(tmp_path: Path) -> None:
    own = database(tmp_path / "own.mmdb", {"203.0.113.0/24": {"country_code": "AT"}}, 4)
    asn = database(tmp_path / "asn.mmdb", {"203.0.113.0/24": {"autonomous_system_number": 680}})
    bought = database(tmp_path / "city.mmdb", {"203.0.113.0/24": city(), "2001:db8::/32": city()})
    places = Places([own, asn, bought])
    assert places.find(DOCUMENTATION) == Place("AT", 680, MUNICH)
    assert places.find(ip_address("2001:db8::1")) == Place("DE", 0, MUNICH)
    assert places.find(ip_address("193.0.6.139")) == Place("NL")


def broken(tmp_path: Path) -> dict[str, Path]:
    whole = database(tmp_path / "whole.mmdb", {"203.0.113.0/24": city()}).read_bytes()
    contents = {
        "empty": b"",
        "text": b"no database\n" * 100,
        "cut": whole[: len(whole) // 2],
        "foreign": database(tmp_path / "f", {"203.0.113.0/24": {"connection": "dsl"}}).read_bytes(),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in [*contents, "missing"]} | {"folder": tmp_path}


def test_a_file_that_cannot_be_used_is_named_with_why(tmp_path: Path) -> None:
    texts = {}
    for name, file in broken(tmp_path).items():
        with pytest.raises(PlacesError) as caught:
            Places([file])
        texts[name] = str(caught.value)
        assert texts[name].startswith(f"{file} cannot be used to find places: ")
    assert texts["missing"].endswith("No such file or directory")
    assert texts["foreign"].endswith("neither country nor AS nor coordinates")


def test_a_replaced_file_is_taken_up_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    file = database(tmp_path / "a.mmdb", {"203.0.113.0/24": {"country_code": "DE"}})
    places = Places([file])
    assert places.reload() == ()
    database(file, {"203.0.113.0/24": {"country_code": "FR"}})
    assert places.find(DOCUMENTATION).country == "DE"
    assert places.reload() == ()
    assert places.find(DOCUMENTATION).country == "FR"
    (tmp_path / "bad").write_bytes(b"bad")
    (tmp_path / "bad").replace(file)
    [problem] = places.reload()
    assert problem.startswith(f"{file} cannot be used")
    assert places.reload() == ()  # told once
    assert places.find(DOCUMENTATION).country == "FR"
    file.unlink()
    assert len(places.reload()) == 1
    assert places.find(DOCUMENTATION).country == "FR"
    database(file, {"203.0.113.0/24": {"country_code": "AT"}})
    assert places.reload() == ()
    assert places.find(DOCUMENTATION).country == "AT"


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=1, max_value=255))
def test_a_damaged_file_is_refused_or_answers_with_something_that_fits(
    tmp_path_factory: pytest.TempPathFactory, at: int, change: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    if not (folder / "whole").exists():
        database(folder / "whole", {"203.0.113.0/24": city(), "2001:db8::/32": {"asn": 680}})
    data = bytearray((folder / "whole").read_bytes())
    data[at % len(data)] ^= change
    (folder / "a.mmdb").write_bytes(data)
    try:
        places = Places([folder / "a.mmdb"])
    except PlacesError:
        return
    for address in (DOCUMENTATION, ip_address("2001:db8::1"), ip_address("8.8.8.8")):
        country, as_number, point = places.find(address)
        assert len(country) == 2 and 0 <= as_number < 2**32
        assert point is None or (abs(point[0]) <= 90 and abs(point[1]) <= 180)


def test_who_asks_is_where_the_files_say_unless_somebody_knows_better(tmp_path: Path) -> None:
    record = city() | {"autonomous_system_number": 680}
    places = Places([database(tmp_path / "a.mmdb", {"203.0.113.0/24": record})])
    overrides = Prefixes([("203.0.113.0/28", Override("203.0.113.0/28", country="AT"))])

    def locate(address: str = "203.0.113.99", **said: Any) -> Client:
        return locate_client(normal(address), "https", places, overrides, **said)

    found = locate()
    assert found == Client(ip_address("203.0.113.99"), "DE", "https", 680, MUNICH)
    assert (found.network, found.region) == ("203.0.113.0/24", "europe")
    asked = locate(country="FR")
    assert (asked.country, asked.as_number, asked.point) == ("FR", 0, None)
    assert locate(country="DE") == found
    assert locate(country="xx") == locate(country="QQ") == locate(country="") == found
    assert locate(as_number=553).as_number == 553
    assert locate(country="FR", as_number=553).as_number == 553
    moved = locate("203.0.113.9")
    assert (moved.country, moved.as_number, moved.point) == ("AT", 680, None)
    assert locate("203.0.113.9", country="DE").country == "DE"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.77", "198.51.100.0/24"),
        ("::ffff:198.51.100.77", "198.51.100.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
    ],
)
def test_the_network_of_a_client_is_its_24_or_48(address: str, network: str) -> None:
    assert Client(normal(address)).network == network


def test_the_table_of_countries_is_that_of_tzdata() -> None:
    fresh = countries()
    assert set(fresh) - set(COUNTRIES) == set()
    for code, (_, region, latitude, longitude) in fresh.items():
        known = COUNTRIES[code]
        assert known.region == region, code
        assert abs(known.latitude - latitude) < 2 and abs(known.longitude - longitude) < 2, code


def test_every_country_has_a_continent() -> None:
    seven = ["africa", "antarctica", "asia", "europe", "north-america", "oceania", "south-america"]
    assert sorted({one.region for one in COUNTRIES.values()}) == seven
    assert Client(DOCUMENTATION).region == Client(DOCUMENTATION, "QQ").region == ""
