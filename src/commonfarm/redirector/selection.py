"""Which mirror a client is sent to, and why each other one is not. Pure: values in, values out.

Among mirrors that may serve the client, those of its country come first, then those that speak
its scheme. Equals are ordered by rendezvous hashing (Thaler and Ravishankar, 1998) of the client's
network and the tree, so that all of one apt run goes to one mirror, and the loss of a mirror moves
only its own clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import islice

import iptocc

from commonfarm.redirector.mirror_map import Mirror, MirrorMap

Address = IPv4Address | IPv6Address

NOWHERE = "ZZ"
"""The country of an address that has none (private, loopback, unassigned)."""

MOST_ALTERNATES = 5

_IN_PLACE = re.compile(
    r"(?:^|/)(?:InRelease|Release|Release\.gpg|repomd\.xml(?:\.asc|\.key)?"
    r"|(?:Packages|Sources|Index)(?:\.[a-z0-9]+)?|(?:Contents|Translation)-[^/]*)$"
)


class Why(StrEnum):
    """Every reason why a mirror is left out, or why we serve a file ourselves."""

    MISSING = "missing"
    OUT_OF_SERVICE = "out-of-service"
    INSECURE = "insecure"
    OTHER_FAMILY = "other-family"
    LOCAL_ONLY = "local-only"
    NOT_IN_MAP = "not-in-map"
    CHANGES_IN_PLACE = "changes-in-place"
    NO_MIRROR = "no-mirror"
    CHOSEN = "chosen"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of the closed set `Why`, the constraint in words, and what would lift it."""

    code: Why
    text: str
    lifted_by: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.lifted_by}" if self.lifted_by else self.text


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: address, country (two capital letters or `ZZ`) and the scheme it spoke to us."""

    address: Address
    country: str = NOWHERE
    scheme: str = "http"

    @property
    def network(self) -> str:
        """The /24 or /48 of the address: what stays together, and all that selection looks at."""
        return _network_of(self.address)


@lru_cache(maxsize=65536)
def _network_of(address: Address) -> str:
    prefix = 24 if address.version == 4 else 48
    return str(ip_network(f"{address}/{prefix}", strict=False))


def normal(address: str) -> Address:
    """Parse an address; an IPv4 client of an IPv6 socket is an IPv4 client."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


@lru_cache(maxsize=65536)
def country_of(address: Address) -> str:
    """Return the country an address is registered in, `ZZ` for one that has none."""
    return iptocc.country_code(str(address)) or NOWHERE


Excluded = tuple[tuple[Mirror, Reason], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The mirrors of a tree for one client: those that may serve it, best first, and the rest."""

    order: tuple[int, ...]
    excluded: Excluded


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one request goes: `mirrors`, the best first, or to ourselves when there is none."""

    path: str
    mirrors: tuple[Mirror, ...]
    reason: Reason
    excluded: Excluded = ()

    @property
    def mirror(self) -> Mirror | None:
        """The chosen mirror; None means that we serve the file ourselves."""
        return self.mirrors[0] if self.mirrors else None


def changes_in_place(path: str) -> bool:
    """Say whether the bytes at `path` may change while the name stays.

    A mirror may hold an older state of such a file, so it is always served by ourselves. What
    lies under `by-hash` never changes (Debian wiki, RepositoryFormat, "Acquire-By-Hash").
    """
    folders = path.split("/")[:-1]
    if "by-hash" in folders:
        return False
    return "dists" in folders or _IN_PLACE.search(path) is not None


def rank(the_map: MirrorMap, tree: str, client: Client) -> Ranking:
    """Order the mirrors of `tree` for `client`, and say why the others are left out."""
    keyed: list[tuple[bool, bool, bytes, int]] = []
    excluded: list[tuple[Mirror, Reason]] = []
    for number, mirror in enumerate(the_map.mirrors):
        if mirror.tree != tree:
            continue
        reason = _unfit(mirror, client)
        if reason is not None:
            excluded.append((mirror, reason))
            continue
        other_country = client.country != NOWHERE and mirror.country != client.country
        key = f"{client.network} {tree} {mirror.name}".encode()
        weight = blake2b(key, digest_size=8).digest()
        keyed.append((other_country, mirror.scheme != client.scheme, weight, number))
    return Ranking(tuple(number for *_, number in sorted(keyed)), tuple(excluded))


def _unfit(mirror: Mirror, client: Client) -> Reason | None:
    if mirror.problem:
        return Reason(Why.OUT_OF_SERVICE, mirror.problem, "a scan that finds it well again")
    if client.scheme == "https" and mirror.scheme != "https":
        return Reason(Why.INSECURE, "it has no https, and you came by https", "give it https")
    if mirror.local and not client.address.is_loopback:
        return Reason(Why.LOCAL_ONLY, "only our own machine reaches it", "give it a public address")
    if client.address.version not in mirror.families:
        return Reason(
            Why.OTHER_FAMILY,
            f"it has no IPv{client.address.version} address, and you came by one",
            f"give it an IPv{client.address.version} address",
        )
    return None


def choose(the_map: MirrorMap, path: str, client: Client, ranking: Ranking | None = None) -> Choice:
    """Choose for `path` (`tree/path/in/it`). `ranking` may be one kept from an equal question."""
    if changes_in_place(path):
        return Choice(
            path, (), Reason(Why.CHANGES_IN_PLACE, "this file changes in place: we serve it")
        )
    found = the_map.find(path)
    if found is None:
        return Choice(
            path, (), Reason(Why.NOT_IN_MAP, "no scan knows this file yet", "the next mirror map")
        )
    tree, file = found
    if ranking is None:
        ranking = rank(the_map, tree, client)
    having = (number for number in ranking.order if number in file.mirrors)
    mirrors = tuple(the_map.mirrors[number] for number in islice(having, MOST_ALTERNATES))
    if not mirrors:
        reason = Reason(Why.NO_MIRROR, "no mirror may serve this", "see why each was left out")
        return Choice(path, (), reason, ranking.excluded)
    where = "in your country" if mirrors[0].country == client.country else mirrors[0].country
    return Choice(
        path, mirrors, Reason(Why.CHOSEN, f"{mirrors[0].name} ({where}) has it"), ranking.excluded
    )


def explain(the_map: MirrorMap, path: str, client: Client) -> Choice:
    """Choose as `choose` does, and name every mirror of the tree that is left out.

    What a person asks; the server spares itself the mirrors that only lack the file.
    """
    found = the_map.find(path)
    tree = found[0] if found else path.partition("/")[0]
    ranking = rank(the_map, tree, client)
    having = found[1].mirrors if found else frozenset[int]()
    missing = Reason(Why.MISSING, "its last scan did not see this file", "its next scan")
    lacking = tuple(
        (the_map.mirrors[number], missing) for number in ranking.order if number not in having
    )
    return replace(choose(the_map, path, client, ranking), excluded=ranking.excluded + lacking)
