"""Listing a mirror by the indexes that its web server makes, folder by folder, breadth first."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from commonfarm.lib.terminal import harmless
from commonfarm.mirrors.addresses import PORTS, Policy
from commonfarm.mirrors.scanning.asking import (
    REDIRECTS,
    Asker,
    address_of,
    asking,
    body,
    media_type,
    too_slow,
)
from commonfarm.mirrors.scanning.indexes import Entry, NotAnIndexError, entries_of
from commonfarm.mirrors.scanning.names import is_plain
from commonfarm.mirrors.scanning.values import Code, Limits, Listed, ScanError, failure

_MOST_REDIRECTS = 5
_MOST_ALIKE = 2
"""So often a page may stand within itself; the next time it is taken for a link to a parent."""
_TRIED_AGAIN = (Code.NOT_REACHED, Code.BAD_ANSWER, Code.TOO_SLOW)
_PAUSES, _SHORTEST_PAUSE, _LONGEST_PAUSE = 2, 1.0, 30.0
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_PAGES = ("text/html", "application/xhtml+xml", "application/json")
# Caddy sends its index as JSON, which has exact sizes, to who asks for it.
_ACCEPT = {"Accept": "application/json, text/html;q=0.9"}


class _Folder(NamedTuple):
    """A folder to read: its path below the base (with a slash, "" for the base itself)."""

    path: str
    depth: int
    pages_above: tuple[int, ...]


def list_http(url: str, policy: Policy, limits: Limits | None = None) -> Iterator[Listed]:
    """Yield the files that the web indexes below `url` (ending in /) name.

    A folder below `url` that cannot be read (403, 404, no index, a redirect elsewhere) is left out:
    its files could not be had there either, or not be seen. So are names that the server does not
    show (Apache leaves out README, as Debian ships it). Links on the mirror are followed by its web
    server; one that leads to a parent is noticed by its page, which stands within itself. A server
    that asks for a pause (429 or 503, RFC 6585 and 9110) gets one, twice.

    Raises ScanError when the mirror cannot be listed, or not to its end. Then what was not yielded
    is unknown. The listing pauses while the caller works on what was yielded (`total_seconds` runs
    on); closing the iterator ends it. Not to be called where an event loop runs.
    """
    limits = limits or Limits()
    pages = _crawl(url, policy, limits)

    async def next_page() -> list[Listed] | None:
        return await anext(pages, None)

    with asyncio.Runner() as runner:
        try:
            while (page := runner.run(next_page())) is not None:
                yield from page
        finally:
            runner.run(pages.aclose())


async def _crawl(base: str, policy: Policy, limits: Limits) -> AsyncGenerator[list[Listed]]:
    deadline = time.monotonic() + limits.total_seconds
    todo = deque([_Folder("", 0, ())])
    reading: set[asyncio.Task[tuple[_Folder, list[Entry], int]]] = set()
    folders, names, size = 1, 0, 0
    async with asking(policy, limits) as asker:
        try:
            while todo or reading:
                while todo and len(reading) < limits.at_once:
                    reading.add(asyncio.create_task(_read(asker, base, todo.popleft())))
                done, reading = await asyncio.wait(
                    reading,
                    timeout=max(0.0, deadline - time.monotonic()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    raise too_slow(limits)
                for task in done:
                    folder, entries, length = task.result()
                    below = _below(folder, entries)
                    files = [] if below is None else list(_files(folder, entries))
                    todo.extend(below or ())
                    folders += len(below or ())
                    names += len(entries)
                    size += length
                    _judge_size(folders, names, size, folder.depth, limits)
                    yield files
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


def _judge_size(folders: int, names: int, size: int, depth: int, limits: Limits) -> None:
    """Raise ScanError when a listing has grown beyond its limits."""
    for what, amount, most in (
        ("folders", folders, limits.folders),
        ("names", names, limits.names),
        ("bytes", size, limits.listing_bytes),
        ("folders within each other", depth, limits.depth),
    ):
        if amount > most:
            text = f"its listing has more than {most} {what}"
            raise failure(Code.TOO_LARGE, text, "register the folder of the tree alone")


def _below(folder: _Folder, entries: list[Entry]) -> list[_Folder] | None:
    """Return the folders to read next, or None when the page is one of its own parents."""
    page = hash(frozenset(entries))
    if folder.pages_above.count(page) >= _MOST_ALIKE:
        return None
    above = (*folder.pages_above, page)
    return [
        _Folder(path, folder.depth + 1, above)
        for entry in entries
        if entry.is_folder and is_plain(path := f"{folder.path}{entry.name}/")
    ]


def _files(folder: _Folder, entries: list[Entry]) -> Iterator[Listed]:
    for entry in entries:
        path = folder.path + entry.name
        # Each name is plain; together they may be too long.
        if not entry.is_folder and is_plain(path):
            exact = entry.size >= 0 and not entry.slack
            yield Listed(path, entry.size, exact, entry.modified_at, entry.slack)


async def _read(asker: Asker, base: str, folder: _Folder) -> tuple[_Folder, list[Entry], int]:
    """Return what a folder's index names, and how long it is; one failure is tried again."""
    for again in (True, False):
        try:
            return folder, *await _follow(asker, base, folder)
        except ScanError as error:
            if not again or error.reason.code not in _TRIED_AGAIN:
                raise
    raise AssertionError("either it is read, or the second failure is raised")


async def _follow(asker: Asker, base: str, folder: _Folder) -> tuple[list[Entry], int]:
    """Read a folder's index, wherever below the base it redirects to."""
    url = address_of(base, folder.path)
    pauses = redirects = 0
    while redirects < _MOST_REDIRECTS:
        async with asker.ask("GET", url, _ACCEPT) as response:
            busy = response.status in _BUSY and pauses < _PAUSES
            if not busy and response.status not in REDIRECTS:
                return await _index(response, url, asker.limits, is_base=not folder.path)
            response.close()
            told = response.headers.get("Location", "")
            wait = _pause(response.headers.get("Retry-After", ""))
        if busy:
            pauses += 1
            await asyncio.sleep(wait)
            continue
        redirects += 1
        url = _joined(url, told)
        if not _is_below(base, url):
            text = f"it redirects to {harmless(told[:200])}"
            return _unlisted(folder, Code.REDIRECTED, text, "register that address, if it is right")
    return _unlisted(folder, Code.REDIRECTED, "it redirects in a loop", "look at its web server")


def _pause(told: str) -> float:
    """Return for how many seconds to leave a server alone that says `Retry-After: told`."""
    seconds = float(told) if told.isascii() and told.isdigit() and len(told) < 9 else 0.0
    return min(seconds or _SHORTEST_PAUSE, _LONGEST_PAUSE)


def _joined(url: str, told: str) -> str:
    try:
        return urljoin(url, told)
    except ValueError:
        return ""


def _is_below(base: str, url: str) -> bool:
    """Say whether `url` is of the same scheme, host and port as the base, and in its folder."""
    if "?" in url or any(not "!" <= char <= "~" for char in url):
        return False
    try:
        there, here = urlsplit(url), urlsplit(base)
        place = (there.scheme, there.hostname, there.port or PORTS.get(there.scheme))
        home = (here.scheme, here.hostname, here.port or PORTS[here.scheme])
    except ValueError:
        return False
    path = unquote(there.path)
    is_inside = path.startswith(unquote(here.path)) and ".." not in path.split("/")
    return place == home and is_inside and there.username is None


def _unlisted(folder: _Folder, code: Code, text: str, to_do: str) -> tuple[list[Entry], int]:
    if not folder.path:
        raise failure(code, text, to_do)
    return [], 0


async def _index(
    response: aiohttp.ClientResponse, url: str, limits: Limits, is_base: bool
) -> tuple[list[Entry], int]:
    status, kind = response.status, media_type(response.headers)
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    problem = ""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        text = f"it answers {status} to {harmless(url[:200])}"
        raise failure(Code.SERVER_ERROR, text, "look at its web server")
    if status != HTTPStatus.OK:
        problem = f"it answers {status}"
    elif packed not in ("", "identity"):
        text = f"it sends its index packed ({harmless(packed[:40])})"
        raise failure(Code.PACKED, text, "let its web server heed Accept-Encoding")
    elif kind not in _PAGES:
        problem = f"it sends {harmless(kind[:80]) or 'something'} where an index is expected"
    if not problem:
        page = b"".join([data async for data in body(response, limits.page_bytes)])
        try:
            return entries_of(page, url, kind), len(page)
        except NotAnIndexError as error:
            problem = str(error)
    response.close()
    if is_base:
        raise failure(Code.NO_LISTING, problem, "let its web server make indexes, or add rsync")
    return [], 0
