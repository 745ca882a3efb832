"""What an estate says once nothing in it is left to look up: plain, frozen, in integers.

`resolving` makes these from the files; the planner, the verifier and all answers read them and
nothing else. Amounts are in the units of `resources`, dates are UTC days, `where` is
`file:line:column`, `source` is who said so (`assumption` where nobody did, None where not said).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Literal

from commonfarm.estate.resources import HOST_MUST_SAY, Amounts

Level = Literal["low", "likely", "high"]
LEVELS: tuple[Level, ...] = ("low", "likely", "high")

Status = Literal["existing", "planned", "needed"]
TOPOLOGY_KEYS = ("host", "rack", "site", "sponsor")

ASSUMPTION = "assumption"


@dataclass(frozen=True, slots=True)
class Range:
    """An amount that is not known exactly; the three are equal where it is."""

    low: int
    likely: int
    high: int

    def at(self, level: Level) -> int:
        """Return the amount at `level`."""
        return {"low": self.low, "likely": self.likely, "high": self.high}[level]

    @property
    def exact(self) -> bool:
        """Say whether the three are one."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Rate:
    """Compound growth: this share more (0.25 is 25%) after each period of `days`."""

    low: Fraction
    likely: Fraction
    high: Fraction
    days: Fraction

    def at(self, level: Level) -> Fraction:
        """Return the share at `level`."""
        return {"low": self.low, "likely": self.likely, "high": self.high}[level]


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time as contracts have it: calendar months, and days after them."""

    months: int
    days: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A prefix at a site. `capacity` is how many addresses machines can have in it."""

    name: str
    site: str
    prefix: str
    reserved: int
    capacity: int
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A hosting environment. What it limits (bandwidth, traffic) all of its hosts share."""

    name: str
    title: str
    limits: Amounts
    networks: Mapping[str, Network]
    administrators: tuple[str, ...]
    jump_host: str | None
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Sponsor:
    """Who lends or gives. `logo` is a file name beside the estate's files."""

    name: str
    title: str
    url: str | None
    logo: str | None
    contact: str | None
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Pledge:
    """What a sponsor lends, and for how long; `timeline` says what follows from that."""

    name: str
    sponsor: str
    what: str
    start: date | None
    until: date | None
    minimum_term: Period
    notice: Period
    notice_given_on: date | None
    terms: Literal["contract", "goodwill"]
    disclosure: Literal["public", "amount hidden", "anonymous"]
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. `capacity` is all it has; `reserved` is kept for itself, before the ratio."""

    name: str
    site: str | None
    rack: str | None
    architecture: str
    capacity: Amounts
    reserved: Amounts
    allocation_ratio: Mapping[str, Fraction]
    traits: frozenset[str]
    networks: tuple[str, ...]
    address: str | None
    pledge: str | None
    sponsor: str | None
    administrators: tuple[str, ...]
    status: Status
    available_from: date | None
    where: str
    source: str | None = None
    ssh_host_keys: tuple[str, ...] = ()

    def room(self, key: str) -> int | None:
        """Return how much of a resource class guests can have together; None is no limit."""
        if key == "isolated_cores":
            return max(0, self.capacity.get("cores", 0) - self.reserved.get("cores", 0))
        if key not in self.capacity:
            return 0 if key in HOST_MUST_SAY or key.startswith("CUSTOM_") else None
        usable = max(0, self.capacity[key] - self.reserved.get(key, 0))
        return int(usable * self.allocation_ratio.get(key, Fraction(1)) // 1)

    def takes(self, amounts: Amounts) -> dict[str, int]:
        """Return what an instance with `amounts` takes of this host's room.

        An isolated core is a physical one: it takes as many of `cores` as could be shared on it.
        """
        taken = dict(amounts)
        isolated = amounts.get("isolated_cores", 0)
        if isolated:
            ratio = self.allocation_ratio.get("cores", Fraction(1))
            taken["cores"] = amounts.get("cores", 0) - (-isolated * ratio // 1)
        return taken

    def domain(self, key: str) -> str:
        """Return the failure domain of this host for a topology key.

        Racks of different sites differ. What is not said is a domain of the host's own.
        """
        match key:
            case "rack" if self.rack:
                return f"{self.site or ''}/{self.rack}"
            case "site" if self.site:
                return self.site
            case "sponsor" if self.sponsor:
                return self.sponsor
        return f"host {self.name}" if key != "host" else self.name


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one instance needs of the host it runs on.

    `architectures` and `sites`: one of them, empty for any. `required`: of each inner tuple, one.
    `addresses`: network -> how many, from the network of that name at the host's site.
    `isolated_cores` in `amounts` take `allocation_ratio` times as much of the host's cores.
    """

    amounts: Mapping[str, Range]
    architectures: tuple[str, ...] = ()
    required: tuple[tuple[str, ...], ...] = ()
    forbidden: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    addresses: Mapping[str, int] = field(default_factory=dict)
    dedicated: bool = False

    def at(self, level: Level) -> dict[str, int]:
        """Return the amounts at `level`."""
        return {key: amount.at(level) for key, amount in self.amounts.items()}


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service's component in an environment: what is placed on a host.

    `name` is `service/component/environment/number`. `level` is the level from which on it is
    there: of a count of 2 to 5 the third is there from `likely` or `high` only. `on` is the host
    where it runs today. `priority`: the more, the rather it is placed.
    """

    name: str
    service: str
    component: str
    environment: str
    number: int
    requirement: Requirement
    level: Level
    on: str | None
    status: Status
    priority: int
    disruption_budget: Fraction
    where: str
    source: str | None = None

    def there(self, level: Level) -> bool:
        """Say whether it is one of those that `level` counts."""
        return LEVELS.index(self.level) <= LEVELS.index(level)


@dataclass(frozen=True, slots=True)
class Spread:
    """Instances (by name) to keep apart over the domains of a topology key.

    `at_most` instances in one domain, or `at_least` so many domains (of as many instances as are
    placed, where those are fewer). `must` is never broken; else it is a wish.
    """

    instances: tuple[str, ...]
    over: str
    must: bool
    at_most: int | None
    at_least: int | None
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a service runs for a purpose, and what that environment alone may use."""

    name: str
    code_tree: str | None
    database: str | None
    file_store: str | None
    shared_with: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured of a component: an amount, or a share of the host it runs on."""

    service: str
    component: str | None
    resource: str
    amount: int | None
    share: Fraction | None
    on: date
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """How a service's needs grow: compound, from `since` on (as of when they were written).

    `component` None means all; `resources` may hold `instances`, which grows their count.
    """

    service: str
    component: str | None
    resources: tuple[str, ...]
    rate: Rate
    since: date
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What an event, such as a release, does at once to a service's needs: times this factor."""

    event: str
    on: date
    service: str
    component: str | None
    resources: tuple[str, ...]
    low: Fraction
    likely: Fraction
    high: Fraction
    where: str
    source: str | None = None

    def at(self, level: Level) -> Fraction:
        """Return the factor at `level`."""
        return {"low": self.low, "likely": self.likely, "high": self.high}[level]


@dataclass(frozen=True, slots=True)
class Rung:
    """A split to come: `component` gets machines of its own once `resource` passes `above`.

    `above` is a share of what the service's host has, with what earlier rungs took away gone.
    """

    service: str
    number: int
    component: str
    resource: str
    above: Fraction
    requirement: Requirement | None
    change: str
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Many copies of the same bytes over one link at once, as in a mass rebuild.

    `size` in bytes, `link` in bit/s, `within` in seconds (how long it may take).
    """

    name: str
    site: str | None
    copies: Range
    size: int
    link: int
    within: int | None
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A service: who answers for it, its environments, and its ladder of splits."""

    name: str
    title: str
    coordinators: tuple[str, ...]
    components: tuple[str, ...]
    environments: Mapping[str, Environment]
    ladder: tuple[Rung, ...]
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class HostKind:
    """A kind of host that could be asked for. `cost` is in the catalogue's own unit, at least 1.

    `host` is what such a host would be; its name is that of the kind.
    """

    name: str
    title: str
    cost: int
    host: Host
    where: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How to plan. `survive`: topology keys of which any one domain may be lost."""

    survive: tuple[str, ...] = ()
    horizon: Period = Period(24)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Assumption:
    """A fact that nobody said: shown with every answer."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The whole estate. Mappings are by name, in the order of their names; none is changed."""

    digest: str
    sites: Mapping[str, Site]
    sponsors: Mapping[str, Sponsor]
    pledges: Mapping[str, Pledge]
    hosts: Mapping[str, Host]
    services: Mapping[str, Service]
    instances: Mapping[str, Instance]
    spreads: tuple[Spread, ...]
    observed: tuple[Observed, ...]
    growth: tuple[Growth, ...]
    steps: tuple[Step, ...]
    transfers: tuple[Transfer, ...]
    catalogue: Mapping[str, HostKind]
    policy: Policy
    assumptions: tuple[Assumption, ...]

    def networks(self) -> Iterator[Network]:
        """Yield the networks of all sites."""
        for site in self.sites.values():
            yield from site.networks.values()

    def instances_at(self, level: Level) -> list[Instance]:
        """Return the instances that `level` counts."""
        return [one for one in self.instances.values() if one.there(level)]
