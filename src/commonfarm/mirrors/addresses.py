"""Which addresses a mirror may have. What is registered here makes our worker connect somewhere.

A mirror must be on the public internet; on the loopback interface only where the whole
installation is, and is reached there alone, and never at a port of the installation itself. A name
is resolved and judged at every connection, and the connection goes to the very address that was
judged, so a name cannot change in between.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from commonfarm.lib.config import PROCESSES, Config
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError

_GIVEN_OUT = ip_network("2000::/3")
"""What of IPv6 is given to networks (RFC 4291). Outside lie site-local addresses, and those that
stand for any IPv4 address, private ones too (RFC 2765, 6052, 8215)."""
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""The last label of what resolvers take for an IPv4 address, in any way to write one (WHATWG)."""

_RSYNC_PATH = re.compile(r"[A-Za-z0-9._~+=@:,/-]+")
_RSYNC_FORM = "write rsync://HOST/MODULE/PATH/"


class AddressRefusedError(OSError):
    """A name stands for addresses that a mirror may not have. An OSError, so aiohttp takes it."""


class NoAddressError(OSError):
    """A name has no address of the wanted family."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What addresses are allowed: loopback or not, and which ports of it are our own."""

    loopback_allowed: bool
    own_ports: frozenset[int]

    @classmethod
    def of(cls, config: Config) -> Policy:
        """Return the policy of an installation: loopback only where nobody else can reach it."""
        named = [getattr(config.public, process) for process in PROCESSES]
        public = [urlsplit(url) for url in named if url]
        hosts = [config.listen.address, *(one.hostname or "" for one in public)]
        own = {*config.listen.ports.values(), *(one.port or PORTS[one.scheme] for one in public)}
        return cls(all(map(_is_loopback, hosts)), frozenset(own))

    def refusal(self, address: str, port: int) -> Reason | None:
        """Return why a mirror may not be at `address` and `port`, or None."""
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        if found.is_loopback and self.loopback_allowed:
            if port not in self.own_ports:
                return None
            return Reason(
                "mirror-is-ourselves", f"port {port} here is this installation's own", "use another"
            )
        if _is_public(found):
            return None
        return Reason(
            "address-not-public",
            f"{found} is not a public address",
            "give the mirror an address that its users can reach",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address):
        return address in _GIVEN_OUT and not (address.sixtofour or address.teredo)
    return True


PORTS = {"http": 80, "https": 443, "rsync": 873, "ssh": 22}
"""The port of each scheme where the address names none."""


def check_url(url: str, policy: Policy) -> str:
    """Return the address of a mirror as it is kept, or raise BadInputError or RefusedError.

    It is http or https, names a host and no user, has neither query nor fragment, and gets a slash
    at its end. An address written out is judged at once, a name at every connection.
    """
    return _checked(url, policy, ("http", "https"), "write http://HOST/PATH/")


def check_rsync_url(url: str, policy: Policy) -> str:
    """Return the rsync address of a mirror as it is kept: `check_url` for rsync://HOST/MODULE/PATH/.

    A module is named, so that nobody's list of modules is taken for a tree. rsync's daemon expands
    patterns in the path and takes no escapes: both are refused, as is a path that goes up.
    """
    kept = _checked(url, policy, ("rsync",), _RSYNC_FORM)
    path = urlsplit(kept).path
    problem = ""
    if path == "/":
        problem = "names no module"
    elif any(part in ("", ".", "..") for part in path[1:-1].split("/")):
        problem = "has a path that goes up or nowhere"
    elif not _RSYNC_PATH.fullmatch(path):
        problem = "has characters in its path that rsync takes for a pattern or an escape"
    if problem:
        raise BadInputError(Problem("url", 0, 0, f"{url[:200]!r} {problem}", _RSYNC_FORM))
    return kept


def _checked(url: str, policy: Policy, schemes: tuple[str, ...], form: str) -> str:
    def bad(what: str, to_do: str) -> BadInputError:
        return BadInputError(Problem("url", 0, 0, what, to_do))

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise bad(f"{url[:200]!r} is not an address: {error}", form) from None
    if parts.scheme not in schemes or not host:
        raise bad(f"{url[:200]!r} is not an {' or '.join(schemes)} address", form)
    if any(not "!" <= char <= "~" or char in '"<>\\^`{|}' for char in url):
        raise bad(f"{url[:200]!r} has characters an address may not have", "escape them with %")
    if parts.username is not None or "?" in url or "#" in url:
        raise bad(f"{url[:200]!r} has a user, a query or a fragment", "leave these out")
    try:
        ip_address(host)
    except ValueError:
        if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
            raise bad(
                f"{host[:200]!r} is no IPv4 address as they are usually written",
                "write its four numbers in decimal, such as 192.0.2.1, or a name",
            ) from None
    else:
        reason = policy.refusal(host, port or PORTS[parts.scheme])
        if reason is not None:
            raise RefusedError(reason)
    return url if url.endswith("/") else url + "/"


def addresses_of(url: str, policy: Policy) -> tuple[str, ...]:
    """Return the judged IP addresses of the host in `url`, in the order to try them. Blocks.

    AddressRefusedError when any of them is not allowed, OSError when the name has none.
    """
    parts = urlsplit(url)
    port = parts.port or PORTS[parts.scheme]
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(place[0]) for *_, place in found))
    for address in addresses:
        reason = policy.refusal(address, port)
        if reason is not None:
            raise AddressRefusedError(str(reason))
    return addresses


class CheckedResolver(AbstractResolver):
    """Resolves names for aiohttp to judged addresses only; remembers which it gave out.

    With a `family` only addresses of that one are given out, but all are judged.
    """

    def __init__(self, policy: Policy, family: socket.AddressFamily = socket.AF_UNSPEC) -> None:
        self.policy = policy
        self.family = family
        self.seen: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; AddressRefusedError when one of them is not allowed.

        NoAddressError when it has none of the wanted family.
        """
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=socket.AF_UNSPEC
        )
        results: list[ResolveResult] = []
        for kind, _, proto, _, place in found:
            self.admit(str(place[0]), port)
            if self.family not in (socket.AF_UNSPEC, kind):
                continue
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(place[0]),
                    port=port,
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not results:
            raise NoAddressError(f"{host} has no address of the family that is asked for")
        return results

    def admit(self, address: str, port: int) -> None:
        """Judge one address and remember it."""
        reason = self.policy.refusal(address, port)
        if reason is not None:
            raise AddressRefusedError(str(reason))
        self.seen.add(address)

    async def close(self) -> None:
        """Nothing is held."""


def all_loopback(addresses: Collection[str]) -> bool:
    """Say whether every address is of the loopback interface."""
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)
