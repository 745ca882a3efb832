"""Which mirror a client is sent to, and why each other one is not. Pure: values in, values out.

The order of the mirrors is `ranking`'s. Here it meets the file: who has it, whether it may be
redirected at all, and whose budget still has room for it (`budgets`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from ipaddress import ip_network

from commonfarm.redirector import budgets, reasons
from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import File, Mirror, MirrorMap
from commonfarm.redirector.networks import TOGETHER, Prefixes
from commonfarm.redirector.ranking import Near, Ranker, Ranking
from commonfarm.redirector.reasons import Reason, Tier

MOST_ALTERNATES = 5

_IN_PLACE = re.compile(
    r"(?:^|/)(?:InRelease|Release|Release\.gpg|repomd\.xml(?:\.asc|\.key)?"
    r"|(?:Packages|Sources|Index)(?:\.[a-z0-9]+)?|(?:Contents|Translation)-[^/]*)$"
)


def changes_in_place(path: str) -> bool:
    """Say whether the bytes at `path` may change while the name stays.

    A mirror may hold an older state of such a file, so it is always served by ourselves. What
    lies under `by-hash` never changes (Debian wiki, RepositoryFormat, "Acquire-By-Hash").
    """
    folders = path.split("/")[:-1]
    if "by-hash" in folders:
        return False
    return "dists" in folders or _IN_PLACE.search(path) is not None


def carries(mirror: Mirror, inside: str) -> bool:
    """Say whether the file at `inside` (its path in the tree) is in what the mirror carries."""
    return not mirror.subtree or inside.startswith(mirror.subtree + "/")


def below(mirror: Mirror, inside: str) -> str:
    """Return what follows the mirror's address in that of the file at `inside`, not yet escaped."""
    return inside[len(mirror.subtree) + 1 :] if mirror.subtree else inside


@dataclass(frozen=True, slots=True)
class Ranked:
    """A mirror that may serve the file: its address for this client, and what made it near.

    `distance_km` is None where no more is known than a country both are in. `share` is the part of
    the clients of this place that it gets among mirrors equally near; only `explain` counts it.
    """

    number: int
    mirror: Mirror
    base: str
    tier: Tier
    distance_km: float | None
    share: float | None = None

    @property
    def text(self) -> str:
        """All that in words."""
        words = self.tier.text
        if self.distance_km is not None:
            words += f", {round(self.distance_km):,} km away"
        if self.share is not None and self.share < 1:
            words += f", {self.share:.0%} of those as near as this get it"
        return words


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one request goes: the best of `ranked`, or to ourselves when there is none.

    `path` is canonical: what the asked one is an alias of. `excluded` is filled by `explain`.
    """

    path: str
    ranked: tuple[Ranked, ...]
    reason: Reason
    excluded: tuple[tuple[Mirror, Reason], ...] = ()

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """The mirrors to name, the best first: the very ones that `choose` chose."""
        return tuple(one.mirror for one in self.ranked[:MOST_ALTERNATES])

    @property
    def mirror(self) -> Mirror | None:
        """The chosen mirror; None means that we serve the file ourselves."""
        return self.ranked[0].mirror if self.ranked else None


class Selector:
    """The mirrors of one map, prepared once when it is loaded, for all its clients.

    `now` is epoch seconds; `spent` holds the bytes each mirror (by name) was sent on this UTC day.
    """

    def __init__(self, the_map: MirrorMap) -> None:
        self._map = the_map
        self._mirrors = the_map.mirrors
        self._limited = [bool(mirror.budget_bytes) for mirror in the_map.mirrors]
        self.overrides = Prefixes((one.network, one) for one in the_map.overrides)
        trees = {mirror.tree for mirror in the_map.mirrors} | set(the_map.trees)
        self._rankers = {tree: Ranker(tree, the_map.mirrors, self.overrides) for tree in trees}
        self._partial = {
            tree: [(1 << n, one) for n, one in ranker.mirrors.items() if one.subtree]
            for tree, ranker in self._rankers.items()
        }
        named = {override.network for override in the_map.overrides}
        for one in the_map.mirrors:
            named.update(one.prefixes, one.only_networks)
        # Whoever such a network tells apart from the rest of its /24 or /48 is ranked apart.
        small = [one for one in map(ip_network, named) if one.prefixlen > TOGETHER[one.version]]
        self._small = Prefixes((network, str(network)) for network in small)

    def upon(self, the_map: MirrorMap) -> Selector:
        """Return the same for another map of the same mirrors, trees and overrides."""
        fresh = copy(self)
        fresh._map = the_map
        return fresh

    def key(self, tree: str, client: Client) -> tuple[object, ...]:
        """Return all that `rank` looks at: clients of equal keys share one ranking."""
        address = client.address
        small = self._small.find(address)
        return (
            tree,
            address.version,
            int(address) >> address.max_prefixlen - TOGETHER[address.version],
            address.is_loopback,
            small and small[1],
            client.scheme,
            client.country,
            client.as_number,
            client.point,
        )

    def rank(self, tree: str, client: Client) -> Ranking:
        """Order the mirrors of `tree` that may serve `client`; none where there is no such tree."""
        ranker = self._rankers.get(tree)
        return Ranking(b"", (), 0) if ranker is None else ranker.rank(client)

    def pick(
        self,
        ranking: Ranking,
        having: int,
        size: int,
        now: float,
        spent: Mapping[str, int],
        most: int = MOST_ALTERNATES,
    ) -> tuple[int, ...]:
        """Return the numbers of up to `most` mirrors for a file, the best first.

        `having` has a bit for each mirror that has it; `size` is in bytes. What may not be
        redirected at all is not looked at here.
        """
        numbers = ranking.first(having, most)
        if not having & ranking.budgeted:
            return numbers
        limited = self._limited
        while closed := [
            one for one in numbers if limited[one] and not self.takes(one, size, now, spent)
        ]:
            for number in closed:
                having &= ~(1 << number)
            numbers = ranking.first(having, most)
        return numbers

    def takes(self, number: int, size: int, now: float, spent: Mapping[str, int]) -> bool:
        """Say whether a mirror's budget has room for `size` bytes now."""
        mirror = self._mirrors[number]
        if not mirror.budget_bytes:
            return True
        return budgets.takes(mirror.budget_bytes, spent.get(mirror.name, 0), size, now)

    def choose(
        self,
        path: str,
        client: Client,
        now: float,
        spent: Mapping[str, int],
        ranking: Ranking | None = None,
        *,
        for_list: bool = False,
        most: int = MOST_ALTERNATES,
    ) -> Choice:
        """Choose for `path` (`tree/path/in/it`). `ranking` may be one kept from an equal client.

        `for_list` is for metalinks and lists, which also name mirrors for what changes in place.
        """
        path, ranker, inside, file = self._look_up(path)
        if ranker is None:
            return Choice(path, (), reasons.NOT_IN_MAP)
        ranking = ranking or ranker.rank(client)
        refused = _refused(file, ranking, now, for_list)
        if file is None or refused is not None:
            return Choice(path, (), refused or reasons.NOT_IN_MAP)
        numbers = self.pick(
            ranking, self._having(ranker, inside, file), file.size, now, spent, most
        )
        return _chosen(path, _ranked(ranker, numbers, ranking, client))

    def explain(
        self,
        path: str,
        client: Client,
        now: float,
        spent: Mapping[str, int],
        *,
        for_list: bool = False,
    ) -> Choice:
        """Choose as `choose` does, but rank all mirrors that may serve the file, and say of every
        other one of the tree why it may not.
        """
        path, ranker, inside, file = self._look_up(path)
        if ranker is None:
            return Choice(path, (), reasons.NOT_IN_MAP)
        ranking = ranker.rank(client)
        refused = _refused(file, ranking, now, for_list)
        having = 0 if file is None else self._having(ranker, inside, file)

        def left_out(number: int, mirror: Mirror) -> Reason | None:
            if (unfit := ranker.unfit(number, client)) is not None:
                return unfit
            if not carries(mirror, inside):
                return reasons.not_carried(mirror)
            if file is None:
                return refused
            if not having >> number & 1:
                return reasons.MISSING
            if refused is None and not self.takes(number, file.size, now, spent):
                return reasons.over_budget(mirror, spent.get(mirror.name, 0), file.size, now)
            return refused

        why = {number: left_out(number, mirror) for number, mirror in ranker.mirrors.items()}
        excluded = [(ranker.mirrors[number], one) for number, one in why.items() if one is not None]
        numbers = [number for number in ranking.order if why[number] is None]
        ranked = _ranked(ranker, numbers, ranking, client, with_shares=True)
        found = Choice(path, (), refused) if refused else _chosen(path, ranked)
        return replace(found, excluded=tuple(excluded))

    def _look_up(self, path: str) -> tuple[str, Ranker | None, str, File | None]:
        path = self._map.resolve(path)
        tree, _, inside = path.partition("/")
        return path, self._rankers.get(tree), inside, self._map.find(path)

    def _having(self, ranker: Ranker, inside: str, file: File) -> int:
        having = file.mirrors
        for bit, mirror in self._partial[ranker.tree]:
            if not carries(mirror, inside):
                having &= ~bit
        return having


def _refused(file: File | None, ranking: Ranking, now: float, for_list: bool) -> Reason | None:
    """Say why a file is served by ourselves whoever has it."""
    if file is None:
        return reasons.NOT_IN_MAP
    if ranking.override is not None and ranking.override.origin:
        return reasons.overridden(ranking.override.network)
    if file.changes and not for_list:
        return reasons.CHANGES_IN_PLACE
    if file.mirrors_from > now:
        return reasons.origin_only(file.mirrors_from)
    return None


def _ranked(
    ranker: Ranker,
    numbers: Iterable[int],
    ranking: Ranking,
    client: Client,
    *,
    with_shares: bool = False,
) -> tuple[Ranked, ...]:
    nears = ranker.nearness(numbers, client)
    weights: Counter[Near] = Counter()
    for number, near in nears:
        weights[near] += ranker.mirrors[number].weight
    return tuple(
        Ranked(
            number,
            mirror := ranker.mirrors[number],
            ranking.bases[number],
            ranker.tier(number, near, client),
            ranker.km(number, client),
            mirror.weight / weights[near] if with_shares else None,
        )
        for number, near in nears
    )


def _chosen(path: str, ranked: tuple[Ranked, ...]) -> Choice:
    if not ranked:
        return Choice(path, (), reasons.NO_MIRROR)
    best = ranked[0]
    return Choice(path, ranked, reasons.chosen(best.mirror, best.tier, best.distance_km))
