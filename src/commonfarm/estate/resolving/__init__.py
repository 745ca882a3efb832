"""From what the files say to facts: names, sizes, ratios, ranges. Pure."""

from __future__ import annotations

from datetime import date

from commonfarm.estate import schema
from commonfarm.estate.facts import Facts, Policy, Transfer
from commonfarm.estate.reader import Estate
from commonfarm.estate.resolving import supply
from commonfarm.estate.resolving.assumptions import assumptions
from commonfarm.estate.resolving.demand import Supply, demand
from commonfarm.estate.resolving.requirements import Requirements
from commonfarm.estate.resolving.sharing import shared_unsaid
from commonfarm.estate.resolving.supply import Architecture
from commonfarm.lib.errors import BadInputError, Problem


def resolve(estate: Estate, today: date | None = None, architecture: Architecture = str) -> Facts:
    """Return the facts of an estate; raise BadInputError with all that does not hold together.

    With `today`, what is said to run on a host whose pledge has ended is a fault too.
    `architecture` turns `host`, the machine's own, into Debian's name of it.
    """
    problems: list[Problem] = []
    sites = supply.sites(estate, problems)
    pledges = supply.pledges(estate)
    hosts = supply.hosts(estate, pledges, architecture, problems)
    problems += supply.jumps_in_circles(estate, sites, hosts)
    catalogue = supply.catalogue(estate, architecture, problems)
    requirements = Requirements(estate, architecture, problems)
    needed = demand(estate, Supply(hosts, pledges, today), requirements, problems)
    problems += shared_unsaid(estate)
    policy = estate.policy.thing if estate.policy else schema.Policy()
    facts = Facts(
        digest=estate.digest,
        sites=sites,
        sponsors=supply.sponsors(estate),
        pledges=pledges,
        hosts=hosts,
        services=needed.services,
        instances=needed.instances,
        spreads=tuple(needed.spreads),
        observed=tuple(needed.observed),
        growth=tuple(needed.growth),
        steps=tuple(needed.steps),
        transfers=_transfers(estate),
        catalogue=catalogue,
        policy=Policy(tuple(policy.survive), policy.horizon, policy.source_text),
        assumptions=tuple(assumptions(estate.documents)),
    )
    if problems:
        raise BadInputError(*problems)
    return facts


def _transfers(estate: Estate) -> tuple[Transfer, ...]:
    found = [
        Transfer(
            name=one.thing.name,
            site=one.thing.site,
            copies=one.thing.copies,
            size=one.thing.size,
            link=one.thing.link,
            within=one.thing.within,
            where=one.where(),
            source=one.thing.source_text,
        )
        for one in estate.transfers
    ]
    return tuple(sorted(found, key=lambda one: one.name))
