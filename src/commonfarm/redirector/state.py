"""What all connections of a redirector share: the map in force, clients' routes, the counts."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from commonfarm.redirector import limits, mirror_map, response
from commonfarm.redirector.client import Client, locate_client
from commonfarm.redirector.counts import (
    MANY_FILES,
    MOST_BYTES,
    MOST_FILES,
    Batch,
    Counts,
    Spool,
    lines_of,
)
from commonfarm.redirector.metrics import Metrics, Now
from commonfarm.redirector.mirror_map import MapError, MirrorMap
from commonfarm.redirector.networks import Address, Network
from commonfarm.redirector.origin import Published, Transfer
from commonfarm.redirector.places import Places
from commonfarm.redirector.redirects import Found, Redirects, Route
from commonfarm.redirector.request import Head, Heads, asked_by
from commonfarm.redirector.response import Answer

if TYPE_CHECKING:
    from commonfarm.redirector.connection import Connection

MOST_ROUTES = 8192
FLUSH_SECONDS = 5
SLOW_FLUSH_SECONDS = 300
"""How often counts leave while nobody takes them."""
WARM_SECONDS = 0.0005
"""How long the requests wait at most while a new map is prepared."""
WARM_PART = 5
"""Preparing takes one part in so many of our time, so that what comes meanwhile is not too much."""
AT_ONCE = 200
"""How many rankings are forgotten before the requests have their turn again: in about 0.2 ms."""
MOST_WARM_SECONDS = 5.0
"""How long the new map waits at most; whoever is not ranked by then is when he asks."""

log = logging.getLogger("commonfarm.redirector")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one redirector is told.

    `mirror_map` is the folder of the map, `public_key` the PEM file that it is checked by; both
    may appear later. `spool` is where counts go, None to count nothing. `public` is our address as
    clients know it, without a slash at its end; empty: the one that each of them asked.
    """

    published: Path
    mirror_map: Path
    public_key: Path
    spool: Path | None = None
    public: str = ""
    trusted_proxies: Collection[Network] = ()
    places: Sequence[Path] = ()
    most_connections: int = limits.MOST_CONNECTIONS
    most_transfers: int = limits.MOST_TRANSFERS


@dataclass(slots=True)
class _Seen:
    """Which files were last looked at, and what was wrong with them."""

    problem: str = ""
    map: tuple[tuple[int, ...], ...] = ()
    key: tuple[int, ...] = ()
    flushed: float = 0.0
    waiting: int = 0
    spent: dict[str, int] = field(default_factory=dict)


class Redirector:
    """The shared state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.places = Places(settings.places)
        self.metrics = Metrics()
        self.heads = Heads()
        self.counts = Counts()
        self.transfers: set[Transfer] = set()
        self.connections: set[Connection] = set()
        self.era = 0
        self.published = Published(settings.published)
        self.adopted: dict[str, Published] = {}
        self.spool = Spool(settings.spool) if settings.spool is not None else None
        self.redirects = Redirects(mirror_map.EMPTY, {})
        self.found = b""
        self.date = b""
        self.now = 0
        self.clock = 0.0
        self.public = settings.public.rstrip("/").encode()
        self._routes: dict[tuple[Address, str], Route] = {}
        self._seen = _Seen()
        self.set_time(time.time())
        if self.spool is not None:
            self.spool.clear_away()
            self.redirects.spent.update(self.spool.spent(self.counts.day))

    @property
    def map(self) -> MirrorMap:
        """The map in force."""
        return self.redirects.map

    def set_time(self, now: float) -> None:
        """Let it be `now` (epoch seconds): for the date, for counts, and for budgets."""
        self.clock = time.monotonic()
        when = datetime.fromtimestamp(now, UTC)
        self.now = self.redirects.now = int(now)
        self.date = when.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
        self.found = (
            response.start(HTTPStatus.FOUND, self.date, keep_alive=True) + response.REDIRECT
        )
        day = when.date().isoformat()
        if day > self.counts.day:  # not when a clock goes back: donors would give twice
            self.redirects.spent.clear()
        self.counts.begin(day)

    # Who asks.

    def trusts(self, address: Address) -> bool:
        """Say whether `address` is one of a trusted proxy."""
        return any(address in network for network in self.settings.trusted_proxies)

    def route(self, peer: Address, head: Head) -> Route:
        """Return the route of who sent `head` from `peer`; equal clients share one."""
        asked = asked_by(peer, head.headers, self.settings.trusted_proxies)
        route = self._routes.get(asked)
        if route is None:
            if len(self._routes) >= MOST_ROUTES:
                self._routes.pop(next(iter(self._routes)))
            route = self._routes[asked] = Route(self.locate(*asked))
        return route

    def locate(
        self, address: Address, scheme: str, country: str | None = None, number: int | None = None
    ) -> Client:
        """Return the client at `address`, or as one that says it is elsewhere."""
        overrides = self.redirects.selector.overrides
        return locate_client(address, scheme, self.places, overrides, country, number)

    def base(self, head: Head, scheme: str) -> bytes:
        """Return our own address as the client may reach it, b"" when there is no telling.

        Where none is configured it is the `Host` that the client asked, if it is a name or an
        address: whoever sends a wrong one misleads only himself, since what names it is private to
        him and kept by no cache. It is not always right (wget2 1.99 leaves the port out).
        """
        if self.public or not head.host:
            return self.public
        return (b"https://" if scheme == "https" else b"http://") + head.host

    # What is counted.

    def count_redirect(self, path: bytes, found: Found, downloads: int, size: int) -> None:
        """Count that somebody was sent to the first mirror `found` for `size` bytes."""
        way, numbers, _, _ = found
        self.counts.add(path, way.counted[numbers[0]], downloads, size)
        self.metrics.redirected_bytes += size
        if self.redirects.budgeted:
            self.redirects.spend(numbers[0], size)

    def count_served(self, answer: Answer, size: int) -> None:
        """Count `size` bytes of our own that `answer` gave."""
        self.metrics.served_bytes += size
        if answer.counted is not None:
            counted = answer.counted
            self.counts.add(counted.path, counted.end, counted.downloads, size)

    # What is done about once a second, each by itself: a slow disk holds up no clock.

    async def look_at_places(self) -> None:
        """Take up files of places that were replaced."""
        for problem in await asyncio.to_thread(self.places.reload):
            log.error("%s; the one before stays in force", problem)
        self._forget_routes()

    async def let_counts_leave(self) -> None:
        """Write what was counted, when it is time or when another batch is full."""
        if self.spool is None:
            self.counts = Counts(self.counts.day)
        elif self.clock >= self._seen.flushed or len(self.counts.waiting) > self._seen.waiting:
            self._seen.flushed = self.clock + await self.flush()

    async def reload(self) -> None:
        """Take up a new map; a bad one is refused and the map in force stays."""
        key = mirror_map.mark_of(self.settings.public_key)
        seen = mirror_map.seen(self.settings.mirror_map)
        if not key or not any(seen) or (seen, key) == (self._seen.map, self._seen.key):
            return
        self._seen.map, self._seen.key = seen, key
        try:
            fresh = await asyncio.to_thread(self._load)
            if fresh.generation < self.map.generation:
                raise MapError(
                    f"its generation {fresh.generation} is older than {self.map.generation};"
                    " restart the redirector if a backup was restored"
                )
        except (MapError, OSError) as error:
            if isinstance(error, OSError):  # may pass: no descriptor is free, the disk fails
                self._seen.map = ()
            self._refused(
                f"mirror map in {self.settings.mirror_map} is refused: {error};"
                f" generation {self.map.generation} stays in force"
            )
            return
        # A delta of the full map before is about to be removed by who wrote this one.
        if fresh.delta_problem and mirror_map.seen(self.settings.mirror_map) == seen:
            self._refused(f"its delta is refused: {fresh.delta_problem}")
        else:
            self._seen.problem = ""
        await self._swap(fresh)
        log.info("mirror map %d is in force: %d mirrors", fresh.generation, len(fresh.mirrors))

    def _refused(self, problem: str) -> None:
        """Say what is wrong with a map, once."""
        self.metrics.reload_failures += 1
        if problem != self._seen.problem:
            self._seen.problem = problem
            log.error("%s", problem)

    def _load(self) -> MirrorMap:
        key = mirror_map.read_key(self.settings.public_key)
        return mirror_map.load(self.settings.mirror_map, key, self.map)

    async def _swap(self, fresh: MirrorMap) -> None:
        """Put `fresh` in force, with its rankings made before for those who were here last."""
        before = self.redirects
        made = Redirects(fresh, before.spent, before)
        made.now = self.now
        if made.table is not before.table:
            await self._rank_again(before, made)
        self.adopted = {
            tree.name: Published(tree.folder) for tree in fresh.trees.values() if tree.folder
        }
        made.now = self.now
        self.redirects = made
        if before.map.overrides != fresh.overrides:
            self._forget_routes()
        if made.table is not before.table:
            await self._let_go(before)
        last = [before]
        del before
        await asyncio.to_thread(last.clear)  # closing a large file that is gone takes milliseconds

    async def _rank_again(self, before: Redirects, made: Redirects) -> None:
        """Rank the mirrors of `made` for who went by `before`, those that came last first."""
        begun = slice_begun = time.monotonic()
        for route in list(self._routes.values())[::-1]:
            for tree in list(route.ways) if route.table is before.table else ():
                if os.fsdecode(tree) in made.map.trees:
                    made.prepare(route.client, tree)
            now = time.monotonic()
            if now - begun > MOST_WARM_SECONDS:
                return
            if now - slice_begun > WARM_SECONDS:
                await asyncio.sleep((WARM_PART - 1) * (now - slice_begun))
                slice_begun = time.monotonic()

    async def _let_go(self, before: Redirects) -> None:
        """Forget the rankings of `before`, in pieces: who comes no more would keep them."""
        for number, route in enumerate(list(self._routes.values())):
            if route.table is before.table:
                route.leave()
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        while before.table:
            for _ in range(min(AT_ONCE, len(before.table))):
                before.table.popitem()
            await asyncio.sleep(0)

    def _forget_routes(self) -> None:
        self._routes.clear()
        self.era += 1

    async def flush(self) -> float:
        """Write what was counted to the spool; return after how many seconds to do so again.

        While the disk takes none, only full batches join those that wait: there is room for few.
        """
        assert self.spool is not None
        if not self._seen.waiting:
            self.counts.close()
        pause = FLUSH_SECONDS
        try:
            lying, size = await asyncio.to_thread(self.spool.waiting)
            if lying >= MANY_FILES:
                pause = SLOW_FLUSH_SECONDS
            while self.counts.waiting:
                batch = self.counts.waiting[0]
                if lying < MOST_FILES and size < MOST_BYTES:
                    size += await self._write(batch)
                    lying += 1
                else:
                    self.counts.lost += len(batch.entries)
                if self.counts.waiting and self.counts.waiting[0] is batch:
                    self.counts.waiting.popleft()
            await self._keep_spent()
        except OSError as error:
            log.error("counts wait in memory, the spool does not take them: %s", error)
        self._seen.waiting = len(self.counts.waiting)
        return pause

    async def _write(self, batch: Batch) -> int:
        """Put a batch into the spool; return its bytes."""
        assert self.spool is not None
        pieces = []
        for piece in lines_of(batch):
            pieces.append(piece)
            await asyncio.sleep(0)  # requests have their turn
        data = b"".join(pieces)
        await asyncio.to_thread(self.spool.write, batch.id, data)
        return len(data)

    async def _keep_spent(self) -> None:
        assert self.spool is not None
        spent = dict(self.redirects.spent)
        if spent != self._seen.spent:
            self._seen.spent = spent
            await asyncio.to_thread(self.spool.keep_spent, self.counts.day, spent)

    def measured(self) -> Now:
        """Return what metrics tell of this moment."""
        the_map = self.map
        mirrors = dict.fromkeys(the_map.trees, 0)
        up = dict.fromkeys(the_map.trees, 0)
        for mirror in the_map.mirrors:
            mirrors[mirror.tree] = mirrors.get(mirror.tree, 0) + 1
            up[mirror.tree] = up.get(mirror.tree, 0) + (not mirror.problem)
        return Now(
            generation=the_map.generation,
            map_age_seconds=self.map_age(),
            mirrors_up=up,
            mirrors=mirrors,
            connections=len(self.connections),
            transfers=len(self.transfers),
            most_transfers=self.settings.most_transfers,
            counts_lost=self.counts.lost,
        )

    def map_age(self) -> float:
        """Return how many seconds ago the map in force was written; 0 without one."""
        if not self.map.generation:
            return 0.0
        try:
            written = datetime.fromisoformat(self.map.written_at)
        except ValueError:
            return 0.0
        return max(self.now - written.timestamp(), 0.0)
