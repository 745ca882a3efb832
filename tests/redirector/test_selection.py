"""Which mirror, and why not the others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.redirector.mirror_map import File, Mirror, MirrorMap
from commonfarm.redirector.selection import (
    Client,
    Why,
    changes_in_place,
    choose,
    explain,
    rank,
)
from tests.redirector.world import map_of, mirror

GERMAN = Client(ip_address("192.0.2.7"), "DE")
DEB = "demo/pool/a.deb"


def one_file(*mirrors: Mirror, having: set[int] | None = None) -> MirrorMap:
    numbers = set(range(len(mirrors))) if having is None else having
    return map_of(mirrors, {"pool/a.deb": File(10, frozenset(numbers))})


@pytest.mark.parametrize(
    ("mirrors", "client", "chosen", "left_out"),
    [
        pytest.param(
            [mirror("fr", country="FR"), mirror("de")], GERMAN, "de", {}, id="own country first"
        ),
        pytest.param([mirror("fr", country="FR")], GERMAN, "fr", {}, id="then any country"),
        pytest.param(
            [mirror("de", problem="disabled"), mirror("fr", country="FR")],
            GERMAN,
            "fr",
            {"de": Why.OUT_OF_SERVICE},
            id="out of service",
        ),
        pytest.param(
            [mirror("de"), mirror("fr", country="FR", url="https://fr.example.org/")],
            replace(GERMAN, scheme="https"),
            "fr",
            {"de": Why.INSECURE},
            id="https is never downgraded",
        ),
        pytest.param(
            [mirror("tls", url="https://tls.example.org/"), mirror("plain")],
            GERMAN,
            "plain",
            {},
            id="http first for a client that came by http",
        ),
        pytest.param(
            [mirror("tls", url="https://tls.example.org/"), mirror("fr", country="FR")],
            GERMAN,
            "tls",
            {},
            id="but the country goes first",
        ),
        pytest.param(
            [mirror("six", families=frozenset({6})), mirror("four", families=frozenset({4}))],
            GERMAN,
            "four",
            {"six": Why.OTHER_FAMILY},
            id="an IPv4 client",
        ),
        pytest.param(
            [mirror("six", families=frozenset({6})), mirror("four", families=frozenset({4}))],
            Client(ip_address("2001:db8::1"), "DE"),
            "six",
            {"four": Why.OTHER_FAMILY},
            id="an IPv6 client",
        ),
        pytest.param(
            [mirror("here", local=True), mirror("fr", country="FR")],
            GERMAN,
            "fr",
            {"here": Why.LOCAL_ONLY},
            id="a loopback mirror is for loopback clients",
        ),
        pytest.param(
            [mirror("here", local=True)],
            Client(ip_address("127.0.0.1")),
            "here",
            {},
            id="and they get it",
        ),
        pytest.param([mirror("other", tree="else")], GERMAN, None, {}, id="another tree's mirror"),
    ],
)
def test_who_is_chosen(
    mirrors: list[Mirror], client: Client, chosen: str | None, left_out: dict[str, Why]
) -> None:
    numbers = frozenset(n for n, one in enumerate(mirrors) if one.tree == "demo")
    the_map = map_of(mirrors, {"pool/a.deb": File(10, numbers)})
    choice = choose(the_map, DEB, client)
    assert (choice.mirror.name if choice.mirror else None) == chosen
    assert {one.name: reason.code for one, reason in choice.excluded} == left_out


def test_a_mirror_without_the_file_is_not_chosen_and_explain_says_so() -> None:
    the_map = one_file(mirror("one"), mirror("two"), having={1})
    choice = explain(the_map, DEB, GERMAN)
    assert choice.mirror is not None and choice.mirror.name == "two"
    [(left_out, reason)] = choice.excluded
    assert (left_out.name, reason.code) == ("one", Why.MISSING)
    assert reason.lifted_by == "its next scan"


def test_without_any_mirror_we_serve_and_say_why() -> None:
    choice = explain(one_file(mirror("one", problem="down: no answer")), DEB, GERMAN)
    assert (choice.mirror, choice.reason.code) == (None, Why.NO_MIRROR)
    assert str(choice.excluded[0][1]) == "down: no answer; a scan that finds it well again"


def test_a_file_no_scan_knows_is_served_by_ourselves() -> None:
    choice = explain(one_file(mirror("one")), "demo/pool/new.deb", GERMAN)
    assert (choice.mirror, choice.reason.code) == (None, Why.NOT_IN_MAP)
    assert [reason.code for _, reason in choice.excluded] == [Why.MISSING]


@pytest.mark.parametrize(
    ("path", "in_place"),
    [
        ("demo/dists/bookworm/InRelease", True),
        ("demo/dists/bookworm/Release", True),
        ("demo/dists/bookworm/Release.gpg", True),
        ("demo/dists/bookworm/main/binary-amd64/Packages.xz", True),
        ("demo/dists/bookworm/main/binary-amd64/by-hash/SHA256/00ff", False),
        ("demo/dists/bookworm/by-hash/InRelease", False),
        ("demo/flat/Packages", True),
        ("demo/flat/Packages.gz", True),
        ("demo/flat/Sources.zst", True),
        ("demo/rpm/repodata/repomd.xml", True),
        ("demo/rpm/repodata/repomd.xml.asc", True),
        ("demo/rpm/repodata/00ff-primary.xml.gz", False),
        ("demo/flat/Translation-en.bz2", True),
        ("demo/pool/main/r/release/Release-notes_1_all.deb", False),
        ("demo/pool/main/h/hello/hello_2.10-3_amd64.deb", False),
        ("demo/iso/InRelease.iso", False),
    ],
)
def test_what_changes_in_place_is_never_redirected(path: str, in_place: bool) -> None:
    assert changes_in_place(path) is in_place
    the_map = map_of([mirror("one")], {path.removeprefix("demo/"): File(1, frozenset({0}))})
    assert (choose(the_map, path, GERMAN).mirror is None) is in_place


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
clients = st.builds(
    Client, addresses, st.sampled_from(["DE", "FR", "ZZ"]), st.sampled_from(["http", "https"])
)
many = st.lists(
    st.builds(
        lambda number, country, families, local, problem, scheme: mirror(
            f"m{number}",
            country=country,
            families=families,
            local=local,
            problem=problem,
            url=f"{scheme}://m{number}.example.org/",
        ),
        st.integers(),
        st.sampled_from(["DE", "FR"]),
        st.frozensets(st.sampled_from([4, 6])),
        st.booleans(),
        st.sampled_from(["", "disabled"]),
        st.sampled_from(["http", "https"]),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(many, clients, st.sets(st.integers(min_value=0, max_value=7)))
def test_whatever_the_mirrors_no_client_is_sent_where_it_cannot_go(
    mirrors: list[Mirror], client: Client, having: set[int]
) -> None:
    numbers = {number for number in having if number < len(mirrors)}
    the_map = one_file(*mirrors, having=numbers)
    choice = explain(the_map, DEB, client)
    for chosen in choice.mirrors:
        assert chosen in [mirrors[number] for number in numbers]
        assert not chosen.problem
        assert client.address.version in chosen.families
        assert client.address.is_loopback or not chosen.local
        assert client.scheme == "http" or chosen.scheme == "https"
    names = [one.name for one in choice.mirrors] + [one.name for one, _ in choice.excluded]
    assert len(names) == len(set(names))
    if len(choice.mirrors) < 5:
        assert set(names) == {one.name for one in mirrors}
    assert choose(the_map, DEB, client).mirrors == choice.mirrors
    if client.country != "ZZ":
        at_home = [one.country == client.country for one in choice.mirrors]
        assert at_home == sorted(at_home, reverse=True)


@given(st.integers(min_value=0, max_value=255), st.integers(min_value=0, max_value=255))
def test_one_network_stays_on_one_mirror(first: int, second: int) -> None:
    the_map = one_file(*(mirror(f"m{number}") for number in range(6)))
    order = {
        rank(the_map, "demo", Client(ip_address(f"198.51.100.{last}"), "DE")).order
        for last in (first, second)
    }
    assert len(order) == 1


def test_networks_spread_over_equals_and_losing_one_moves_only_its_own() -> None:
    names = [f"m{number}" for number in range(5)]
    the_map = one_file(*map(mirror, names))
    without = one_file(*(mirror(name, problem="disabled" * (name == "m2")) for name in names))
    before, counts = {}, dict.fromkeys(names, 0)
    for number in range(1000):
        client = Client(ip_address(f"10.{number // 250}.{number % 250}.9"), "DE")
        chosen = choose(the_map, DEB, client).mirror
        assert chosen is not None
        before[number] = chosen.name
        counts[chosen.name] += 1
        now = choose(without, DEB, client).mirror
        assert now is not None
        assert now.name == chosen.name or chosen.name == "m2"
    assert min(counts.values()) > 140
