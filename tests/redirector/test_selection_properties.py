"""What holds of the choice whatever the mirrors and the clients are."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import Answers, File, Mirror, Override
from commonfarm.redirector.ranking import Ranking
from commonfarm.redirector.reasons import Tier
from commonfarm.redirector.selection import Selector
from tests.redirector.atlas import DEB, NOON, client, file, mirror, world

COUNTRIES = ["DE", "FR", "US", "UY", "QQ"]
NETWORKS = ["203.0.113.0/24", "203.0.0.0/16", "203.0.113.64/26", "2001:db8::/32", "2001:db8::8/125"]

networks = st.lists(st.sampled_from(NETWORKS), max_size=2, unique=True).map(tuple)
addresses = st.one_of(
    st.integers(0, 255).map(lambda last: IPv4Address(f"203.0.113.{last}")),
    st.sampled_from([IPv4Address("127.0.0.1"), IPv4Address("203.0.9.1"), IPv4Address("9.9.9.9")]),
    st.integers(0, 15).map(lambda last: IPv6Address(f"2001:db8::{last:x}")),
    st.just(IPv6Address("::1")),
)
clients = st.builds(
    Client,
    addresses,
    st.sampled_from([*COUNTRIES, "ZZ"]),
    st.sampled_from(["http", "https"]),
    st.sampled_from([0, 680, 64500]),
    st.sampled_from([None, (48.1, 11.6), (-34.9, -56.2), (64.5, -165.4)]),
)
answers = st.integers(0, 15).map(Answers)
mirrors = st.lists(
    st.builds(
        lambda number, country, **changes: mirror(f"m{number}", country, **changes),
        st.integers(0, 99),
        st.sampled_from(COUNTRIES),
        answers=st.one_of(st.just(Answers(15)), answers),
        as_number=st.sampled_from([0, 0, 680]),
        prefixes=st.one_of(st.just(()), networks),
        only_countries=st.sampled_from([(), (), (), ("DE",), ("UY", "US")]),
        only_networks=st.one_of(st.just(()), st.just(()), networks),
        weight=st.sampled_from([1, 100, 1000]),
        budget_bytes=st.sampled_from([0, 0, 100, 10**9]),
        local=st.sampled_from([False, False, False, True]),
        problem=st.sampled_from(["", "", "", "disabled"]),
        http=st.sampled_from(["", "http://a.example.org/"]),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)
overrides = st.lists(
    st.builds(
        Override,
        st.sampled_from(NETWORKS),
        mirrors=st.lists(st.integers(0, 99).map(lambda n: f"m{n}"), max_size=3).map(tuple),
        origin=st.sampled_from([False, False, True]),
    ),
    max_size=2,
    unique_by=lambda one: one.network,
)
spent = st.dictionaries(st.integers(0, 99).map(lambda n: f"m{n}"), st.integers(0, 10**9))


def fits(one: Mirror, asking: Client) -> bool:
    """What must hold of a mirror for anybody to be sent there, said once more and otherwise."""
    version = asking.address.version
    http = Answers.HTTP4 if version == 4 else Answers.HTTP6
    https = Answers.HTTPS4 if version == 4 else Answers.HTTPS6
    by_http = bool(one.http and one.answers & http)
    by_https = bool(one.https and one.answers & https)
    inside = [asking.address in ip_network(network) for network in one.only_networks]
    return (
        not one.problem
        and (by_https or (by_http and asking.scheme == "http"))
        and (not one.local or asking.address.is_loopback)
        and (not one.only_countries or asking.country in one.only_countries)
        and (not inside or any(inside))
    )


@settings(deadline=None, max_examples=200)
@given(mirrors, overrides, clients, st.integers(0, 255), spent, st.integers(0, 2000))
def test_nobody_is_sent_where_they_cannot_or_may_not_go(
    having: list[Mirror],
    said: list[Override],
    asking: Client,
    bits: int,
    sent: dict[str, int],
    size: int,
) -> None:
    bits &= (1 << len(having)) - 1
    selector = Selector(world(having, {DEB: File(size, b"", False, bits)}, said))
    choice = selector.explain(DEB, asking, NOON, sent)
    for one in choice.ranked:
        assert fits(one.mirror, asking)
        assert bits >> one.number & 1
        assert one.base in (one.mirror.http, one.mirror.https) and one.base
        assert one.base.startswith("https:") or asking.scheme == "http"
        budget = one.mirror.budget_bytes
        assert not budget or sent.get(one.mirror.name, 0) + size <= budget
        assert one.share is not None and 0 < one.share <= 1
    # Every mirror is named once, with a reason when it is left out.
    names = [one.mirror.name for one in choice.ranked] + [one.name for one, _ in choice.excluded]
    assert sorted(names) == sorted(one.name for one in having)
    assert all(reason.text for _, reason in choice.excluded)
    # To explain is to choose.
    kept = selector.rank("demo", asking)
    for chosen in (
        selector.choose(DEB, asking, NOON, sent),
        selector.choose(DEB, asking, NOON, sent, kept),
    ):
        assert (chosen.mirrors, chosen.reason) == (choice.mirrors, choice.reason)
    picked = selector.pick(kept, bits, size, NOON, sent)
    assert tuple(having[number] for number in picked) == choice.mirrors
    # Nearest first.
    tiers = [Tier.REGION if one.tier == Tier.DISTANCE else one.tier for one in choice.ranked]
    assert tiers == sorted(tiers)


@settings(deadline=None, max_examples=100)
@given(mirrors, clients, st.data())
def test_whoever_loses_a_mirror_is_the_only_one_to_move(
    having: list[Mirror], asking: Client, data: st.DataObject
) -> None:
    if not having:
        return
    lost = data.draw(st.sampled_from(having))
    before = order(having, asking)
    expected = [name for name in before if name != lost.name]
    assert order([one for one in having if one is not lost], asking) == expected
    down = [replace(one, problem="down") if one is lost else one for one in having]
    assert order(down, asking) == expected


@settings(deadline=None, max_examples=100)
@given(mirrors, clients, st.randoms(use_true_random=False))
def test_the_order_is_whole_and_does_not_depend_on_that_of_the_map(
    having: list[Mirror], asking: Client, random: object
) -> None:
    shuffled = list(having)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert order(having, asking) == order(shuffled, asking)
    assert sorted(order(having, asking)) == sorted(one.name for one in having if fits(one, asking))


def order(having: list[Mirror], asking: Client) -> list[str]:
    ranking = Selector(world(having)).rank("demo", asking)
    return [having[number].name for number in ranking.order]


@settings(deadline=None, max_examples=150)
@given(mirrors, overrides, clients, addresses)
def test_clients_of_one_key_are_ranked_alike_and_those_of_one_network_have_one_key(
    having: list[Mirror], said: list[Override], one: Client, address: IPv4Address | IPv6Address
) -> None:
    selector = Selector(world(having, overrides=said))
    other = replace(one, address=address)
    named = [network for network in NETWORKS if network.endswith(("/26", "/125"))]
    split = [one.address in ip_network(network) for network in named] != [
        other.address in ip_network(network) for network in named
    ]
    same = selector.key("demo", one) == selector.key("demo", other)
    if same:
        assert selector.rank("demo", one) == selector.rank("demo", other)
    alike = one.address.is_loopback == other.address.is_loopback
    if one.network == other.network and alike and not split:
        assert same


@settings(deadline=None, max_examples=60)
@given(mirrors, overrides, st.lists(clients, max_size=8))
def test_whoever_came_before_changes_nothing(
    having: list[Mirror], said: list[Override], asking: list[Client]
) -> None:
    the_map = world(having, overrides=said)
    used = Selector(the_map)
    assert [used.rank("demo", one) for one in asking] == [
        Selector(the_map).rank("demo", one) for one in asking
    ]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 255), unique=True),
    st.integers(0, 2**256 - 1) | st.sets(st.integers(0, 255)).map(lambda s: sum(1 << n for n in s)),
    st.integers(1, 40),
)
def test_the_first_of_a_ranking_are_found_as_by_looking_at_all(
    numbers: list[int], having: int, most: int
) -> None:
    naive = tuple([number for number in numbers if having >> number & 1][:most])
    assert Ranking(bytes(numbers), (), 0).first(having, most) == naive
    assert Ranking(numbers, (), 0).first(having, most) == naive


def test_more_mirrors_than_a_byte_can_count_are_ranked_too() -> None:
    having = [mirror(f"m{number}", problem="down" * (number < 300)) for number in range(600)]
    selector = Selector(world(having))
    ranked = selector.explain(DEB, client("DE"), NOON, {}).ranked
    assert sorted(one.number for one in ranked) == [*range(300, 600)]
    few = world(having, {DEB: file([5, 310, 599])})
    chosen = Selector(few).choose(DEB, client("DE"), NOON, {})
    assert {one.number for one in chosen.ranked} == {310, 599}


def test_clients_spread_over_equals_by_weight() -> None:
    weights = {"small": 50, "usual": 100, "usual2": 100, "big": 250}
    having = [mirror(name, weight=weight) for name, weight in weights.items()]
    selector = Selector(world(having))
    counts = dict.fromkeys(weights, 0)
    seconds = dict.fromkeys(weights, 0)
    for number in range(20_000):
        ranking = selector.rank("demo", Client(IPv4Address(0x0B000000 + number * 256 + 7), "DE"))
        first, second = (having[one].name for one in ranking.order[:2])
        counts[first] += 1
        if first == "big":
            seconds[second] += 1
    for name, weight in weights.items():
        expected = 20_000 * weight / 500
        # Four standard deviations of a binomial distribution, over networks that never change.
        assert abs(counts[name] - expected) < 4 * (expected * (1 - weight / 500)) ** 0.5
    # Those that lose a mirror spread by weight as well.
    lost = counts["big"]
    assert abs(seconds["small"] - lost / 5) < 4 * (lost / 5 * 4 / 5) ** 0.5


def test_trees_spread_apart_but_one_network_keeps_its_mirror() -> None:
    having = [mirror(f"m{number}", tree=tree) for tree in ("demo", "else") for number in range(6)]
    selector = Selector(world(having, {}))
    networks = [Client(IPv4Address(0x0B000000 + number * 256), "DE") for number in range(200)]
    names = {
        tree: [having[selector.rank(tree, one).order[0]].name for one in networks]
        for tree in ("demo", "else")
    }
    agreeing = sum(one == other for one, other in zip(*names.values(), strict=True))
    assert agreeing < 80  # a sixth by chance
    for one in networks[:20]:
        neighbour = replace(one, address=one.address + 200)
        assert selector.rank("demo", one) == selector.rank("demo", neighbour)


GOLDEN = {
    "203.0.113.9": "m1 m4 m5 m0 m3 m2",
    "198.51.100.7": "m4 m1 m2 m5 m3 m0",
    "2001:db8:1::5": "m3 m0 m1 m4 m5 m2",
}
SCRIPT = """
from tests.redirector.test_selection_properties import golden
print(golden())
"""


def golden() -> dict[str, str]:
    having = [mirror(f"m{number}", weight=100 + number) for number in range(6)]
    return {address: " ".join(order(having, client("DE", address))) for address in GOLDEN}


def test_a_new_version_of_ours_moves_nobody_and_every_process_agrees() -> None:
    assert golden() == GOLDEN
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == str(GOLDEN)
