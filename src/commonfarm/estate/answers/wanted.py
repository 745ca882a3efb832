"""What to ask for: the cheapest hosts of the catalogue with which everything has a place.

Also after the loss of any one domain of the keys that the policy names. What hosts share (a site's
traffic, addresses) is widened only where no host helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from commonfarm.estate.answers.additions import Variant, widened, with_hosts
from commonfarm.estate.answers.addresses import enough_prefix
from commonfarm.estate.answers.asking import NOTHING, Asking, Choice, Loss, Tools
from commonfarm.estate.facts import Facts, Level
from commonfarm.estate.placement.ledger import Ledger
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Limit
from commonfarm.estate.placement.reasons import unplaced
from commonfarm.estate.plan import Unplaced
from commonfarm.estate.verifier import broken_rules
from commonfarm.lib.errors import Reason, RefusedError


@dataclass(frozen=True, slots=True)
class Addition:
    """Hosts of one kind to ask for, `cost` each; `hosts`: who would run on each of them.

    `site`: where they must stand; None where they may stand anywhere.
    """

    kind: str
    title: str
    site: str | None
    cost: int
    hosts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Wider:
    """More of what hosts share: `there` is how much there is, `more` how much on top.

    `prefix`: of a network, the smallest with so many addresses; None where there is none.
    """

    scope: str
    name: str
    resource: str
    there: int
    more: int
    prefix: str | None


@dataclass(frozen=True, slots=True)
class Exposed:
    """What has no place after a loss, whatever is asked for."""

    key: str
    domain: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The answer for one level.

    `missing`: what has no place with what stands. `bound`: nothing with which as much has a place
    costs less. `proven`: nothing is cheaper, nor as cheap with fewer hosts. `nowhere`: what has no
    place whatever is asked for. `survive`: keys of which any one domain may be lost. `on`: where
    everything is then.
    """

    level: Level
    missing: tuple[str, ...]
    additions: tuple[Addition, ...]
    cost: int
    bound: int
    proven: bool
    wider: tuple[Wider, ...]
    nowhere: tuple[Unplaced, ...]
    survive: tuple[str, ...]
    exposed: tuple[Exposed, ...]
    on: Mapping[str, str]

    @property
    def hosts(self) -> int:
        """Return how many hosts are asked for."""
        return sum(len(one.hosts) for one in self.additions)


def wanted(facts: Facts, day: date, level: Level, tools: Tools) -> Wanted:
    """Return what to ask for so that what `level` counts has a place on a day.

    Each placement in it keeps the verifier's rules; raise RefusedError if one does not.
    """
    asking = Asking(facts, day, level, tools)
    today = tools.solve(asking.problem({})).on
    choice = asking.choice()
    on = asking.best(choice)
    _check(facts, asking, choice, NOTHING, on)
    additions = [
        _addition(one, many, on) for one, many in choice.counts.items()
    ]  # fmt: skip
    return Wanted(
        level=level,
        missing=tuple(
            sorted(one.name for one in facts.instances_at(level) if one.name not in today)
        ),
        additions=tuple(sorted(additions, key=lambda one: (-one.cost, one.kind, one.site or ""))),
        cost=sum(one.kind.cost * many for one, many in choice.counts.items()),
        bound=choice.bound,
        proven=choice.proven,
        wider=tuple(_wider(facts, choice, limit) for limit in sorted(choice.more)),
        nowhere=_nowhere(asking, choice, on, day),
        survive=facts.policy.survive,
        exposed=tuple(_exposed(facts, asking, choice, on)),
        on=on,
    )


def _check(facts: Facts, asking: Asking, choice: Choice, loss: Loss, on: Mapping[str, str]) -> None:
    """Have the verifier check a placement after a loss; raise RefusedError if it does not pass."""
    there = asking.problem(choice.counts, loss, choice.more).hosts
    then = widened(with_hosts(facts, choice.counts), choice.more)
    wrong = broken_rules(then, there, asking.level, on)
    if wrong:
        what = "what is wanted breaks its own promises: " + "; ".join(map(str, wrong[:3]))
        raise RefusedError(Reason("planner-at-fault", what, "report it with the estate's files"))


def _addition(one: Variant, many: int, on: Mapping[str, str]) -> Addition:
    names = [one.named(number + 1) for number in range(many)]
    guests = {
        name: tuple(sorted(who for who, host in on.items() if host == name)) for name in names
    }
    return Addition(one.kind.name, one.kind.title, one.site, one.kind.cost, guests)


def _wider(facts: Facts, choice: Choice, limit: Limit) -> Wider:
    scope, name, key = limit
    more = choice.more[limit]
    if scope == "site":
        return Wider(scope, name, key, facts.sites[name].limits[key], more, None)
    site, _, network = name.partition("/")
    there = facts.sites[site].networks[network]
    enough = enough_prefix(facts, there, there.capacity + more)
    return Wider(scope, name, key, there.capacity, more, enough.prefix if enough else None)


def _nowhere(
    asking: Asking, choice: Choice, on: Mapping[str, str], day: date
) -> tuple[Unplaced, ...]:
    """Return what has no place even so, and why; one more of each kind is looked at too."""
    then = widened(with_hosts(asking.facts, choice.counts), choice.more)
    kinds = {one.name: replace(one.host(1), name=one.name) for one in asking.variants}
    then = replace(then, hosts={**then.hosts, **kinds})
    there = asking.problem(choice.counts, NOTHING, choice.more).hosts
    problem = pose(then, [*there, *kinds], asking.level, {})
    ledger = Ledger(problem)
    for item in problem.items:
        if item.name in on:
            ledger.put(item, on[item.name])
    left = [item for item in problem.items if item.name not in on]
    # Should there be a host after all, it is the search that did not come to it.
    missed = [item.name for item in left if any(ledger.fits(item, host) for host in problem.hosts)]
    asked = replace(problem, items=tuple(i for i in problem.items if i.name not in missed))
    reasons = unplaced(then, asked, on, asking.level, day)
    return tuple(sorted((*reasons, *(Unplaced(name, ()) for name in missed)), key=_name))


def _name(one: Unplaced) -> str:
    return one.instance


def _exposed(
    facts: Facts, asking: Asking, choice: Choice, on: Mapping[str, str]
) -> Iterator[Exposed]:
    for loss in asking.losses(choice.counts):
        then = asking.after(choice, loss)
        _check(facts, asking, choice, loss, then)
        left = on.keys() - then.keys()
        if left:
            yield Exposed(loss.key, loss.domain, tuple(sorted(left)))
