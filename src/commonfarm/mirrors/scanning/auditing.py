"""Whether a mirror's bytes are ours: pieces of files, compared with the SHA-256 we published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp

from commonfarm.lib.errors import Reason
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanning.asking import (
    Asker,
    address_of,
    asking,
    body,
    bounded,
    each,
    parts_sent,
    why_missing,
)
from commonfarm.mirrors.scanning.values import (
    Audited,
    Code,
    Limits,
    Mismatch,
    Sample,
    ScanError,
    Wanted,
)


def audit(
    base: str, samples: Sequence[Sample], policy: Policy, limits: Limits | None = None
) -> Audited:
    """Fetch each piece from the mirror at `base` and compare it. Blocks until done.

    Which pieces is the caller's to choose (at random, so that none is safe to alter). A server that
    ignores Range is read up to the end of the piece where that is within `limits.piece_bytes`, else
    the piece cannot be audited. Only bytes that came whole are ever called different.
    """
    limits = limits or Limits()
    matched: list[Sample] = []
    mismatches: list[Mismatch] = []
    unaudited: dict[Sample, Reason] = {}

    failures = 0
    most_failures = min(limits.failures_in_a_row, limits.at_once, len(samples))

    async def look() -> None:
        async with asking(policy, limits) as asker:

            async def compare(sample: Sample) -> None:
                nonlocal failures
                try:
                    found = await _hash_of(asker, base, sample)
                    failures = 0
                except ScanError as error:
                    unaudited[sample] = error.reason
                    failures += 1
                    if failures >= most_failures:
                        raise
                    return
                if isinstance(found, Reason):
                    unaudited[sample] = found
                elif found == sample.sha256:
                    matched.append(sample)
                else:
                    mismatches.append(Mismatch(sample.path, sample.piece, sample.sha256, found))

            await each(iter(samples), compare, limits.at_once)

    problem = bounded(look(), limits)
    mismatches.sort(key=lambda one: (one.path, one.piece))
    return Audited(len(matched), tuple(mismatches), unaudited, problem)


async def _hash_of(asker: Asker, base: str, sample: Sample) -> str | Reason:
    """Return the SHA-256 of the piece as the mirror has it, or why that cannot be told."""
    last = sample.start + sample.length - 1
    headers = {"Range": f"bytes={sample.start}-{last}"}
    async with asker.ask("GET", address_of(base, sample.path), headers) as response:
        try:
            why = _why_not(response, sample, asker.limits)
            if why is not None:
                return why
            skipped = sample.start if response.status == HTTPStatus.OK else 0
            return await _hash(response, skipped, sample)
        finally:
            # More than the piece is not wanted, and may be without end.
            response.close()


def _why_not(response: aiohttp.ClientResponse, sample: Sample, limits: Limits) -> Reason | None:
    missing = why_missing(Wanted(sample.path, sample.size), response.status, response.headers)
    if missing is not None:
        return missing
    end = sample.start + sample.length
    if response.status == HTTPStatus.OK:
        if end <= limits.piece_bytes:
            return None
        text = "it serves no parts of files, and the piece begins too far behind"
        return Reason(Code.NOT_AUDITABLE, text, "let its web server answer Range")
    if parts_sent(response.headers) != (sample.start, end - 1, sample.size):
        return Reason(Code.NOT_AUDITABLE, "it sends another part than was asked for")
    return None


async def _hash(response: aiohttp.ClientResponse, skipped: int, sample: Sample) -> str | Reason:
    found = hashlib.sha256()
    seen, end = 0, skipped + sample.length
    async for data in body(response, end + 2**20):
        found.update(data[max(0, skipped - seen) : max(0, end - seen)])
        seen += len(data)
        if seen >= end:
            return found.hexdigest()
    return Reason(Code.NOT_AUDITABLE, f"it sends {seen} bytes where {end} are expected")
