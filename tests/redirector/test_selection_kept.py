"""What is kept for many clients never answers one of another kind."""

from __future__ import annotations

from itertools import combinations, permutations

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import Answers, Override
from commonfarm.redirector.selection import Selector
from tests.redirector.atlas import client, mirror, world

MIRRORS = [
    mirror("de"),
    mirror("de2", weight=300),
    mirror("plain", "FR", https=""),
    mirror("six", "FR", answers=Answers.HTTP6 | Answers.HTTPS6),
    mirror("isp", "US", as_number=680),
    mirror("here", local=True),
    mirror("far", "US"),
    mirror("named", "BR", prefixes=("198.51.100.0/24", "203.0.113.64/28", "2001:db8::80/121")),
    mirror("campus", only_networks=("203.0.113.16/28", "2001:db8::10/124")),
    mirror("austria", "AT", only_countries=("AT",)),
]
MAP = world(
    MIRRORS,
    overrides=[
        Override("192.0.2.0/24", mirrors=("far",)),
        Override("203.0.113.128/27", mirrors=("far",)),
        Override("203.0.113.160/27", origin=True),
    ],
)
KINDS = {
    "plain": client(),
    "https": client(scheme="https"),
    "six": client(address="2001:db8::1"),
    "six, https": client(address="2001:db8::1", scheme="https"),
    "this machine": client(address="127.0.0.1"),
    "this machine by six": client(address="::1"),
    "not this machine": client(address="::2"),
    "other country": client("AT"),
    "nowhere": client("ZZ"),
    "AS": client(as_number=680),
    "place": client(point=(34.1, -118.2)),
    "other place": client(point=(-34.9, -56.2)),
    "prefix": client(address="198.51.100.1"),
    "small prefix": client(address="203.0.113.65"),
    "small prefix by six": client(address="2001:db8::81"),
    "small network": client(address="203.0.113.17"),
    "small network by six": client(address="2001:db8::11"),
    "override": client(address="192.0.2.1"),
    "small override": client(address="203.0.113.129"),
    "small override of ourselves": client(address="203.0.113.161"),
}


def names(selector: Selector, one: Client) -> list[str]:
    return [MIRRORS[number].name for number in selector.rank("demo", one).order]


ALONE = {kind: names(Selector(MAP), one) for kind, one in KINDS.items()}


def test_each_kind_has_a_key_of_its_own() -> None:
    selector = Selector(MAP)
    keys = {selector.key(tree, one) for one in KINDS.values() for tree in ("demo", "else")}
    assert len(keys) == 2 * len(KINDS)


def test_each_kind_is_a_kind() -> None:
    in_one_network = [kind for kind, one in KINDS.items() if one.network == "203.0.113.0/24"]
    orders = {kind: ALONE[kind] for kind in in_one_network}
    alike = [pair for pair in combinations(orders, 2) if orders[pair[0]] == orders[pair[1]]]
    assert alike == []


def test_who_came_before_changes_nothing() -> None:
    for order in (KINDS, [*KINDS][::-1]):
        selector = Selector(MAP)
        assert {kind: names(selector, KINDS[kind]) for kind in order} == ALONE
    for pair in permutations(KINDS, 2):
        selector = Selector(MAP)
        assert [names(selector, KINDS[kind]) for kind in pair] == [ALONE[kind] for kind in pair]


def test_neighbours_have_one_key() -> None:
    selector = Selector(MAP)
    for one, other in (
        ("203.0.113.1", "203.0.113.250"),
        ("203.0.113.64", "203.0.113.79"),
        ("198.51.100.0", "198.51.100.255"),
        ("2001:db8::200", "2001:db8:0:ffff::"),
    ):
        keys = {selector.key("demo", client(address=address)) for address in (one, other)}
        assert len(keys) == 1
