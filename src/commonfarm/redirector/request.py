"""What a client asked for, judged before anything is done about it. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import unquote_to_bytes

from commonfarm.redirector.selection import Address, Client, country_of, normal

Network = IPv4Network | IPv6Network

_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_PLAIN = re.compile(rb"^/|//|(?:^|/)\.\.?(?:/|$)")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_INTERNAL = re.compile(r"\.|[^/]*\.r[0-9]+(?:/|$)")


@dataclass(slots=True)
class Request:
    """One request as it was read; header names are in lower case."""

    method: bytes
    target: bytes
    keep_alive: bool
    headers: Mapping[bytes, bytes] = field(default_factory=dict)


def split_target(target: bytes) -> tuple[str, str] | None:
    """Return path (decoded, without its first slash) and query, or None for a path we refuse.

    Refused are bad escapes, control characters, empty, `.` and `..` parts, decoded or not.
    """
    path, _, query = _ABSOLUTE.sub(b"", target, count=1).partition(b"?")
    if not path.startswith(b"/") or _ESCAPE.search(path):
        return None
    decoded = unquote_to_bytes(path[1:])
    if _CONTROL.search(decoded) or _NOT_PLAIN.search(decoded):
        return None
    return os.fsdecode(decoded), query.decode("latin-1")


def is_internal(path: str) -> bool:
    """Say whether `path` starts with a hidden name or a tree's revision on its way (`tree.r7`)."""
    return _INTERNAL.match(path) is not None


def client_of(
    peer: Address, headers: Mapping[bytes, bytes], trusted_proxies: Collection[Network]
) -> Client:
    """Return who asks.

    `X-Forwarded-For` is read from its right end, and only as far as the addresses are those of
    trusted proxies: what stands further left anybody may have written.
    """

    def trusted(address: Address) -> bool:
        return any(address in network for network in trusted_proxies)

    if not trusted_proxies or not trusted(peer):
        return Client(peer, country_of(peer))
    address = peer
    for text in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
        if not trusted(address):
            break
        try:
            address = normal(text.strip())
        except ValueError:
            break
    secure = headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
    return Client(address, country_of(address), "https" if secure else "http")
