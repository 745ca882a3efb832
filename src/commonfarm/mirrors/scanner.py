"""One look at a mirror over HTTP: which of the files it has, by name and size.

A mirror is believed nothing: only an answer that could be the file counts. An error page sent as
"200 OK", another size, no size, or a redirect elsewhere is a file that is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from commonfarm.mirrors.addresses import CheckedResolver, Policy
from commonfarm.redirector.mirror_map import SERVER_NAME


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that the mirror should have: its path in the tree and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one scan may ask of a mirror, and of our time. Durations in seconds."""

    at_once: int = 8
    request_seconds: float = 20.0
    scan_seconds: float = 600.0
    failures_in_a_row: int = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scan saw. With a `problem` nothing else of it counts."""

    missing: tuple[str, ...] = ()
    problem: str = ""
    addresses: tuple[str, ...] = ()


class ScanError(Exception):
    """The mirror as a whole cannot be used; the text says why."""


@dataclass(slots=True)
class _Progress:
    missing: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    answered: bool = False


def why_missing(wanted: Wanted, status: int, headers: Mapping[str, str]) -> str:
    """Judge the answer to a HEAD request; return why the file counts as missing, or nothing.

    Raises ScanError when the answer says that this is no mirror at all.
    """
    if headers.get("Server", "") == SERVER_NAME:
        raise ScanError("a redirector answers there, not a mirror")
    if status in (301, 302, 303, 307, 308):
        return f"it redirects to {headers.get('Location', 'nowhere')[:200]}"
    if status != HTTPStatus.OK:
        return f"it answers {status}"
    if headers.get("Content-Length") != str(wanted.size):
        length = headers.get("Content-Length", "no size")[:20]
        return f"it says {length} where {wanted.size} bytes are expected"
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html" and not wanted.path.endswith((".html", ".htm")):
        return "it sends a page where a file is expected"
    return ""


def scan(url: str, files: Sequence[Wanted], policy: Policy, limits: Limits | None = None) -> Seen:
    """Ask the mirror at `url` for each of `files` and return what was seen. Blocks until done."""
    limits = limits or Limits()
    resolver = CheckedResolver(policy)
    progress = _Progress()
    problem = ""
    try:
        asyncio.run(_scan(url, files, resolver, progress, limits))
    except ScanError as error:
        problem = str(error)
    except TimeoutError:
        problem = f"it could not be scanned in {limits.scan_seconds:.0f} seconds"
    if not problem and files and len(progress.missing) == len(files):
        problem = f"it has none of the files: {progress.missing[files[0].path]}"
    return Seen(tuple(sorted(progress.missing)), problem, tuple(sorted(resolver.seen)))


async def _scan(
    url: str,
    files: Sequence[Wanted],
    resolver: CheckedResolver,
    progress: _Progress,
    limits: Limits,
) -> None:
    _admit_literal(url, resolver)
    # Nothing asks for the root of an empty tree; whether the server is there is asked all the same.
    todo = iter(files or [Wanted("", -1)])
    timeout = aiohttp.ClientTimeout(total=limits.request_seconds)
    connector = aiohttp.TCPConnector(resolver=resolver, limit=limits.at_once)
    async with (
        asyncio.timeout(limits.scan_seconds),
        aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "commonfarm-scanner", "Accept-Encoding": "identity"},
        ) as session,
    ):
        askers = [_ask_for_all(session, url, todo, progress, limits) for _ in range(limits.at_once)]
        try:
            async with asyncio.TaskGroup() as group:
                for asker in askers:
                    group.create_task(asker)
        except ExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None
    if not files:
        progress.missing.clear()


def _admit_literal(url: str, resolver: CheckedResolver) -> None:
    """Judge an address that is written out: aiohttp resolves only names."""
    parts = urlsplit(url)
    try:
        ip_address(parts.hostname or "")
    except ValueError:
        return
    try:
        resolver.admit(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except OSError as error:
        raise ScanError(str(error)) from None


async def _ask_for_all(
    session: aiohttp.ClientSession,
    url: str,
    todo: Iterator[Wanted],
    progress: _Progress,
    limits: Limits,
) -> None:
    for wanted in todo:
        target = URL(url + quote(wanted.path, safe="/~+:=@,!$&'()*"), encoded=True)
        try:
            async with session.head(target, allow_redirects=False) as response:
                progress.failures = 0
                why = why_missing(wanted, response.status, response.headers)
                if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise ScanError(f"it answers {response.status} to {wanted.path}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # TimeoutError is an OSError: the one of a single request ends up here, too.
            progress.failures += 1
            why = _why_failed(error)[:300] or f"no answer in {limits.request_seconds:.0f} seconds"
            if progress.failures >= min(limits.failures_in_a_row, limits.at_once):
                raise ScanError(why) from None
        if why:
            progress.missing[wanted.path] = why


def _why_failed(error: Exception) -> str:
    """Return what went wrong; aiohttp hides the cause of a failed connection."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error}"
    return str(error)
