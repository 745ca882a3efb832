"""The redirects of one mirror map, as bytes.

What is the same for many requests is made once: per kind of client and tree the ranking of mirrors
(a `Way`), per scheme and family the pieces of the header lines that lead to each mirror (`Links`).
A request then costs a look-up of its file, the choice of its mirrors and one joining of pieces.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Sequence

from commonfarm.redirector.client import Client
from commonfarm.redirector.counts import key_end
from commonfarm.redirector.mirror_map import CHANGES, WAITS, Mirror, MirrorMap, Part
from commonfarm.redirector.ranking import Ranking
from commonfarm.redirector.request import escaped
from commonfarm.redirector.selection import Selector

MOST_WAYS = 8192
MOST_LINKS = 256
ALTERNATES = 5

_DESCRIBED = b'.meta4>; rel=describedby; type="application/metalink4+xml"\r\n'


_REPR = b"\r\nRepr-Digest: sha-256=:"


class Route:
    """One client, and its ways to the trees it asked for, as long as these are of `table`.

    `way` is the one it went last: nearly always it goes there again.
    """

    __slots__ = ("__weakref__", "client", "table", "way", "ways")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ways: dict[bytes, Way] = {}
        self.way: Way | None = None
        self.table: object = None

    def leave(self) -> None:
        """Forget the ways: they would keep all that a map had which is no more in force."""
        self.way = self.table = None
        self.ways.clear()


class Links:
    """The bytes that lead to each mirror of the map, for clients who are given the same bases."""

    def __init__(self, bases: Sequence[str], mirrors: Sequence[Mirror]) -> None:
        self.bases = [base.encode() for base in bases]
        self.firsts = [b"\r\nLink: <" + base for base in self.bases]
        self.ends = [
            [
                b">; rel=duplicate; pri=%d; geo=%s\r\nLink: <"
                % (place, mirror.country.lower().encode())
                for mirror in mirrors
            ]
            for place in range(1, ALTERNATES + 1)
        ]
        self.cuts = {
            number: len(escaped(os.fsencode(mirror.subtree))) + 1
            for number, mirror in enumerate(mirrors)
            if mirror.subtree
        }

    def places(self, numbers: Sequence[int], inside: bytes) -> list[bytes]:
        """Return the addresses of `inside` (escaped path in its tree) on these mirrors."""
        cut = self.cuts.get
        return [self.bases[number] + inside[cut(number, 0) :] for number in numbers]


class Way:
    """The mirrors of one tree for one kind of client; `prefix` is the tree's name and a slash."""

    __slots__ = ("counted", "links", "prefix", "ranking")

    def __init__(self, prefix: bytes, ranking: Ranking, links: Links, counted: list[bytes]) -> None:
        self.prefix = prefix
        self.ranking = ranking
        self.links = links
        self.counted = counted


Found = tuple[Way, Sequence[int], int, bytes]
"""Where one request is sent: the way, the mirrors there, best first, the file's size and SHA-256.
No object of its own: it is made for every request.
"""


class Redirects:
    """Redirects by one map. `spent` is what each mirror was given today, by name, in bytes."""

    def __init__(
        self, the_map: MirrorMap, spent: dict[str, int], before: Redirects | None = None
    ) -> None:
        self.map = the_map
        self.spent = spent
        self.now = 0
        self.budgeted = {
            number: mirror.name
            for number, mirror in enumerate(the_map.mirrors)
            if mirror.budget_bytes
        }
        self.table: dict[tuple[object, ...], Way] = {}
        self._partial = _partial(the_map)
        self._links: dict[tuple[str, ...], Links] = {}
        self._counted: dict[str, list[bytes]] = {}
        self._trees = {
            os.fsencode(name): (name, os.fsencode(name) + b"/") for name in the_map.trees
        }
        if before is not None and _same_mirrors(before.map, the_map):
            # Rankings look at nothing else; most new maps only bring new files.
            self.table, self._links, self._counted = before.table, before._links, before._counted
            self.selector: Selector = before.selector.upon(the_map)
        else:
            self.selector = Selector(the_map)
        self._locate = the_map.locate
        self._pick = self.selector.pick

    def way(self, route: Route, tree: bytes) -> Way:
        """Return the way of `route` to `tree` (one of the map), made when it is asked for first."""
        if route.table is not self.table:
            route.ways, route.table = {}, self.table
        way = route.ways.get(tree)
        if way is None:
            way = route.ways[tree] = self.prepare(route.client, tree)
        route.way = way
        return way

    def prepare(self, client: Client, tree: bytes) -> Way:
        """Return the way to `tree` that all clients like `client` share."""
        name, prefix = self._trees[tree]  # one of each for all ways
        key = self.selector.key(name, client)
        way = self.table.get(key)
        if way is None:
            if len(self.table) >= MOST_WAYS:
                self.table.pop(next(iter(self.table)))
            way = self.table[key] = self._made(name, prefix, client)
        return way

    def _made(self, tree: str, prefix: bytes, client: Client) -> Way:
        ranking = self.selector.rank(tree, client)
        bases = tuple(ranking.bases)
        links = self._links.get(bases)
        if links is None:
            if len(self._links) >= MOST_LINKS:
                self._links.clear()
            links = self._links[bases] = Links(bases, self.map.mirrors)
        counted = self._counted.get(client.country)
        if counted is None:
            counted = self._counted[client.country] = [
                key_end(mirror.name, client.country) for mirror in self.map.mirrors
            ]
        return Way(prefix, ranking, links, counted)

    def find(self, path: bytes, route: Route) -> Found | None:
        """Return where the file `path` (`tree/path`) is sent; None where we serve it ourselves."""
        located = self._locate(path)
        if located is None:
            return None
        part, index = located
        flags = part.flags[index]
        if flags and not self._may_leave(part, index, flags):
            return None
        way = route.way
        if way is None or route.table is not self.table or not path.startswith(way.prefix):
            way = self.way(route, path[: path.index(b"/")])
        size, having = part.sizes[index], part.bits(part.sets[index])
        if self._partial:
            for folder, others in self._partial.get(way.prefix, ()):
                if not path.startswith(folder):
                    having &= others
        numbers = self._pick(way.ranking, having, size, self.now, self.spent)
        return (way, numbers, size, part.digest(index)) if numbers else None

    def _may_leave(self, part: Part, index: int, flags: int) -> bool:
        """Say whether a file may be redirected: it does not change, its time with us is over."""
        if flags & CHANGES:
            return False
        return not flags & WAITS or part.mirrors_from(index) <= self.now

    def spend(self, number: int, size: int) -> None:
        """Note that a mirror was given `size` bytes."""
        name = self.budgeted.get(number)
        if name is not None:
            self.spent[name] = self.spent.get(name, 0) + size


def _partial(the_map: MirrorMap) -> dict[bytes, list[tuple[bytes, int]]]:
    """Return by tree the folders that mirrors carry only, and all bits but theirs."""
    found: dict[bytes, list[tuple[bytes, int]]] = {}
    for number, mirror in enumerate(the_map.mirrors):
        if mirror.subtree:
            folder = os.fsencode(f"{mirror.tree}/{mirror.subtree}/")
            prefix = os.fsencode(mirror.tree) + b"/"
            found.setdefault(prefix, []).append((folder, ~(1 << number)))
    return found


def _same_mirrors(one: MirrorMap, other: MirrorMap) -> bool:
    return (
        one.mirrors == other.mirrors
        and one.overrides == other.overrides
        and one.trees.keys() == other.trees.keys()
    )


def lines(first: bytes, found: Found, path: bytes, base: bytes, end: bytes = b"") -> bytes:
    """Return the header lines that send to the mirrors `found`.

    They stand between `first`, which ends with `Location: `, and `end`. `path` is the escaped one.
    `base` is our own address; without it the metalink is not named, since wget2 takes the first
    part of a relative reference for a host. The next best are named as RFC 6249 says, one `Link`
    line each, since aria2 reads no list; the first equals `Location`, since wget2 takes the lowest
    `pri` for its target. `Digest` stands beside `Repr-Digest`, which replaced it (RFC 9530), since
    aria2 knows only the older one. Both, and `ETag`, tell of the file itself.
    """
    way, numbers, _, sha256 = found
    links, cut = way.links, path.index(b"/") + 1
    inside = path[cut:]
    ends, last = links.ends, digests(sha256) + end
    if links.cuts or not base:
        places = links.places(numbers, inside)
        pieces = [first, places[0], b"\r\nLink: <"]
        for rank, (place, number) in enumerate(zip(places, numbers, strict=True)):
            pieces += place, ends[rank][number]
        led = b"".join(pieces)
        if not base:
            return led.removesuffix(b"Link: <") + last
        return b"".join((led, base, b"/", path, _DESCRIBED, last))
    # The same, for the usual case that every mirror has the whole tree, in half the time.
    bases, before, rank = links.bases, numbers[0], 0
    pieces = [first + bases[before], links.firsts[before]]
    for number in numbers[1:]:
        pieces.append(ends[rank][before] + bases[number])
        before = number
        rank += 1
    pieces += ends[rank][before] + base + b"/" + path[:cut], _DESCRIBED + last
    return inside.join(pieces)


def digests(sha256: bytes) -> bytes:
    """Return the header lines that tell a file's SHA-256, b"" when it is unknown."""
    if not sha256:
        return b""
    value = b2a_base64(sha256, newline=False)
    return b"".join((b"Digest: SHA-256=", value, _REPR, value, b':\r\nETag: "', value, b'"\r\n'))


def etag_of(sha256: bytes) -> bytes:
    """Return the validator of a file by its SHA-256, b"" when it is unknown."""
    return b'"%s"' % b2a_base64(sha256, newline=False) if sha256 else b""
