"""Operator's overrides of where clients are sent: checked, allowed, and carried on.

What is declared or withdrawn is in the map within seconds: the map is asked for in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network

from django.db import transaction
from django.utils import timezone

from commonfarm.accounts.interface import Role, User
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.hints import hint
from commonfarm.mirrors import tasks
from commonfarm.mirrors.countries import country_code
from commonfarm.mirrors.models import Mirror, Override
from commonfarm.redirector.networks import Network, Prefixes

MOST_OVERRIDES = 2000
"""Every map and delta has them all."""
MOST_MIRRORS = 20
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Nesting:
    """How an override lies among the others: the next larger network that has one, empty for none,
    and how many have smaller networks inside. For an address the smallest that holds it counts.
    """

    within: str = ""
    inside: int = 0


def declare(
    network: str, *, country: str, mirrors: Sequence[str], origin: bool, why: str, user: User
) -> Override:
    """Say where clients of a network are sent. BadInputError lists all that is wrong."""
    user.require(Role.COORDINATOR)
    problems: list[Problem] = []
    checked = _checked(network, problems)
    try:
        country = country_code(country) if country.strip() else ""
    except BadInputError as error:
        problems += error.problems
    found = _mirrors(mirrors, problems)
    if (bool(country), bool(mirrors), origin).count(True) != 1:
        what = "an override has one of country, mirrors and origin"
        problems.append(_problem("network", what, "give just one"))
    why = why.replace("\0", "").strip()
    if not why:
        problems.append(_problem("why", "nothing says why", "say it: it is shown and kept"))
    if problems:
        raise BadInputError(*problems)
    if Override.objects.count() >= MOST_OVERRIDES:
        raise RefusedError(
            Reason(
                "too-many-overrides",
                f"there are {MOST_OVERRIDES} overrides",
                "join networks that lie together, or register what a mirror is the nearest for",
            )
        )
    with transaction.atomic():
        made = Override.add(
            checked,
            country=country,
            mirrors=found,
            origin=origin,
            why=why,
            who=user.label,
            now=timezone.now(),
        )
        tasks.want_map()
    return made


def withdraw(network: str, user: User, why: str = "") -> None:
    """Have clients of a network sent as others are, or as a larger network's override says."""
    user.require(Role.COORDINATOR)
    problems: list[Problem] = []
    checked = _checked(network, problems)
    if problems:
        raise BadInputError(*problems)
    with transaction.atomic():
        Override.of(checked).remove(who=user.label, why=why)
        tasks.want_map()


def nestings() -> Mapping[str, Nesting]:
    """Return by network how each override lies among the others."""
    return nested(Override.objects.values_list("network", flat=True))


def nested(networks: Iterable[str]) -> Mapping[str, Nesting]:
    """Return by network how each of these lies among the others."""
    all_of_them = [ip_network(one) for one in networks]
    table = Prefixes((one, None) for one in all_of_them)
    around = {one: _around(table, one) for one in all_of_them}
    inside = dict.fromkeys(all_of_them, 0)
    for larger in around.values():
        for one in larger:
            inside[one] += 1
    return {
        str(one): Nesting(str(larger[0]) if larger else "", inside[one])
        for one, larger in around.items()
    }


def _around(table: Prefixes[None], network: Network) -> list[Network]:
    holding = (one for one, _ in table.holding(network.network_address))
    return [one for one in holding if one.prefixlen < network.prefixlen]


def _checked(text: str, problems: list[Problem]) -> str:
    """Return a network as it is kept: one spelling for each."""
    text = text.strip()
    form = "write it as 192.0.2.0/24 or 2001:db8::/32"
    try:
        network = ip_network(text, strict=False)
        if "%" in text:
            raise ValueError
    except ValueError:
        problems.append(_problem("network", f"{text[:60]!r} is no network", form))
        return ""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        what = f"{text} is of IPv4 clients, who count as such"
        problems.append(_problem("network", what, f"write {address}/{network.prefixlen - 96}"))
        return ""
    try:
        ip_network(text)
    except ValueError:
        what = f"{text} is inside of a network"
        problems.append(_problem("network", what, f"the network is {network}"))
    return str(network)


def _mirrors(names: Sequence[str], problems: list[Problem]) -> list[Mirror]:
    if len(names) > MOST_MIRRORS:
        problems.append(_problem("mirrors", f"{len(names)} are too many", "name the best"))
        return []
    known = {mirror.name: mirror for mirror in Mirror.registered()}
    for name in sorted(set(names) - known.keys()):
        what = f"there is no mirror {name[:100]!r}"
        problems.append(_problem("mirrors", what, hint(name, known)))
    return [known[name] for name in sorted(set(names) & known.keys())]


def _problem(field: str, what: str, to_do: str) -> Problem:
    return Problem(field, 0, 0, what, to_do)
