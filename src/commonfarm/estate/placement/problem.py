"""The question that placement answers, at one time and for one level: what is to go where.

Frozen, with all rules already turned into hosts, amounts and limits. `pose` makes it of the facts;
the model, the search, the bounds and the packing read it and nothing else. Everything in it is in
an order that does not depend on the order of the estate's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from commonfarm.estate.facts import Host
from commonfarm.estate.resources import Amounts

Limit = tuple[str, str, str]
"""Scope, name and resource of what is limited, named as in `plan.Row`: of a host, site, network."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Instances that need the same.

    `hosts`: each host whose rules it meets and whose room, were it empty, takes one; with the
    number of preferred traits that are missing there. `addresses`: network (its name within the
    site) -> how many. `dedicated`: alone on its host.
    """

    amounts: Amounts
    hosts: Mapping[str, int]
    addresses: Mapping[str, int] = field(default_factory=dict)
    dedicated: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """An instance to place. `now`: the host where it ran before, if that still stands.

    It may be a host that `kind.hosts` lacks: then it cannot stay.
    """

    name: str
    kind: Kind
    priority: int
    now: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A rule over some of the items; `number` is its place in `facts.spreads`.

    `domains`: host -> failure domain. `at_most` items in one domain, or `at_least` so many domains
    (as many as items are placed, where those are fewer). `there`: domain -> how many of the rule's
    instances are in it that are no items of this problem (where only a part is placed anew).
    """

    number: int
    items: tuple[str, ...]
    domains: Mapping[str, str]
    must: bool
    at_most: int | None
    at_least: int | None
    there: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Hosts, items, and what limits them.

    `limits`: how much the items may take together; what is not in it is not limited. `kinds` are
    those of the items, each once. `leaving`: host -> 0 for those that stay longest, 1 for those
    that leave next before them, and so on.
    """

    hosts: Mapping[str, Host]
    kinds: tuple[Kind, ...]
    items: tuple[Item, ...]
    limits: Mapping[Limit, int]
    spreads: tuple[Spread, ...]
    leaving: Mapping[str, int]

    def takes(self, kind: Kind, host: str) -> dict[Limit, int]:
        """Return what one instance of a kind takes of each limit when it runs on a host."""
        return {
            limit: amount
            for limit, amount in takes(kind.amounts, kind.addresses, self.hosts[host]).items()
            if limit in self.limits
        }


def takes(amounts: Amounts, addresses: Mapping[str, int], host: Host) -> dict[Limit, int]:
    """Return what such an instance takes on a host: of it, of its site, of the site's networks."""
    taken = {("host", host.name, key): n for key, n in host.takes(amounts).items() if n}
    if host.site is not None:
        taken.update({("site", host.site, key): n for key, n in amounts.items() if n})
        for network, count in addresses.items():
            taken["network", f"{host.site}/{network}", "addresses"] = count
    return taken


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to search for an answer: in deterministic time, of the order of seconds.

    It does not depend on what else the machine does, so that the same input has the same answer.
    """

    seed: int = 1
    limit: float = 20.0


@dataclass(frozen=True, slots=True)
class Found:
    """A placement, item -> host, and what is proven of it.

    `most_placed`: none has more weight. `fewest_moves`: none of that weight moves fewer items.
    `spent`: the effort it took.
    """

    on: Mapping[str, str]
    most_placed: bool
    fewest_moves: bool
    spent: float = 0.0
