"""The short way chooses as the long one does, and names what it chose in the same words."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.redirector import redirects
from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import Answers, File, Mirror
from commonfarm.redirector.redirects import Redirects, Route
from commonfarm.redirector.request import escaped
from commonfarm.redirector.selection import Selector, below
from tests.redirector.wire import NOW, redirector
from tests.redirector.world import file_of, mirror, tree_of

COUNTRIES = ["DE", "FR", "US", "JP", "BR"]
MANY = [
    *(mirror(f"m{number}", country=COUNTRIES[number % 5]) for number in range(300)),
    mirror("s", https="https://s.example.org/", http="", answers=Answers.HTTPS4),
]
FEW = [
    *(mirror(f"m{number}", country=COUNTRIES[number % 5]) for number in range(9)),
    mirror("part", country="DE", subtree="sub"),
    mirror("small", country="DE", budget_bytes=5000),
    mirror("other", tree="ä tree", http="http://other.example.org/"),
]
SETS = [0, 1, 0b1010101, (1 << 60) - 1, 1 << 299, (1 << 301) - 1, (1 << 301) - (1 << 280)]
CLIENTS = st.builds(
    Client,
    st.integers(0, 2**24 - 1).map(lambda number: ip_address(number << 8)),
    st.sampled_from([*COUNTRIES, "ZZ"]),
    st.sampled_from(["http", "https"]),
)


def table_of(home: Path, mirrors: list[Mirror], sets: list[int]) -> Redirects:
    everybody = (1 << len(mirrors)) - 1
    files = {
        f"demo/{folder}{number}": File(100 * number, b"\x05" * 32, False, bits & everybody)
        for number, bits in enumerate(sets)
        for folder in ("", "sub/")
    }
    if any(one.tree != "demo" for one in mirrors):
        files["ä tree/x"] = file_of(b"x", len(mirrors) - 1)
    made = redirector(home, mirrors, files, trees=[tree_of()]).redirects
    made.now = int(NOW)
    return made


@pytest.fixture(scope="module", params=[MANY, FEW], ids=["many", "few"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Redirects:
    return table_of(tmp_path_factory.mktemp("edge"), request.param, SETS)


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(CLIENTS, st.integers(0, 6000), st.lists(st.integers(0, len(SETS) - 1), max_size=4))
def test_it_finds_what_selection_chooses(
    table: Redirects, client: Client, spent: int, numbers: list[int]
) -> None:
    table.spent["small"] = spent
    route, selector = Route(client), Selector(table.map)
    paths = [f"demo/{folder}{number}" for number in numbers for folder in ("", "sub/")]
    if "ä tree" in table.map.trees:
        paths.insert(len(paths) // 2, "ä tree/x")
    for path in paths:
        choice = selector.choose(path, client, NOW, table.spent)
        found = table.find(os.fsencode(path), route)
        assert [one.number for one in choice.ranked] == list(found[1] if found else ())
        if found is None:
            continue
        said = redirects.lines(b"", found, escaped(os.fsencode(path)), b"http://o")
        inside = path.partition("/")[2]
        expected = [
            f"<{one.base}{below(one.mirror, inside)}>; rel=duplicate; pri={place};"
            f" geo={one.mirror.country.lower()}"
            for place, one in enumerate(choice.ranked, 1)
        ]
        lines = said.decode().split("\r\n")
        assert lines[0] == choice.ranked[0].base + below(choice.ranked[0].mirror, inside)
        links = [line.removeprefix("Link: ") for line in lines if line.startswith("Link: ")]
        assert links[:-1] == expected
        shown = escaped(os.fsencode(path)).decode()
        assert links[-1].startswith(f"<http://o/{shown}.meta4>; rel=describedby; ")
        bare = redirects.lines(b"", found, escaped(os.fsencode(path)), b"")
        assert bare.decode() == said.decode().replace(f"Link: {links[-1]}\r\n", "")


def test_clients_of_one_network_share_their_way(table: Redirects) -> None:
    one = Route(Client(ip_address("192.0.2.1"), "DE"))
    other = Route(Client(ip_address("192.0.2.99"), "DE"))
    assert table.way(one, b"demo") is table.way(other, b"demo")
    far = Route(Client(ip_address("192.0.2.99"), "US"))
    assert table.way(far, b"demo") is not table.way(one, b"demo")
