"""What is needed: services with components, environments, instances and rules of spread."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from commonfarm.estate.facts import Range
from commonfarm.estate.schema.amounts import Counts, Share
from commonfarm.estate.schema.common import (
    Named,
    People,
    Thing,
    TopologyKey,
    Words,
    filled,
    wrong,
)
from commonfarm.estate.schema.future import Growth, Observed, Rung, Step
from commonfarm.estate.schema.requirement import Names, Requires
from commonfarm.estate.schema.supply import expand, how_many

Status = Literal["existing", "planned", "needed"]
Priority = Annotated[int, Field(ge=1, le=1_000_000)]


class Spread(Thing):
    """Instances to keep apart over failure domains: at most one in each where no number is said."""

    over: TopologyKey
    strength: Literal["must", "should"] = "must"
    at_most: Annotated[int | None, Field(ge=1, le=10_000)] = None
    at_least: Annotated[int | None, Field(ge=1, le=10_000)] = None


def _hosts(text: str) -> str:
    how_many(text)
    return text


MOST_RULES = 50


def _few(rules: list[Spread]) -> list[Spread]:
    if len(rules) > MOST_RULES:
        raise wrong(f"these are more than {MOST_RULES} rules", "keep those that say most")
    for number, rule in enumerate(rules):
        if rule in rules[:number]:
            raise wrong("this rule stands in the list twice", "take one away", number)
    return rules


Spreads = Annotated[list[Spread], AfterValidator(_few)]


class Instances(Thing):
    """Instances alike of a component in one environment."""

    environment: str | None = None
    count: Counts = Range(1, 1, 1)
    on: list[Annotated[str, AfterValidator(_hosts)]] = Field(default_factory=list)
    status: Status | None = None
    priority: Priority | None = None
    disruption_budget: Share = Fraction(0)
    requires: Requires | None = None

    @model_validator(mode="after")
    def _as_many_as_there_are(self) -> Self:
        run = sum(map(how_many, self.on))  # before a name is made of any
        if run > self.count.high:
            what = f"{run} run today, and the count is {self.count.high}"
            raise wrong(what, "raise the count, or take hosts away", "on")
        return self

    def hosts(self) -> list[tuple[str, int]]:
        """Return the hosts on which they run, and of which item of `on` each is."""
        return [(name, item) for item, written in enumerate(self.on) for name in expand(written)]


class Component(Named):
    """A part of a service that is placed on its own."""

    requires: Requires = Field(default_factory=Requires)
    spread: Spreads = Field(default_factory=list)
    instances: Annotated[list[Instances], AfterValidator(filled)] | None = None


class Environment(Named):
    """Where a service runs for a purpose; what it names is its own, unless said to be shared."""

    code_tree: Words | None = None
    database: Words | None = None
    file_store: Words | None = None
    shared_with: Names = Field(default_factory=list)


class Service(Named):
    """What is run, and who answers for it."""

    title: Words | None = None
    coordinators: People = Field(default_factory=list)
    status: Status | None = None
    priority: Priority | None = None
    environments: Annotated[list[Environment], AfterValidator(filled)] | None = None
    spread: Spreads = Field(default_factory=list)
    components: Annotated[list[Component], AfterValidator(filled)]
    growth: list[Growth] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    observed: list[Observed] = Field(default_factory=list)
    ladder: list[Rung] = Field(default_factory=list)
