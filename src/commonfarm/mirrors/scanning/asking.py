"""Requests to mirrors: judged addresses only, no cookies, nothing packed, no redirect followed, and
an end to everything. All that can go wrong ends as a ScanError with a named reason.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from commonfarm.lib.errors import Reason
from commonfarm.lib.terminal import harmless
from commonfarm.mirrors.addresses import (
    PORTS,
    AddressRefusedError,
    CheckedResolver,
    NoAddressError,
    Policy,
)
from commonfarm.mirrors.scanning.values import Code, Limits, ScanError, Wanted, failure
from commonfarm.redirector.mirror_map import SERVER_NAME

T = TypeVar("T")
REDIRECTS = (301, 302, 303, 307, 308)
HEAD_REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""What servers answer that serve files but no HEAD."""
_CHUNK = 64 * 1024
_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18})")
_PAGE = re.compile(r"\.[sx]?html?(\.[^/]*)?$", re.IGNORECASE)
_PACKED = re.compile(r"\.(gz|tgz|svgz|bz2|tbz2?|xz|txz|zst|tzst|lzma|lz|br|z)$", re.IGNORECASE)
"""Files that servers call packed by their names (Apache's AddEncoding), and send as they are."""
_EXPIRED, _NAME_DIFFERS = 10, (62, 63, 64)
"""What OpenSSL calls certificates that expired, or are of another name (openssl-verification)."""


@cache
def trusted() -> ssl.SSLContext:
    """Return how TLS is verified: by this machine's certificates, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


class Asker:
    """Asks one mirror; made by `asking`."""

    def __init__(
        self, session: aiohttp.ClientSession, resolver: CheckedResolver, limits: Limits
    ) -> None:
        self.session = session
        self.resolver = resolver
        self.limits = limits

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for `url`, which is escaped already, and give the answer as soon as it begins.

        What goes wrong with it until the block ends is raised as ScanError.
        """
        self._admit_literal(url)
        try:
            response = await self.session.request(
                method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # TimeoutError is an OSError, and what is no name of a host a ValueError.
            raise ScanError(reason_of(error, self.limits)) from None
        async with response:
            if response.headers.get("Server", "") == SERVER_NAME:
                raise failure(
                    Code.REDIRECTOR,
                    "a redirector answers there, not a mirror",
                    "register the mirror's own address",
                )
            try:
                yield response
            except (aiohttp.ClientError, OSError) as error:
                raise ScanError(reason_of(error, self.limits)) from None

    def _admit_literal(self, url: str) -> None:
        """Judge an address that is written out: aiohttp resolves only names."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            version = ip_address(host).version
        except ValueError:
            # What only looks like an address is not resolved by aiohttp, either.
            if ":" in host or host.replace(".", "").isdigit():
                text = f"{host[:200]} is no IP address as they are usually written"
                raise failure(Code.ADDRESS_REFUSED, text) from None
            return
        wanted = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(self.resolver.family, version)
        try:
            self.resolver.admit(host, parts.port or PORTS[parts.scheme])
        except AddressRefusedError as error:
            raise failure(Code.ADDRESS_REFUSED, str(error)) from None
        if wanted != version:
            raise failure(Code.NO_ADDRESS, f"{host} is an IPv{version} address")


@asynccontextmanager
async def asking(
    policy: Policy, limits: Limits, family: socket.AddressFamily = socket.AF_UNSPEC
) -> AsyncIterator[Asker]:
    """Give an Asker with connections of its own, by one address family alone if wished."""
    resolver = CheckedResolver(policy, family)
    connector = aiohttp.TCPConnector(resolver=resolver, limit=limits.at_once, ssl=trusted())
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(
            total=limits.request_seconds,
            connect=limits.connect_seconds,
            sock_read=limits.silence_seconds,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "commonfarm-scanner", "Accept-Encoding": "identity"},
    ) as session:
        yield Asker(session, resolver, limits)


async def each(todo: Iterator[T], ask: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Call `ask` for each of `todo`, so many at once; the first error ends all and is raised."""

    async def one_after_another() -> None:
        for one in todo:
            await ask(one)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_another())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def bounded(look: Coroutine[object, object, None], limits: Limits) -> Reason | None:
    """Run a look at a mirror to its end and return what is wrong with the mirror as a whole."""

    async def within() -> None:
        async with asyncio.timeout(limits.total_seconds):
            await look

    try:
        asyncio.run(within())
    except ScanError as error:
        return error.reason
    except TimeoutError:
        return too_slow(limits).reason
    return None


def too_slow(limits: Limits) -> ScanError:
    """Return the error of a look that as a whole takes too long."""
    text = f"it could not be looked at in {limits.total_seconds:.0f} seconds"
    return failure(Code.TOO_SLOW, text, "try again when it is less busy")


async def body(response: aiohttp.ClientResponse, most: int) -> AsyncIterator[bytes]:
    """Yield the body of an answer; ScanError beyond `most` bytes."""
    seen = 0
    async for data in response.content.iter_chunked(_CHUNK):
        seen += len(data)
        if seen > most:
            raise failure(Code.TOO_LARGE, f"it sends more than {most} bytes for one address")
        yield data


def address_of(base: str, path: str) -> str:
    """Return the escaped address of a path of the tree under a mirror's address."""
    return base + quote(path, safe="/~+:=@,!$&'()*")


def media_type(headers: Mapping[str, str]) -> str:
    """Return what kind of file an answer says it has, without parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def parts_sent(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Return first and last byte and the whole size of Content-Range (RFC 9110, 14.4).

    For `bytes */SIZE` first and last are -1; None when there is none that makes sense.
    """
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return None
    if found[1] is None:
        return -1, -1, int(found[3])
    return int(found[1]), int(found[2]), int(found[3])


def why_missing(wanted: Wanted, status: int, headers: Mapping[str, str]) -> Reason | None:
    """Judge an answer to HEAD or to a request for a part; return why the file counts as missing.

    An error page sent as "200 OK", another size, no size, or a redirect elsewhere is no file.
    """
    if status in REDIRECTS:
        where = harmless(headers.get("Location", "nowhere")[:200])
        return Reason(Code.REDIRECTED, f"it redirects to {where}")
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        # Of an empty file there is no part.
        sensible = not wanted.size and not wanted.changes
    else:
        sensible = status == HTTPStatus.OK or (
            status == HTTPStatus.PARTIAL_CONTENT and not wanted.changes
        )
    if not sensible:
        return Reason(Code.MISSING, f"it answers {status}")
    packed = headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity") and not _PACKED.search(wanted.path):
        return Reason(Code.PACKED, f"it sends the file packed ({harmless(packed[:40])})")
    page = media_type(headers) == "text/html" and not _PAGE.search(wanted.path)
    if page and status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return Reason(Code.PAGE, "it sends a page where a file is expected")
    if wanted.changes:
        return None
    told = headers.get("Content-Length")
    if status != HTTPStatus.OK:
        sent = parts_sent(headers)
        told = None if sent is None else str(sent[2])
    if told != str(wanted.size):
        length = harmless((told or "no size")[:20])
        return Reason(Code.OTHER_SIZE, f"it says {length} where {wanted.size} bytes are expected")
    return None


def reason_of(error: Exception, limits: Limits) -> Reason:
    """Return by name what went wrong with a request; aiohttp hides the cause of some."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _why_untrusted(cause)
    if isinstance(cause, AddressRefusedError):
        return Reason(Code.ADDRESS_REFUSED, str(cause))
    if isinstance(cause, NoAddressError):
        return Reason(Code.NO_ADDRESS, str(cause))
    if isinstance(cause, socket.gaierror):
        text = f"its name cannot be resolved: {cause.strerror}"
        return Reason(Code.NO_ADDRESS, text, "look at the name")
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        text = f"this machine has no way there: {cause.strerror}"
        return Reason(Code.NO_ROUTE, text, "look at this machine's own network")
    if isinstance(error, TimeoutError):
        waited = min(limits.request_seconds, limits.silence_seconds)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            waited = limits.connect_seconds
        return Reason(Code.TOO_SLOW, f"no answer in {waited:.0f} seconds", "look at its load")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Reason(Code.NOT_REACHED, f"cannot connect: {cause}", "look whether it runs")
    text = harmless(str(error)[:300].replace("\n", " ")) or type(error).__name__
    return Reason(Code.BAD_ANSWER, f"its answer is broken: {text}", "look at its web server")


def _why_untrusted(error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code == _EXPIRED:
        return Reason(Code.CERTIFICATE_EXPIRED, "its certificate has expired", "let it renew it")
    if error.verify_code in _NAME_DIFFERS:
        text = "its certificate is of another name"
        return Reason(Code.CERTIFICATE_FOREIGN, text, "let it get one of this name")
    text = f"its certificate is not trusted: {error.verify_message}"
    return Reason(Code.CERTIFICATE_UNTRUSTED, text, "let it get one of a known authority")
