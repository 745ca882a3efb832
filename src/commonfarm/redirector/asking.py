"""One request with all that its answer is made of: who asks, for what, of which map."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import CHANGES
from commonfarm.redirector.redirects import Redirects, Route
from commonfarm.redirector.request import Head, escaped
from commonfarm.redirector.state import Redirector

MOST_COUNTRIES = 8


@dataclass
class Asked:
    """One request. `path` is decoded, without its first slash."""

    shared: Redirector
    head: Head
    path: bytes
    parameters: Mapping[str, str]
    route: Route

    @property
    def table(self) -> Redirects:
        """The redirects of the map in force."""
        return self.shared.redirects

    @property
    def client(self) -> Client:
        """Who asks."""
        return self.route.client

    @property
    def accept(self) -> bytes:
        """What it would have: its `Accept` header."""
        return self.head.headers.get(b"accept", b"")

    @property
    def condition(self) -> bytes | None:
        """Its `If-None-Match` header."""
        return self.head.headers.get(b"if-none-match")

    @cached_property
    def base(self) -> bytes:
        """Our own address without a slash at its end, b"" when nobody can tell."""
        return self.shared.base(self.head, self.client.scheme)

    def ours(self, path: bytes) -> str:
        """Return our own address of `path`, "" when nobody can tell."""
        return (self.base + b"/" + escaped(path)).decode() if self.base else ""

    def elsewhere(self) -> Route:
        """Return the route from where the client says it is, by `?country=` and `?as=`.

        Only the choice of mirrors looks at that, never whether somebody is trusted. What is no
        country or number is passed over.
        """
        countries = self.parameters.get("country", "").upper().split(",")[:MOST_COUNTRIES]
        country = next((one for one in countries if len(one) == 2 and one.isalpha()), None)
        number = self.parameters.get("as", "").upper().removeprefix("AS")
        as_number = int(number) if number.isdecimal() and len(number) <= 10 else None
        client = self.client
        return Route(self.shared.locate(client.address, client.scheme, country, as_number))

    def known(self, path: bytes) -> bytes | None:
        """Return the canonical path of a file in the map, aliases followed; None without one."""
        locate = self.table.map.locate
        if locate(path) is not None:
            return path
        canonical = os.fsencode(self.table.map.resolve(os.fsdecode(path)))
        return canonical if canonical != path and locate(canonical) is not None else None

    def facts(self, path: bytes) -> tuple[int, bytes, bool]:
        """Return size, SHA-256 (b"": unknown) and whether it changes, of a known file."""
        found = self.table.map.locate(path)
        assert found is not None
        part, index = found
        return part.sizes[index], part.digest(index), bool(part.flags[index] & CHANGES)
