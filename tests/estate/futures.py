"""Growth, events, measurements and ladders for tests of forecasts."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from commonfarm.estate.facts import (
    Growth,
    Network,
    Observed,
    Range,
    Rate,
    Requirement,
    Rung,
    Service,
    Step,
    Transfer,
)

MONTH = Fraction(36525, 1200)
"""Days."""

Three = str | tuple[str, str, str]


def _three(written: Three) -> tuple[Fraction, Fraction, Fraction]:
    low, likely, high = written if isinstance(written, tuple) else (written,) * 3
    return Fraction(low), Fraction(likely), Fraction(high)


def growth(
    service: str,
    rate: Three,
    since: date,
    *resources: str,
    component: str | None = None,
    days: Fraction | int = MONTH,
) -> Growth:
    """Return growth by a rate such as `1/4` or `0.25` in each period."""
    return Growth(
        service, component, resources, Rate(*_three(rate), Fraction(days)), since, "s.yaml:2:1"
    )


def step(
    service: str, factor: Three, on: date, *resources: str, component: str | None = None
) -> Step:
    """Return an event, called after its day."""
    return Step(f"event {on}", on, service, component, resources, *_three(factor), "s.yaml:3:1")


def observed(
    service: str,
    resource: str,
    on: date,
    *,
    share: str | None = None,
    amount: int | None = None,
    component: str | None = None,
) -> Observed:
    """Return what was measured."""
    exact = Fraction(share) if share else None
    return Observed(service, component, resource, amount, exact, on, f"s.yaml:4:1 {component}")


def ladder(service: str, *rungs: tuple[str, str, str], components: tuple[str, ...]) -> Service:
    """Return a service with rungs of component, resource and share."""
    made = tuple(
        Rung(service, number, component, key, Fraction(above), None, "move it", "s.yaml:5:1")
        for number, (component, key, above) in enumerate(rungs, 1)
    )
    return Service(service, service, (), components, {}, made, "s.yaml:1:1")


def network(name: str, site: str, prefix: str, capacity: int, reserved: int = 1) -> Network:
    """Return a network."""
    return Network(name, site, prefix, reserved, capacity, "sites.yaml:2:1")


def transfer(copies: tuple[int, int, int], size: int, link: int, within: int | None) -> Transfer:
    """Return a transfer at any site."""
    return Transfer("rebuild", None, Range(*copies), size, link, within, "t.yaml:1:1")


def needs(**amounts: int) -> Requirement:
    """Return a requirement in the units of the classes."""
    return Requirement({key: Range(amount, amount, amount) for key, amount in amounts.items()})
