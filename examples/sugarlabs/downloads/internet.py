"""An internet of our own: a network namespace in which every address is this machine.

Servers listen on the addresses that such servers might have, clients come from those of their
countries, and nothing leaves the namespace: it has the loopback interface only.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import iptocc

from examples.first.command import run

HOSTS = Path("/etc/netns")


class Internet:
    """The namespace `name`, from entering it until leaving. Names are resolved by its own hosts.

    Only root can make one.
    """

    def __init__(self, name: str, hosts: Mapping[str, Sequence[str]]) -> None:
        self.name = name
        self._hosts = hosts

    def __enter__(self) -> Self:
        folder = HOSTS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {name}" for name, found in self._hosts.items() for address in found]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        (folder / "resolv.conf").write_text("options attempts:1 timeout:1\n")
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "route", "add", "local", "0.0.0.0/0", "dev", "lo")
        run("ip", "-n", self.name, "-6", "route", "add", "local", "::/0", "dev", "lo")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in run("ip", "netns", "pids", self.name).split():
            subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        run("ip", "netns", "del", self.name)
        folder = HOSTS / self.name
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command that runs `arguments` inside; it ends when we do."""
        inside = ["ip", "netns", "exec", self.name, *map(str, arguments)]
        return ["setpriv", "--pdeathsig", "TERM", *inside]


def networks_of(countries: Sequence[str], each: int, seed: int) -> dict[str, list[str]]:
    """Return `each` addresses of random IPv4 networks (/24) for each of `countries`."""
    dice = random.Random(seed)  # noqa: S311 - which clients there are is no secret
    found: dict[str, list[str]] = {country: [] for country in countries}
    lacking = set(countries)
    while lacking:
        number = dice.randrange(1 << 24, 224 << 24) & 0xFFFFFF00 | dice.randrange(1, 255)
        address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
        country = iptocc.country_code(address)
        if country in lacking and not address.startswith("127."):
            found[country].append(address)
            if len(found[country]) == each:
                lacking.remove(country)
    return found


def may_make_one() -> bool:
    """Say whether this user may make network namespaces."""
    return os.getuid() == 0
