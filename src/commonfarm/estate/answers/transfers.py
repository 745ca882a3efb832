"""How long many copies of the same bytes take through one link, and what would make it shorter.

Exact: copies x bytes x 8 / (bit/s), without the overhead of protocols.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal

from commonfarm.estate.facts import LEVELS, Facts, Level, Transfer
from commonfarm.estate.timeline import stands

Remedy = Literal["as it is", "a second link", "a cache on each host", "a cache at each site"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do it at one level: `copies` cross the link, in `seconds`.

    A cache at a site has to hand all on to the hosts: each in `handed_on` seconds, by a link of its
    own like this one; None where nothing is handed on. `fits` says whether both are within the
    wished time; None where none is wished.
    """

    remedy: Remedy
    level: Level
    copies: int
    seconds: Fraction
    handed_on: Fraction | None
    fits: bool | None


@dataclass(frozen=True, slots=True)
class TransferAhead:
    """A transfer's ways, and what the wished time takes.

    `needed` is the bandwidth in bit/s that does it within that time, rounded up, and `links` how
    many links as this one, or caches with such a link each. Both by level; empty where no time is
    wished.
    """

    transfer: Transfer
    ways: tuple[Way, ...]
    needed: dict[Level, int]
    links: dict[Level, int]


def seconds(copies: int, size: int, link: int) -> Fraction:
    """Return how long `copies` of `size` bytes take over a link of `link` bit/s."""
    return Fraction(copies * size * 8, link)


def transfers_ahead(facts: Facts, day: date) -> list[TransferAhead]:
    """Return the answers for all transfers, with the hosts that stand on a day."""
    return [_ahead(facts, one, day) for one in facts.transfers]


def _ahead(facts: Facts, one: Transfer, day: date) -> TransferAhead:
    hosts = [
        host
        for host in facts.hosts.values()
        if stands(facts, host, day) and one.site in (None, host.site)
    ]
    sites = {host.domain("site") for host in hosts}
    crossing: list[tuple[Remedy, int | None, int]] = [
        ("as it is", None, 1),
        ("a second link", None, 2),
        ("a cache on each host", len(hosts) or None, 1),
        ("a cache at each site", len(sites) or 1, 1),
    ]
    ways: list[Way] = []
    for remedy, most, links in crossing:
        if remedy == "a cache on each host" and most is None:
            continue
        for level in LEVELS:
            wanted = one.copies.at(level)
            copies = wanted if most is None else min(wanted, most)
            taken = seconds(copies, one.size, one.link * links)
            handed_on = None
            if remedy == "a cache at each site":
                handed_on = seconds(-(-wanted // max(copies, 1)), one.size, one.link)
            fits = None if one.within is None else max(taken, handed_on or 0) <= one.within
            ways.append(Way(remedy, level, copies, taken, handed_on, fits))
    needed: dict[Level, int] = {}
    if one.within:
        for level in LEVELS:
            needed[level] = -(-one.copies.at(level) * one.size * 8 // one.within)
    as_links = {level: -(-rate // one.link) for level, rate in needed.items()}
    return TransferAhead(one, tuple(ways), needed, as_links)
