"""Whether a mirror has just these files: after a publish, or where a listing told too little."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
    bounded,
    each,
    why_missing,
)
from commonfarm.mirrors.scanning.values import Checked, Code, Limits, ScanError, Wanted, failure

_WHOLE_MIRROR = (Code.REDIRECTOR, Code.SERVER_ERROR, Code.ADDRESS_REFUSED)
"""What says something of the mirror, not of the one file that was asked for."""


def check(
    bases: Sequence[str], wanted: Iterable[Wanted], policy: Policy, limits: Limits | None = None
) -> Checked:
    """Ask one mirror for each of `wanted` and return which it has. Blocks until done.

    `bases` are the mirror's addresses (ending in /) in the order to try them: one that cannot be
    reached leaves all to the next. A file counts as there when HEAD (where that is refused, a GET
    of its first byte) tells its size and no page. One that changes in place is read whole. Nothing
    is raised: what is wrong with the mirror as a whole is the answer's `problem`.
    """
    limits = limits or Limits()
    wanted = tuple(wanted)
    checked = Checked()
    for base in bases:
        checked = Checked()
        checked.problem = bounded(_check(base, wanted, policy, limits, checked), limits)
        if checked.problem is None or checked.held or checked.missing or checked.unknown:
            break
    return checked


async def _check(
    base: str, wanted: Sequence[Wanted], policy: Policy, limits: Limits, checked: Checked
) -> None:
    failures = 0

    async def ask(file: Wanted) -> None:
        nonlocal failures
        try:
            await _ask_for(asker, base, file, checked)
            failures = 0
        except ScanError as error:
            failures += 1
            if error.reason.code in _WHOLE_MIRROR or failures >= most_failures:
                raise
            certain = error.reason.code == Code.TOO_LARGE
            (checked.missing if certain else checked.unknown)[file.path] = error.reason

    most_failures = min(limits.failures_in_a_row, limits.at_once, len(wanted))
    async with asking(policy, limits) as asker:
        try:
            await each(iter(wanted), ask, limits.at_once)
        finally:
            checked.held.sort()
            checked.addresses = tuple(sorted(asker.resolver.seen))


async def _ask_for(asker: Asker, base: str, file: Wanted, checked: Checked) -> None:
    url = address_of(base, file.path)
    if file.changes:
        why = await _read(asker, url, file, checked)
    else:
        why = await _ask_for_size(asker, url, file)
    if why is None:
        checked.held.append(file.path)
    else:
        checked.missing[file.path] = why


async def _ask_for_size(asker: Asker, url: str, file: Wanted) -> Reason | None:
    async with asker.ask("HEAD", url) as response:
        if response.status not in HEAD_REFUSED:
            return _why_not(file, response)
    async with asker.ask("GET", url, {"Range": "bytes=0-0"}) as response:
        # A server that ignores Range would send it all.
        response.close()
        return _why_not(file, response)


async def _read(asker: Asker, url: str, file: Wanted, checked: Checked) -> Reason | None:
    async with asker.ask("GET", url) as response:
        try:
            why = _why_not(file, response)
            if why is None:
                found = hashlib.sha256()
                async for data in body(response, asker.limits.changing_bytes):
                    found.update(data)
                checked.hashes[file.path] = found.hexdigest()
            return why
        finally:
            # What is not read to its end is not wanted any more.
            response.close()


def _why_not(file: Wanted, response: aiohttp.ClientResponse) -> Reason | None:
    if (
        response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or response.status == HTTPStatus.TOO_MANY_REQUESTS
    ):
        text = f"it answers {response.status} to {file.path}"
        raise failure(Code.SERVER_ERROR, text, "look at its web server")
    return why_missing(file, response.status, response.headers)
