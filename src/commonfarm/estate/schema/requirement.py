"""What an instance needs of the host it runs on, and sizes that have a name."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from commonfarm.estate.schema.amounts import Count, Factors, Needs
from commonfarm.estate.schema.common import (
    ARCHITECTURE,
    Architecture,
    Name,
    Thing,
    once,
    one_or_list,
    some,
    wrong,
)
from commonfarm.estate.schema.supply import Trait, Traits

Names = Annotated[list[str], AfterValidator(once)]

_ONE = {"type": "string", "pattern": f"^{ARCHITECTURE}$"}
Architectures = Annotated[
    list[Architecture],
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
    BeforeValidator(one_or_list),
    AfterValidator(some),
]
_NAMED = {"type": "string"}
AnyTrait = Annotated[
    list[Trait],
    WithJsonSchema({"anyOf": [_NAMED, {"type": "array", "items": _NAMED, "minItems": 1}]}),
    BeforeValidator(one_or_list),
    AfterValidator(some),
]


class Size(Needs):
    """Amounts with a name, so that what `beefy` means is written once."""

    name: Name


class Ratio(Thing):
    """So much of what another needs; what is not said is the same as its own."""

    service: str | None = None
    component: str | None = None
    environment: str | None = None
    factor: Factors


class WantedTraits(Thing):
    """Traits of the host; of an inner list, one."""

    required: list[AnyTrait] = Field(default_factory=list)
    forbidden: Traits = Field(default_factory=list)
    preferred: Traits = Field(default_factory=list)

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        for number, any_of in enumerate(self.required):
            if set(any_of) <= set(self.forbidden):
                what = f"{any_of[0]} is required and forbidden"
                raise wrong(what, "take one of them away", "required", number)
        for number, trait in enumerate(self.preferred):
            if trait in self.forbidden:
                what = f"{trait} is preferred and forbidden"
                raise wrong(what, "take one of them away", "preferred", number)
        return self


class Requires(Needs):
    """What one instance needs; amounts beside a size or a ratio override single ones of it."""

    size: str | None = None
    ratio_of: Ratio | None = None
    architecture: Architectures | None = None
    traits: WantedTraits | None = None
    sites: Names | None = None
    addresses: dict[str, Count] | None = None
    dedicated: bool | None = None
