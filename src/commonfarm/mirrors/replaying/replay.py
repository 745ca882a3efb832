"""Plays a logged day through the function that redirects. Pure but for the places of addresses.

Addresses are in memory only, to find their country, and in no result. Memory is bounded: of files
beyond MOST_FILES the least downloaded are forgotten, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from commonfarm.mirrors.replaying.accesslog import Request, day_of, parse
from commonfarm.redirector.client import Client, locate_client
from commonfarm.redirector.mirror_map import CHANGES, MirrorMap
from commonfarm.redirector.networks import normal
from commonfarm.redirector.places import NOWHERE, Places
from commonfarm.redirector.ranking import Ranking
from commonfarm.redirector.selection import Selector, carries, changes_in_place

MOST_FILES = 200_000
LONGEST_PATH = 1000
MOST_CLIENTS = 100_000
MOST_RANKINGS = 50_000
DAYS_AT_ONCE = 3
REDIRECT_BYTES = 1000
"""About what one redirect takes, with its list of other mirrors and its hash."""
_FAR = 86_400 * 60_000
"""A day so late that no file of a map is new any more: the log is of the past."""


class Stays(StrEnum):
    """Why a request is still served by ourselves."""

    INDEX = "index"
    SMALL = "small"
    FOLDER = "folder"
    UNKNOWN = "not-in-map"
    NO_MIRROR = "no-mirror"
    BUDGET = "budget"
    ORIGIN = "override"
    NOT_SENT = "nothing-sent"
    FAILED = "failed"
    NO_GET = "no-get"
    ELSEWHERE = "elsewhere"

    @property
    def text(self) -> str:
        """What it means."""
        return _WHY[self]


_WHY = {
    Stays.INDEX: "indexes, which change in place",
    Stays.SMALL: "too small to be worth a redirect",
    Stays.FOLDER: "pages and listings of folders",
    Stays.UNKNOWN: "not in the mirror map",
    Stays.NO_MIRROR: "no mirror has it and may serve that client",
    Stays.BUDGET: "the mirrors' budgets were spent",
    Stays.ORIGIN: "the operator serves that network by ourselves",
    Stays.NOT_SENT: "nothing to send: not modified, or redirected",
    Stays.FAILED: "errors, such as not found",
    Stays.NO_GET: "no download: HEAD, POST and others",
    Stays.ELSEWHERE: "outside of the tree",
}


@dataclass(slots=True)
class Sum:
    """Requests, and their bytes."""

    requests: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count one more request."""
        self.requests += 1
        self.size += size


@dataclass(slots=True)
class Carried(Sum):
    """All requests of a country or for a file, and the part of them that mirrors would carry."""

    carried: int = 0


@dataclass(slots=True)
class Replayed:
    """What a log holds, and what mirrors would have carried of it.

    `odd` is how many lines were of no known format; `forgotten` says that some of the least
    downloaded files are not among `files`.
    """

    all: Sum = field(default_factory=Sum)
    carried: Sum = field(default_factory=Sum)
    stays: dict[Stays, Sum] = field(default_factory=dict)
    mirrors: dict[str, Sum] = field(default_factory=dict)
    countries: dict[str, Carried] = field(default_factory=dict)
    files: dict[str, Carried] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0
    odd: int = 0
    forgotten: bool = False

    @property
    def redirects_size(self) -> int:
        """About how many bytes the redirects themselves take."""
        return self.carried.requests * REDIRECT_BYTES


@dataclass(frozen=True, slots=True)
class Settings:
    """How a log is read against the tree.

    Only what lies below `prefix` of the server's paths counts; what follows it is a path of `tree`,
    or names its tree first when that is empty. With `all_held` every mirror has every file it
    carries, and files smaller than `least` bytes stay. `https`: the clients came by it.
    """

    tree: str = ""
    prefix: str = "/"
    least: int = 0
    https: bool = False
    all_held: bool = False


class Replay:
    """Takes requests one by one; `found` is what came of them so far."""

    def __init__(
        self, the_map: MirrorMap, settings: Settings, places: Places | None = None
    ) -> None:
        self.found = Replayed()
        self._map = the_map
        self._settings = settings
        self._prefix = settings.prefix.strip("/") + "/" if settings.prefix.strip("/") else ""
        self._places = places or Places()
        self._selector = Selector(the_map)
        self._everyone = (1 << len(the_map.mirrors)) - 1
        self._partial = [(1 << n, one) for n, one in enumerate(the_map.mirrors) if one.subtree]
        self._spent: dict[str, dict[str, int]] = {}
        self._rankings: dict[object, Ranking] = {}
        self._client = lru_cache(maxsize=MOST_CLIENTS)(self._locate)

    def take(self, lines: Iterable[bytes]) -> Replayed:
        """Take the lines of a log."""
        for line in lines:
            request = parse(line)
            if request is not None:
                self.add(request)
            elif line.strip() or not line:
                self.found.odd += 1
        return self.found

    def add(self, request: Request) -> None:
        """Take one request."""
        found, size = self.found, request.size
        found.all.add(size)
        found.first = min(found.first or request.at, request.at)
        found.last = max(found.last, request.at)
        why, inside = self._stays(request)
        client = self._client(request.client)
        mirror = ""
        if why is None:
            why, mirror = self._choose(inside, client, request)
        if why is not None:
            found.stays.setdefault(why, Sum()).add(size)
        else:
            found.carried.add(size)
            found.mirrors.setdefault(mirror, Sum()).add(size)
        carried = size if why is None else 0
        country = found.countries.setdefault(client.country if client else NOWHERE, Carried())
        country.add(size)
        country.carried += carried
        if inside and size and len(inside) <= LONGEST_PATH:
            self._note(inside, size, carried)

    def _stays(self, request: Request) -> tuple[Stays | None, str]:
        """Return why a request is no download that could be redirected, and the file it is for."""
        if request.method != "GET":
            return Stays.NO_GET, ""
        if request.status not in (200, 206):
            return Stays.FAILED if request.status >= 400 else Stays.NOT_SENT, ""
        path = request.path.lstrip("/")
        if not path.startswith(self._prefix):
            return Stays.ELSEWHERE, ""
        path = path[len(self._prefix) :]
        if not path or path.endswith("/"):
            return Stays.FOLDER, ""
        inside = f"{self._settings.tree}/{path}" if self._settings.tree else path
        return None, inside

    def _choose(
        self, path: str, client: Client | None, request: Request
    ) -> tuple[Stays | None, str]:
        """Return why the file at `path` (`tree/path`) is not redirected, or the mirror it is."""
        if self._settings.all_held:
            if changes_in_place(path):
                return Stays.INDEX, ""
            if request.status == 200 and request.size < self._settings.least:
                return Stays.SMALL, ""
            tree, size, having = path.partition("/")[0], request.size, self._everyone
        else:
            path = self._map.resolve(path)
            located = self._map.locate(path.encode("utf-8", "surrogateescape"))
            if located is None:
                return Stays.UNKNOWN, ""
            part, index = located
            if part.flags[index] & CHANGES:
                return Stays.INDEX, ""
            tree = path.partition("/")[0]
            size, having = part.sizes[index], part.bits(part.sets[index])
        if client is None:
            return Stays.NO_MIRROR, ""
        inside = path.partition("/")[2]
        for bit, mirror in self._partial:
            if having & bit and not carries(mirror, inside):
                having &= ~bit
        ranking = self._rank(tree, client)
        if ranking.override is not None and ranking.override.origin:
            return Stays.ORIGIN, ""
        spent = self._spent_on(day_of(request.at))
        now = _FAR + request.at % 86_400
        numbers = self._selector.pick(ranking, having, size, now, spent, 1)
        if not numbers:
            budgeted = bool(ranking.first(having, 1))
            return Stays.BUDGET if budgeted else Stays.NO_MIRROR, ""
        name = self._map.mirrors[numbers[0]].name
        spent[name] = spent.get(name, 0) + request.size
        return None, name

    def _rank(self, tree: str, client: Client) -> Ranking:
        key = self._selector.key(tree, client)
        ranking = self._rankings.get(key)
        if ranking is None:
            if len(self._rankings) >= MOST_RANKINGS:
                self._rankings.clear()
            ranking = self._rankings[key] = self._selector.rank(tree, client)
        return ranking

    def _spent_on(self, day: str) -> dict[str, int]:
        if day not in self._spent:
            # Logs of several servers may lie a little crosswise, no more.
            while len(self._spent) >= DAYS_AT_ONCE:
                self._spent.pop(min(self._spent))
            self._spent[day] = {}
        return self._spent[day]

    def _locate(self, text: str) -> Client | None:
        """Return who asks; None for a name where the server logs no addresses."""
        try:
            address = normal(text)
        except ValueError:
            return None
        scheme = "https" if self._settings.https else "http"
        return locate_client(address, scheme, self._places, self._selector.overrides)

    def _note(self, path: str, size: int, carried: int) -> None:
        files = self.found.files
        one = files.get(path)
        if one is None:
            if len(files) >= MOST_FILES:
                kept = sorted(files.items(), key=lambda item: item[1].size, reverse=True)
                self.found.files = files = dict(kept[: MOST_FILES // 2])
                self.found.forgotten = True
            one = files[path] = Carried()
        one.add(size)
        one.carried += carried
