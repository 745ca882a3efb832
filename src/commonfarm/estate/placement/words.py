"""How reasons name amounts, traits, lists, and the host that would take an instance."""

from __future__ import annotations

from collections.abc import Iterable

from commonfarm.estate.facts import Level, Requirement
from commonfarm.estate.resources import HOST_MUST_SAY, resource

_TRAITS = {
    "CUSTOM_BARE_METAL": "bare metal",
    "CUSTOM_CONSOLE": "a management console",
    "CUSTOM_VIRTUALISATION": "virtualisation",
}


def a_host(need: Requirement, level: Level) -> str:
    """Return what a host must be, all of it, to take an instance of these needs.

    What a host need not say, such as its bandwidth, is left out.
    """
    amounts = sorted((key, n) for key, n in need.at(level).items() if n)
    has = [f"architecture {any_of(need.architectures)}"] if need.architectures else []
    has += [
        amount_of(key, n) for key, n in amounts if key in HOST_MUST_SAY or key.startswith("CUSTOM_")
    ]
    traits = all_of(any_of(map(trait, one)) for one in need.required)
    parts = [
        "of its own" if need.dedicated else "",
        f"at {any_of(need.sites)}" if need.sites else "",
        f"in {networks(need)}" if need.addresses else "",
        f"with {all_of(has)}" if has else "",
        f"that has {traits}" if traits else "",
        f"without {any_of(map(trait, need.forbidden))}" if need.forbidden else "",
    ]
    return " ".join(filter(None, ("a host", *parts)))


def networks(need: Requirement) -> str:
    """Return the networks of which addresses are needed: `network lan`, `networks lan and v6`."""
    many = "s" * (len(need.addresses) > 1)
    return f"network{many} {all_of(sorted(need.addresses))}"


def amount_of(key: str, amount: int) -> str:
    """Return an amount of a resource class with its name: `memory 16 GiB`."""
    shown = key if key.startswith("CUSTOM_") else key.replace("_", " ")
    return f"{shown} {resource(key).format(amount)}"


def trait(name: str) -> str:
    """Return a trait in words where it has any."""
    return _TRAITS.get(name, name)


def all_of(parts: Iterable[str]) -> str:
    """Return `a, b and c`."""
    *first, last = [*parts] or [""]
    return " and ".join(filter(None, (", ".join(first), last)))


def any_of(parts: Iterable[str]) -> str:
    """Return `a or b or c`."""
    return " or ".join(parts)
