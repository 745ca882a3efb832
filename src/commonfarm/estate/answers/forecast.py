"""What runs out first, and when: the whole forecast of an estate as of a day.

Growth is compound: use(t) = use(known) * (1 + rate)^((t - known) / period), times the factor of
each event since. At level `high` all that is not known exactly is at its high end, so that the
dates at `high`, `likely` and `low` are the earliest, the likely and the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import date
from fractions import Fraction
from math import ceil
from typing import Any

from commonfarm.estate.answers.addresses import NetworkAhead, networks_ahead
from commonfarm.estate.answers.ladder import RungAhead, rungs_ahead
from commonfarm.estate.answers.outlooks import Outlook, outlooks
from commonfarm.estate.answers.transfers import TransferAhead, transfers_ahead
from commonfarm.estate.answers.uses import Part, uses
from commonfarm.estate.facts import LEVELS, Assumption, Facts, Instance, Period, Range
from commonfarm.estate.resources import resource
from commonfarm.estate.timeline import after


@dataclass(frozen=True, slots=True)
class AtWork:
    """Instances of a component in an environment, and how many may be out at once.

    A share of them is rounded up, as Kubernetes does with that of a disruption budget.
    """

    service: str
    component: str
    environment: str
    budget: Fraction
    instances: Range
    out: Range


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is ahead from `start` to `end`, both included; what runs out first comes first.

    `gaps` says what could not be computed and why; `assumptions` are the estate's own.
    """

    digest: str
    start: date
    end: date
    parts: tuple[Part, ...]
    outlooks: tuple[Outlook, ...]
    rungs: tuple[RungAhead, ...]
    networks: tuple[NetworkAhead, ...]
    transfers: tuple[TransferAhead, ...]
    at_work: tuple[AtWork, ...]
    gaps: tuple[str, ...]
    assumptions: tuple[Assumption, ...]


def forecast(facts: Facts, start: date, months: int | None = None) -> Forecast:
    """Return the forecast for so many months, else to the policy's horizon."""
    end = after(start, facts.policy.horizon if months is None else Period(months))
    used = uses(facts, start)
    return Forecast(
        facts.digest,
        start,
        end,
        used.parts,
        tuple(outlooks(facts, used.parts, start, end)),
        tuple(rungs_ahead(facts, used.parts, start, end)),
        tuple(networks_ahead(facts, start, end)),
        tuple(transfers_ahead(facts, start)),
        tuple(_at_work(facts)),
        used.gaps,
        facts.assumptions,
    )


def _at_work(facts: Facts) -> Iterator[AtWork]:
    alike: dict[tuple[str, str, str, Fraction], list[Instance]] = {}
    for one in facts.instances.values():
        if one.disruption_budget:
            key = (one.service, one.component, one.environment, one.disruption_budget)
            alike.setdefault(key, []).append(one)
    for key, those in alike.items():
        counts = [sum(one.there(level) for one in those) for level in LEVELS]
        yield AtWork(*key, Range(*counts), Range(*(ceil(n * key[3]) for n in counts)))


def document(ahead: Forecast, *, curves: bool = False) -> dict[str, Any]:
    """Return a forecast as plain JSON; with `curves` also the points of what changes."""
    return {
        "digest": ahead.digest,
        "start": ahead.start.isoformat(),
        "end": ahead.end.isoformat(),
        "outlooks": [_outlook(one, curves) for one in ahead.outlooks],
        "rungs": [_rung(one) for one in ahead.rungs],
        "networks": [_network(one, curves) for one in ahead.networks],
        "transfers": [
            {"name": one.transfer.name, "site": one.transfer.site}
            | _plain(one.transfer, "copies", "size", "link", "within")
            | _plain(one, "ways", "needed", "links")
            for one in ahead.transfers
        ],
        "at_work": _json(ahead.at_work),
        "gaps": list(ahead.gaps),
        "assumptions": [asdict(one) for one in ahead.assumptions],
    }


def _outlook(one: Outlook, curves: bool) -> dict[str, Any]:
    names = ("scope", "name", "resource", "bases", "today", "requested", "out", "reason")
    return {
        **_plain(one, *names, "doubles_on", "missing", "limit"),
        "unit": resource(one.resource).unit,
        "capacity": int(one.capacity[0][1]) if one.capacity else None,
        **({"points": _json(one.points() if one.changes() else [])} if curves else {}),
    }


def _network(one: NetworkAhead, curves: bool) -> dict[str, Any]:
    names = ("taken", "planned", "most", "undecided", "out", "enough", "reason")
    return {
        "scope": "network",
        "name": f"{one.network.site}/{one.network.name}",
        "resource": "addresses",
        "prefix": one.network.prefix,
        "capacity": one.network.capacity,
        **_plain(one, *names, *(["points"] if curves else [])),
    }


def _rung(one: RungAhead) -> dict[str, Any]:
    rung = _plain(one.rung, "service", "number", "component", "resource", "change")
    needs = one.rung.requirement.amounts if one.rung.requirement else {}
    shown = _plain(one, "host", "site", "due", "takes", "rests_on", "reason")
    return {**rung, "above": float(one.rung.above), "needs": _json(needs), **shown}


def _plain(one: Any, *names: str) -> dict[str, Any]:
    return {name: _json(getattr(one, name)) for name in names}


def _json(value: Any) -> Any:
    match value:
        case date():
            return value.isoformat()
        case Fraction():
            return int(value) if value.denominator == 1 else float(value)
        case Mapping():
            return {key: _json(one) for key, one in value.items()}
        case list() | tuple():
            return [_json(one) for one in value]
    if is_dataclass(value):
        return {one.name: _json(getattr(value, one.name)) for one in fields(value)}
    return value
