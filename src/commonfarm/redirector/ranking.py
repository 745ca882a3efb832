"""The mirrors of a tree in the order in which a client is sent to them.

What is looked at, one after the other: the operator's overrides, the longest of the mirror's
prefixes that holds the client, AS, country, distance in bands (another continent counts double),
the client's scheme. Mirrors equal in all that are ordered by weighted rendezvous hashing (Thaler
and Ravishankar, 1998; Schindelhauer and Schomaker, 2005, the logarithmic method) of the client's
network and the tree: all of one apt run goes to one mirror, clients spread by weight, and the loss
of a mirror moves only its own. That holds because the place of a mirror depends on no other one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_network
from itertools import islice
from math import log
from typing import NamedTuple

from commonfarm.redirector import reasons
from commonfarm.redirector.client import Client
from commonfarm.redirector.countries import COUNTRIES
from commonfarm.redirector.mirror_map import Answers, Mirror, Override
from commonfarm.redirector.nearness import UNKNOWN_BAND, Vector, band, distance_km, place_of, vector
from commonfarm.redirector.networks import Network, Prefixes
from commonfarm.redirector.places import NOWHERE
from commonfarm.redirector.reasons import Reason, Tier

_ANSWERS = {
    ("http", 4): Answers.HTTP4,
    ("http", 6): Answers.HTTP6,
    ("https", 4): Answers.HTTPS4,
    ("https", 6): Answers.HTTPS6,
}
_SCHEMES = {"http": ("http", "https"), "https": ("https",)}
"""By which schemes a client may be served, its own first: https is never downgraded."""

Near = tuple[bool, int, bool, bool, int, bool]
"""How near a mirror is, the nearest being the least: not where an override sends, minus the length
of its prefix, other AS, other country, band of distance, other scheme."""


@lru_cache(maxsize=8192)
def _lacking(having: int) -> bytes:
    """Return the numbers below 256 whose bit is not set: maps have few distinct sets of mirrors."""
    return bytes([number for number in range(256) if not having >> number & 1])


@dataclass(frozen=True, slots=True)
class Ranking:
    """The mirrors that may serve a client, by number, the best first.

    `order` is bytes for a map of at most 256 mirrors: of the many that are kept each is small, and
    what lacks a file is struck out by one call. `bases` holds by number each one's address for this
    client, empty for one that has none. `budgeted` has a bit for each that has a budget. `override`
    is the operator's word on the client's network, if there is one.
    """

    order: Sequence[int]
    bases: Sequence[str]
    budgeted: int
    override: Override | None = None

    def first(self, having: int, most: int) -> tuple[int, ...]:
        """Return up to `most` of those whose bit is set in `having`, the best first."""
        order = self.order
        if type(order) is bytes:
            return tuple(order.translate(None, _lacking(having))[:most])
        return tuple(islice((number for number in order if having >> number & 1), most))


_NOTHING_SAID: tuple[frozenset[bytes], dict[int, int]] = frozenset(), {}
_MOST_KEPT = 1024


class _Entry(NamedTuple):
    number: int
    name: bytes
    country: str
    region: str
    as_number: int
    weight: int
    place: Vector | None
    other_scheme: bool


def base_for(mirror: Mirror, scheme: str, version: int) -> str:
    """Return the address by which it answers such a client, empty when by none."""
    for one in _SCHEMES[scheme]:
        if mirror.base(one) and mirror.answers & _ANSWERS[one, version]:
            return mirror.base(one)
    return ""


def place_of_mirror(mirror: Mirror) -> Vector | None:
    """Return its coordinates, or where its country is."""
    if mirror.latitude is None or mirror.longitude is None:
        return place_of(mirror.country)
    return vector(mirror.latitude, mirror.longitude)


def place_of_client(client: Client) -> Vector | None:
    """Return its coordinates, or where its country is."""
    return place_of(client.country) if client.point is None else vector(*client.point)


class Ranker:
    """The mirrors of one tree, prepared for many clients."""

    def __init__(self, tree: str, mirrors: Sequence[Mirror], overrides: Prefixes[Override]) -> None:
        """Take all mirrors of a map, by number; those of other trees are passed over."""
        self.tree = tree
        self.mirrors = {
            number: mirror for number, mirror in enumerate(mirrors) if mirror.tree == tree
        }
        self._overrides = overrides
        self._only = {
            number: Prefixes((network, True) for network in mirror.only_networks)
            for number, mirror in self.mirrors.items()
            if mirror.only_networks
        }
        self._choosy = {
            number
            for number, mirror in self.mirrors.items()
            if mirror.local or mirror.only_countries or mirror.only_networks
        }
        named: dict[Network, list[int]] = {}
        for number, mirror in self.mirrors.items():
            for network in mirror.prefixes:
                named.setdefault(ip_network(network), []).append(number)
        self._prefixes = Prefixes(named.items())
        self._budgeted = sum(1 << n for n, mirror in self.mirrors.items() if mirror.budget_bytes)
        self._as_numbers = {mirror.as_number for mirror in self.mirrors.values()}
        self._kept: dict[tuple[object, ...], list[list[_Entry]]] = {}
        self._prepared = {
            (scheme, version): self._prepare(scheme, version, len(mirrors))
            for scheme, version in _ANSWERS
        }

    def _prepare(
        self, scheme: str, version: int, count: int
    ) -> tuple[dict[int, _Entry], list[str]]:
        bases = [""] * count
        entries = {}
        for number, mirror in self.mirrors.items():
            base = "" if mirror.problem else base_for(mirror, scheme, version)
            if base:
                bases[number] = base
                known = COUNTRIES.get(mirror.country)
                entries[number] = _Entry(
                    number,
                    mirror.name.encode(),
                    mirror.country,
                    known.region if known else "",
                    mirror.as_number,
                    mirror.weight,
                    place_of_mirror(mirror),
                    base != mirror.base(scheme),
                )
        return entries, bases

    def rank(self, client: Client) -> Ranking:
        """Order the mirrors that may serve `client`."""
        bases = self._prepared[client.scheme, client.address.version][1]
        found = self._overrides.find(client.address)
        override = found[1] if found else None
        if override is not None and override.origin:
            return Ranking(b"", bases, 0, override)
        seed = blake2b(f"{client.network}\0{self.tree}\0".encode(), digest_size=8)
        numbers: list[int] = []
        for equals in self._groups(client):
            keyed = []
            for entry in equals:
                if entry.number in self._choosy and self.unfit(entry.number, client) is not None:
                    continue
                digest = seed.copy()
                digest.update(entry.name)
                # 52 bits, so that the quotient lies between 0 and 1 and is neither.
                drawn = ((int.from_bytes(digest.digest()) >> 12) + 0.5) / 2**52
                keyed.append((entry.weight / log(drawn), entry.number))
            numbers += [number for _, number in sorted(keyed)]
        order = bytes(numbers) if len(bases) <= 256 else array("H", numbers)
        return Ranking(order, bases, self._budgeted, override)

    def _groups(self, client: Client) -> list[list[_Entry]]:
        """Return the mirrors that answer such a client, those equally near together, nearest first.

        Clients of one country mostly have the same: unless an override or a mirror names their
        network, they are kept.
        """
        by_address = self._by_address(client)
        key = None
        if by_address == _NOTHING_SAID:
            as_number = client.as_number if client.as_number in self._as_numbers else 0
            key = client.scheme, client.address.version, client.country, as_number, client.point
            kept = self._kept.get(key)
            if kept is not None:
                return kept
        entries, _ = self._prepared[client.scheme, client.address.version]
        near = _near(client, *by_address)
        by_near: dict[Near, list[_Entry]] = {}
        for entry in entries.values():
            by_near.setdefault(near(entry), []).append(entry)
        groups = [by_near[one] for one in sorted(by_near)]
        if key is not None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = groups
        return groups

    def nearness(self, numbers: Iterable[int], client: Client) -> list[tuple[int, Near]]:
        """Return each of these mirrors, which `rank` ranked for `client`, with how near it is."""
        near = _near(client, *self._by_address(client))
        entries, _ = self._prepared[client.scheme, client.address.version]
        return [(number, near(entries[number])) for number in numbers]

    def _by_address(self, client: Client) -> tuple[frozenset[bytes], dict[int, int]]:
        """Return the mirrors an override sends the client to, and by number the length of the
        longest prefix of a mirror that holds it.
        """
        override = self._overrides.find(client.address)
        sent_to = frozenset(map(str.encode, override[1].mirrors)) if override else frozenset()
        lengths: dict[int, int] = {}
        for network, numbers in self._prefixes.holding(client.address):
            for number in numbers:
                lengths.setdefault(number, network.prefixlen)
        return sent_to, lengths

    def unfit(self, number: int, client: Client) -> Reason | None:
        """Say why nobody like `client` may be sent to a mirror; None: it may serve them."""
        mirror = self.mirrors[number]
        if mirror.problem:
            return reasons.out_of_service(mirror)
        if mirror.local and not client.address.is_loopback:
            return reasons.LOCAL_ONLY
        if not base_for(mirror, client.scheme, client.address.version):
            return _unreached(mirror, client.scheme, client.address.version)
        if mirror.only_countries and client.country not in mirror.only_countries:
            return reasons.other_countries(mirror)
        only = self._only.get(number)
        if only is not None and only.find(client.address) is None:
            return reasons.OTHER_NETWORKS
        return None

    def tier(self, number: int, near: Near, client: Client) -> Tier:
        """Return what made it near."""
        elsewhere, length, other_as, other_country, away, _ = near
        if not elsewhere:
            return Tier.OVERRIDE
        if length:
            return Tier.PREFIX
        if not other_as:
            return Tier.AS
        if not other_country:
            return Tier.COUNTRY
        if away == UNKNOWN_BAND:
            return Tier.ANYWHERE
        known = COUNTRIES.get(self.mirrors[number].country)
        same = known is not None and known.region == client.region
        return Tier.REGION if same else Tier.DISTANCE

    def km(self, number: int, client: Client) -> float | None:
        """Return how far it is, in km; None where no more is known than one common country."""
        mirror = self.mirrors[number]
        here, there = place_of_client(client), place_of_mirror(mirror)
        if here is None or there is None:
            return None
        if client.country == mirror.country and (client.point is None or mirror.latitude is None):
            return None
        return distance_km(here, there)


def _near(
    client: Client, sent_to: frozenset[bytes], lengths: Mapping[int, int]
) -> Callable[[_Entry], Near]:
    """Return what says how near a mirror is to `client`, by nothing but that mirror."""
    country, region = client.country, client.region
    as_number, place = client.as_number, place_of_client(client)
    pointed = client.point is not None

    def near(entry: _Entry) -> Near:
        other_country = entry.country != country or country == NOWHERE
        if not other_country and not pointed:
            away = 0
        elif place is None or entry.place is None:
            away = UNKNOWN_BAND
        else:
            away = band(place, entry.place, entry.region == region)
        return (
            entry.name not in sent_to,
            -lengths.get(entry.number, 0),
            not as_number or entry.as_number != as_number,
            other_country,
            away,
            entry.other_scheme,
        )

    return near


def _unreached(mirror: Mirror, scheme: str, version: int) -> Reason:
    has = [one for one in _SCHEMES[scheme] if mirror.base(one)]
    if not has:
        return reasons.INSECURE
    if any(mirror.answers & _ANSWERS[one, 10 - version] for one in has):
        return reasons.other_family(version)
    return reasons.not_answering(" and ".join(has))
