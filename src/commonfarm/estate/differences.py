"""What one estate says that another did not, a line each, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from fractions import Fraction
from typing import Any, TypeVar

from commonfarm.estate.facts import (
    LEVELS,
    Facts,
    Instance,
    Network,
    Period,
    Range,
    Rate,
    Requirement,
)
from commonfarm.estate.resources import CUSTOM, RESOURCES, resource
from commonfarm.estate.showing import alike

T = TypeVar("T")

_NOT_SAID = ("name", "where", "service", "number")
_ELSEWHERE = {"site": ("networks",), "service": ("environments", "ladder")}


@dataclass(frozen=True, slots=True)
class Difference:
    """One change of one thing: its kind, its name, and what is said of it now."""

    kind: str
    name: str
    text: str


def differences(before: Facts, after: Facts) -> list[Difference]:
    """Return what `after` says that `before` did not, thing by thing."""
    found: list[Difference] = []
    for kind, of in _KINDS:
        old, new = dict(of(before)), dict(of(after))
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in new:
                found.append(Difference(kind, name, "gone"))
            elif name not in old:
                found.append(Difference(kind, name, "new"))
            else:
                found += [Difference(kind, name, text) for text in _of(kind, old[name], new[name])]
    return found


def told(found: Iterable[Difference]) -> list[str]:
    """Return differences as lines; things that changed alike share one where they are many."""
    return alike((one.kind, one.name, one.text) for one in found)


def _of(kind: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what differs between a thing and what it was."""
    if old == new:
        return
    if not hasattr(old, "__dataclass_fields__"):
        yield f"is {_shown(new)}, was {_shown(old)}"
        return
    for field in fields(old):
        key, was, now = field.name, getattr(old, field.name), getattr(new, field.name)
        if was == now or key in _NOT_SAID or key in _ELSEWHERE.get(kind, ()):
            continue
        if isinstance(was, Mapping):
            yield from _mapping(key, was, now)
        elif isinstance(was, Requirement) and isinstance(now, Requirement):
            yield from _of("requirement", was, now)
        else:
            yield f"{key.replace('_', ' ')} is {_shown(now)}, was {_shown(was)}"


def _mapping(key: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    # What a thing has goes by the resource's own name: `memory is 48 GiB, was 24 GiB`.
    label = "" if key in ("capacity", "amounts", "limits") else f"{key.replace('_', ' ')} of "
    for one in sorted({*was, *now}):
        if was.get(one) != now.get(one):
            old, new = (_amount(one, side.get(one)) for side in (was, now))
            yield f"{label}{one} is {new}, was {old}"


def _amount(key: str, value: Any) -> str:
    if isinstance(value, Range):
        return _range(*(_amount(key, value.at(level)) for level in LEVELS))
    if isinstance(value, int) and (key in RESOURCES or CUSTOM.fullmatch(key)):
        return resource(key).format(value)
    return _shown(value)


def _shown(value: Any) -> str:
    match value:
        case None | "" | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case date():
            return value.isoformat()
        case Fraction():
            return f"{float(value):.4g}"
        case Period():
            return _period(value)
        case Range():
            return _range(*(str(value.at(level)) for level in LEVELS))
        case Rate():
            rates = (f"{float(value.at(level)) * 100:.4g}%" for level in LEVELS)
            return f"{_range(*rates)} in {float(value.days):.4g} days"
        case frozenset():
            return ", ".join(sorted(value)) or "-"
        case tuple():
            return ", ".join(_shown(one) for one in value)
        case Mapping():
            return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    if hasattr(value, "__dataclass_fields__"):
        said = ((one.name, getattr(value, one.name)) for one in fields(value))
        return "; ".join(f"{key} {_shown(one)}" for key, one in said if key not in _NOT_SAID)
    return str(value)


def _range(low: str, likely: str, high: str) -> str:
    return low if low == high else f"{low} to {high} (likely {likely})"


def _period(period: Period) -> str:
    parts = ((period.months, "month"), (period.days, "day"))
    said = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count]
    return " ".join(said) or "no time"


@dataclass(frozen=True, slots=True)
class _Group:
    """The instances of a component in an environment that are alike, as one thing."""

    instances: Range
    requirement: Requirement
    status: tuple[str, ...]
    priority: int
    disruption_budget: Fraction
    on: tuple[str | None, ...]
    source: str | None


def _groups(facts: Facts) -> dict[str, _Group]:
    inside: dict[str, list[Instance]] = {}
    for one in sorted(facts.instances.values(), key=lambda one: one.number):
        inside.setdefault(f"{one.service}/{one.component}/{one.environment}", []).append(one)
    return _numbered(
        (name, _group(alike)) for name, many in sorted(inside.items()) for alike in _alike(many)
    )


def _alike(many: Iterable[Instance]) -> Iterable[list[Instance]]:
    """Return instances of which the same is said together."""
    found: dict[str, list[Instance]] = {}
    for one in many:
        # A requirement cannot be hashed, and to compare each with each takes time.
        said = repr((one.requirement, one.priority, one.disruption_budget, one.source))
        found.setdefault(said, []).append(one)
    return found.values()


def _group(alike: list[Instance]) -> _Group:
    first = alike[0]
    counts = (sum(one.there(level) for one in alike) for level in LEVELS)
    return _Group(
        Range(*counts),
        first.requirement,
        tuple(sorted({one.status for one in alike})),
        first.priority,
        first.disruption_budget,
        tuple(one.on for one in alike if one.on),
        first.source,
    )


def _numbered(things: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return things by name; of those with the same name, the second is called `name (2)`."""
    found: dict[str, T] = {}
    seen: dict[str, int] = {}
    for name, thing in things:
        seen[name] = seen.get(name, 0) + 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = thing
    return found


def _networks(facts: Facts) -> dict[str, Network]:
    return {f"{one.site}/{one.name}": one for one in facts.networks()}


def _part(service: str, component: str | None) -> str:
    return f"{service}/{component}" if component else service


def _spreads(facts: Facts) -> dict[str, Any]:
    named = []
    for one in facts.spreads:
        first = one.instances[0].rsplit("/", 1)[0] if one.instances else "nothing"
        named.append((f"of {first} over {one.over}", (one.must, one.at_most, one.at_least)))
    return _numbered((name, _Rule(*rule)) for name, rule in named)


@dataclass(frozen=True, slots=True)
class _Rule:
    must: bool
    at_most: int | None
    at_least: int | None


_KINDS: tuple[tuple[str, Callable[[Facts], Mapping[str, Any]]], ...] = (
    ("sponsor", lambda facts: facts.sponsors),
    ("pledge", lambda facts: facts.pledges),
    ("site", lambda facts: facts.sites),
    ("network", _networks),
    ("host", lambda facts: facts.hosts),
    ("service", lambda facts: facts.services),
    (
        "environment",
        lambda facts: {
            f"{service.name}/{name}": one
            for service in facts.services.values()
            for name, one in service.environments.items()
        },
    ),
    ("instances", _groups),
    ("spread", _spreads),
    (
        "rung",
        lambda facts: {
            f"{service.name}/{one.number}": one
            for service in facts.services.values()
            for one in service.ladder
        },
    ),
    (
        "growth of",
        lambda facts: _numbered((_part(one.service, one.component), one) for one in facts.growth),
    ),
    (
        "step of",
        lambda facts: _numbered(
            (f"{_part(one.service, one.component)} at {one.event}", one) for one in facts.steps
        ),
    ),
    (
        "observed of",
        lambda facts: _numbered(
            (f"{_part(one.service, one.component)} {one.resource}", one) for one in facts.observed
        ),
    ),
    ("transfer", lambda facts: {one.name: one for one in facts.transfers}),
    ("kind of host", lambda facts: facts.catalogue),
    ("policy", lambda facts: {"": facts.policy}),
)
