"""Whether a mirror answers: by each of its schemes, over each address family, with a known file."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp

from commonfarm.lib.errors import Reason
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanning.asking import (
    HEAD_REFUSED,
    Asker,
    address_of,
    asking,
    body,
    parts_sent,
    too_slow,
    why_missing,
)
from commonfarm.mirrors.scanning.values import (
    Code,
    Limits,
    Outcome,
    Probed,
    ScanError,
    Wanted,
    failure,
)

_MOST_TRIED = 3
"""A file that one mirror lacks says nothing of whether it answers: so many are tried."""
_MEASURED_BYTES = 256 * 1024
_TOLD_BYTES = 64 * 1024
"""Below this a transfer is over before it has a speed."""
USUAL = Limits(
    connect_seconds=10, silence_seconds=10, request_seconds=20, total_seconds=60, at_once=1
)


def probe(
    http: str, https: str, known: Sequence[Wanted], policy: Policy, limits: Limits | None = None
) -> Probed:
    """Return how a mirror answers at its two addresses (ending in /, "" where it has none).

    Each is asked over IPv4 and IPv6 by connections of their own, for the first of up to three
    `known` files that it has: by HEAD, and by a GET of its beginning. All of it is bounded by
    `limits.total_seconds`. A family that the name has no address of is NO_ADDRESS, one that this
    machine cannot reach at all is NO_ROUTE: neither says that the mirror is down.
    """
    limits = limits or USUAL

    async def look() -> Probed:
        http4, http6, https4, https6 = await asyncio.gather(
            *(
                _outcome(base, family, known, policy, limits)
                for base in (http, https)
                for family in (socket.AF_INET, socket.AF_INET6)
            )
        )
        return Probed(http4, http6, https4, https6)

    return asyncio.run(look())


async def _outcome(
    base: str,
    family: socket.AddressFamily,
    known: Sequence[Wanted],
    policy: Policy,
    limits: Limits,
) -> Outcome | None:
    if not base:
        return None
    try:
        async with asyncio.timeout(limits.total_seconds), asking(policy, limits, family) as asker:
            return await _first_that_answers(asker, base, known)
    except ScanError as error:
        return Outcome(error.reason)
    except TimeoutError:
        return Outcome(too_slow(limits).reason)


async def _first_that_answers(asker: Asker, base: str, known: Sequence[Wanted]) -> Outcome:
    told: Reason | None = None
    for file in known[:_MOST_TRIED]:
        outcome = await _ask_for(asker, base, file)
        if outcome.ok:
            return outcome
        told = told or outcome.problem
    return Outcome(told or Reason(Code.MISSING, "no file is known that it should have"))


async def _ask_for(asker: Asker, base: str, file: Wanted) -> Outcome:
    url = address_of(base, file.path)
    async with asker.ask("HEAD", url) as response:
        problem = _why_not(file, response)
        if problem is not None and response.status not in HEAD_REFUSED:
            return Outcome(problem)
    if not file.size:
        return Outcome(problem)
    length = min(file.size, _MEASURED_BYTES)
    began = time.monotonic()
    async with asker.ask("GET", url, {"Range": f"bytes=0-{length - 1}"}) as response:
        latency = time.monotonic() - began
        try:
            problem = _why_not(file, response)
            ranges = response.status == HTTPStatus.PARTIAL_CONTENT
            if problem is None and ranges:
                sent = parts_sent(response.headers)
                if sent != (0, length - 1, file.size):
                    text = "it sends another part than was asked for"
                    problem = Reason(Code.BAD_ANSWER, text, "look at its web server")
            if problem is not None:
                return Outcome(problem)
            await _read(response, length)
        finally:
            # A server that ignores Range would send it all.
            response.close()
    seconds = time.monotonic() - began
    speed = round(length / seconds) if length >= _TOLD_BYTES and seconds > 0 else 0
    return Outcome(None, latency, speed, ranges)


def _why_not(file: Wanted, response: aiohttp.ClientResponse) -> Reason | None:
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Reason(Code.SERVER_ERROR, f"it answers {response.status}", "look at its web server")
    return why_missing(file, response.status, response.headers)


async def _read(response: aiohttp.ClientResponse, length: int) -> None:
    seen = 0
    async for data in body(response, length + 2**20):
        seen += len(data)
        if seen >= length:
            return
    raise failure(Code.BAD_ANSWER, f"it sends {seen} bytes where it promised {length}")
