"""How needs grow, what was observed, splits to come, transfers, and how to plan."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from commonfarm.estate.facts import Period
from commonfarm.estate.resources import CUSTOM, RESOURCES
from commonfarm.estate.schema.amounts import Counts, Factors, Length, Rates, Share, has, seconds
from commonfarm.estate.schema.common import (
    Checked,
    Day,
    Named,
    Thing,
    TopologyKey,
    Words,
    once,
    shown,
    some,
    wrong,
)
from commonfarm.estate.schema.requirement import Requires
from commonfarm.lib.hints import hint

INSTANCES = "instances"


def _resource(text: str) -> str:
    if text not in RESOURCES and not CUSTOM.fullmatch(text):
        raise wrong(f"there is no resource class `{text[:80]}`", hint(text, RESOURCES))
    return text


def _growing(text: str) -> str:
    return text if text == INSTANCES else _resource(text)


def _written(value: object) -> str | int | float:
    # Of what it is an amount, its neighbour says.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(f"{shown(value)} is no amount", "write it like 3 or 16 GiB")
    return value


Resource = Annotated[str, AfterValidator(_resource)]
Growing = Annotated[list[Annotated[str, AfterValidator(_growing)]], AfterValidator(some)]


class Growth(Thing):
    """Compound growth of a service's needs, from `since` on."""

    component: str | None = None
    resources: Growing
    rate: Rates
    since: Day


class Step(Thing):
    """What an event does to a service's needs at once."""

    event: Words
    on: Day
    component: str | None = None
    resources: Growing
    factor: Factors


class Observed(Thing):
    """What was measured: an amount, or a share of the host it ran on."""

    component: str | None = None
    resource: Resource
    amount: Annotated[
        str | int | float | None, Checked(_written, {"type": ["string", "number"]})
    ] = None
    share: Share | None = None
    on: Day

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.amount is None) == (self.share is None):
            raise wrong("it has not one of `amount` and `share`", "write either")
        self.measured()
        return self

    def measured(self) -> int | None:
        """Return the amount in the unit of its resource class, None where a share was measured."""
        if self.amount is None:
            return None
        check = has(self.resource).check
        try:
            return int(check(self.amount))
        except PydanticCustomError as error:
            context = error.context or {}
            raise wrong(context["what"], context["to_do"], "amount") from None


class Rung(Thing):
    """A split to come: a component gets machines of its own."""

    component: str
    resource: Resource
    above: Share
    requires: Requires | None = None
    change: Words


class Transfer(Named):
    """Many copies of the same bytes over one link at once."""

    site: str | None = None
    copies: Counts
    size: Annotated[int, has("data")]
    link: Annotated[int, has("bandwidth")]
    within: Annotated[int | None, seconds("1 s", "366 d")] = None

    @model_validator(mode="after")
    def _over_a_link(self) -> Self:
        if not self.link:
            raise wrong("nothing passes a link of 0", "write it like 1 Gbit/s", "link")
        return self


class Policy(Thing):
    """How to plan: what may be lost, and how far to look."""

    survive: Annotated[list[TopologyKey], AfterValidator(once)] = Field(default_factory=list)
    horizon: Length = Period(24)
