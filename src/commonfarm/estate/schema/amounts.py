"""Amounts, shares, factors, rates and lengths of time, exact or as a range, as people write them.

What comes out is what `facts` holds: integers in the units of `resources`, and fractions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from commonfarm.estate.facts import Period, Range, Rate
from commonfarm.estate.resources import CUSTOM, RESOURCES, ResourceClass, resource
from commonfarm.estate.schema.common import SOURCE, Checked, Thing, shown, who_said, wrong
from commonfarm.lib.hints import hint
from commonfarm.lib.units import parse_seconds

T = TypeVar("T")
LEVELS = ("low", "likely", "high")
MOST_INSTANCES = 10_000

_OWN = "CUSTOM"
_NUMBER = r"\d{1,30}(\.\d{1,30})?"
_FRACTION = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*(?:(%)|/\s*(\d{1,18}))?\s*")
# A month is a twelfth of 365.25 days, as in `resources`.
_DAYS = {
    "day": Fraction(1),
    "week": Fraction(7),
    "month": Fraction(36525, 1200),
    "quarter": Fraction(36525, 400),
    "year": Fraction(36525, 100),
}
_RATE = re.compile(rf"(.*)/\s*({'|'.join(_DAYS)})\s*", re.DOTALL)
_LENGTH = re.compile(r"\s*(\d{1,6})\s*(d|day|week|month|year)s?\s*")


class Factor(NamedTuple):
    """A share or multiple that is not known exactly; the three are equal where it is."""

    low: Fraction
    likely: Fraction
    high: Fraction


def three(value: object, parse: Callable[[object], T]) -> tuple[T, T, T]:
    """Return what a range, or what stands for all three alike, comes to; check its order."""
    if not isinstance(value, dict):
        one = parse(value)
        return one, one, one
    for key in value:
        if key not in (*LEVELS, "source"):
            raise wrong(f"unknown key `{key[:80]}`", hint(key, LEVELS), key)
    for level in LEVELS:
        if level not in value:
            raise wrong(f"a range has no `{level}`", "write all of low, likely and high")
    found = [_inside(level, parse, value[level]) for level in LEVELS]
    if "source" in value:
        said = _inside("source", who_said, value["source"])
        for key in said if isinstance(said, dict) else ():
            if key not in LEVELS:
                raise wrong(f"a source for `{key[:80]}`", hint(key, LEVELS), "source", key)
    low, likely, high = found
    for level, less, more in (("likely", low, likely), ("high", likely, high)):
        if more < less:  # type: ignore[operator]
            before = LEVELS[LEVELS.index(level) - 1]
            raise wrong(f"`{level}` is less than `{before}`", "write the smallest first", level)
    return low, likely, high


def _inside(key: str, parse: Callable[[object], T], value: object) -> T:
    try:
        return parse(value)
    except PydanticCustomError as error:
        context: dict[str, Any] = error.context or {}
        raise wrong(context["what"], context["to_do"], key, *context["inside"]) from None


def _kind(key: str) -> ResourceClass:
    if key == _OWN:
        return replace(resource("CUSTOM_X"), key="your own resource class")
    # What lies on no disk of an estate's: the bytes of a transfer.
    return replace(RESOURCES["disk"], key=key) if key == "data" else resource(key)


def _parser(key: str, *, up: bool) -> Callable[[object], int]:
    kind = _kind(key)

    def parse(value: object) -> int:
        to_do = f"write it like {kind.example}"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise wrong(f"{shown(value)} is no amount of {kind.key}", to_do)
        try:
            amount = kind.parse(value, up=up)
        except ValueError as error:
            raise wrong(str(error), to_do) from None
        if key == "isolated_cores" and amount % 1000:
            raise wrong(f"{shown(value)} is no whole number of cores", "isolate whole cores")
        return amount

    return parse


def _written(key: str) -> dict[str, Any]:
    """Return the JSON Schema of an amount of one resource class."""
    kind = _kind(key)
    units = "|".join(sorted((re.escape(unit) for unit in kind.written), reverse=True))
    text = {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*({units})\s*$"}
    return {"anyOf": [text, {"type": "number", "minimum": 0}]} if "" in kind.written else text


def _or_range(one: dict[str, Any]) -> dict[str, Any]:
    levels = {
        "type": "object",
        "properties": {**dict.fromkeys(LEVELS, one), "source": SOURCE},
        "required": list(LEVELS),
        "additionalProperties": False,
    }
    return {"anyOf": [one, levels]}


def has(key: str) -> Checked:
    """Return what reads an exact amount of a resource class, rounded down.

    An explicit nothing (`memory:` without a value) is a fault, not an amount left out.
    """
    return Checked(_parser(key, up=False), _written(key))


def needs(key: str) -> Checked:
    """Return what reads an amount or a range of a resource class, rounded up."""
    parse = _parser(key, up=True)
    return Checked(lambda value: Range(*three(value, parse)), _or_range(_written(key)))


def whole(value: object) -> int:
    """Return a number of instances or copies."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"{shown(value)} is no whole number", "write one such as 3")
    if not 0 <= value <= MOST_INSTANCES:
        raise wrong(f"{value} is out of all reason", f"write 0 to {MOST_INSTANCES}")
    return value


_WHOLE = {"type": "integer", "minimum": 0, "maximum": MOST_INSTANCES}
Count = Annotated[int, Checked(whole, _WHOLE)]
Counts = Annotated[Range, Checked(lambda value: Range(*three(value, whole)), _or_range(_WHOLE))]


def _fraction(value: object, kind: str, to_do: str) -> Fraction:
    match = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        match = _FRACTION.fullmatch(str(value))
    if match is None or (match[3] and not int(match[3])):
        raise wrong(f"{shown(value)} is no {kind}", to_do)
    return Fraction(match[1]) / (100 if match[2] else int(match[3] or 1))


def _share(value: object) -> Fraction:
    share = _fraction(value, "share", "write it like 45%, 0.45 or 1/4")
    if share > 1:
        raise wrong(f"{shown(value)} is more than the whole", "write it like 45%, 0.45 or 1/4")
    return share


def _factor(value: object) -> Fraction:
    factor = _fraction(value, "factor", "write it like 1/2, 50% or 2")
    if not 0 < factor <= 1000:
        raise wrong(f"{shown(value)} is out of all reason", "write more than 0, at most 1000")
    return factor


def _ratio(value: object) -> Fraction:
    ratio = _fraction(value, "ratio", "write it like 1.25 or 4")
    if not 0 < ratio <= 100:
        raise wrong(f"{shown(value)} is out of all reason", "write more than 0, at most 100")
    return ratio


_SHARE_WRITTEN = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(%|/\s*\d+)?\s*$"},
        {"type": "number", "minimum": 0},
    ]
}
Share = Annotated[Fraction, Checked(_share, _SHARE_WRITTEN)]
Ratio = Annotated[Fraction, Checked(_ratio, _SHARE_WRITTEN)]
Factors = Annotated[
    Factor, Checked(lambda value: Factor(*three(value, _factor)), _or_range(_SHARE_WRITTEN))
]


def _growth(value: object) -> tuple[Fraction, Fraction]:
    """Return a share and the days after which it is reached."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(f"{shown(value)} is no rate", "write it like 25%/month")
    try:
        share = _fraction(match[1], "rate", "")
    except PydanticCustomError:
        raise wrong(f"{shown(value)} is no rate", "write it like 25%/month") from None
    if share > 10:
        raise wrong(f"{shown(value)} is out of all reason", "write at most 1000%")
    return share, _DAYS[match[2]]


def _rate(value: object) -> Rate:
    found = three(value, _growth)
    if len({days for _, days in found}) > 1:
        raise wrong("the rates are of different periods", "write all three as /month, say")
    low, likely, high = (share for share, _ in found)
    return Rate(low, likely, high, days=found[0][1])


_RATE_WRITTEN = {"type": "string", "pattern": rf"^.*[0-9%]\s*/\s*({'|'.join(_DAYS)})\s*$"}
Rates = Annotated[Rate, Checked(_rate, _or_range(_RATE_WRITTEN))]


def _period(value: object) -> Period:
    match = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        what = f"{shown(value)} is no length of time"
        raise wrong(what, "write it in days, weeks, months or years: `3 months`")
    number = int(match[1])
    if number * _DAYS["day" if match[2] == "d" else match[2]] > 100 * _DAYS["year"]:
        raise wrong(f"{shown(value)} is out of all reason", "write at most 100 years")
    match match[2]:
        case "year":
            return Period(12 * number)
        case "month":
            return Period(number)
        case "week":
            return Period(0, 7 * number)
    return Period(0, number)


_LENGTH_WRITTEN = {"type": "string", "pattern": r"^\s*\d+\s*(d|day|week|month|year)s?\s*$"}
Length = Annotated[Period, Checked(_period, _LENGTH_WRITTEN)]


def seconds(low: str, high: str) -> Checked:
    """Return what reads a duration from `low` to `high`, in seconds."""

    def check(value: object) -> int:
        if not isinstance(value, str):
            what = f"{shown(value)} is not a duration"
            raise wrong(what, "write a number with its unit, such as `7 d`")
        try:
            found = parse_seconds(value)
        except ValueError:
            what = f"{value[:80]!r} is not a duration"
            raise wrong(what, "write a number and one of s, min, h, d: `7 d`") from None
        if not parse_seconds(low) <= found <= parse_seconds(high):
            what = f"{value[:80]!r} is too short or too long"
            raise wrong(what, f"write from `{low}` to `{high}`")
        return found

    written = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(s|min|h|d)\s*$"}
    return Checked(check, written)


def _custom(key: str) -> str:
    # What is no resource class is told as any other key that is not known.
    if not CUSTOM.fullmatch(key):
        raise PydanticCustomError("extra_forbidden", "unknown key")
    return key


CustomKey = Annotated[str, AfterValidator(_custom)]


class Open(Thing):
    """A thing that may have resource classes of the estate's own as keys: `CUSTOM_GPU: 2`."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core))
        made["patternProperties"] = {f"^{CUSTOM.pattern}$": made.pop("additionalProperties")}
        made["additionalProperties"] = False
        return made


class Amounts(Open):
    """Exact amounts by resource class."""

    __pydantic_extra__: dict[CustomKey, Annotated[int, has(_OWN)]] = Field(init=False)

    cores: Annotated[int | None, has("cores")] = None
    memory: Annotated[int | None, has("memory")] = None
    disk: Annotated[int | None, has("disk")] = None
    bandwidth: Annotated[int | None, has("bandwidth")] = None
    traffic: Annotated[int | None, has("traffic")] = None

    def amounts(self) -> dict[str, int]:
        """Return what is said, by resource class."""
        return _said(self, Amounts)


class Needs(Open):
    """Amounts or ranges by resource class."""

    __pydantic_extra__: dict[CustomKey, Annotated[Range, needs(_OWN)]] = Field(init=False)

    cores: Annotated[Range | None, needs("cores")] = None
    isolated_cores: Annotated[Range | None, needs("isolated_cores")] = None
    memory: Annotated[Range | None, needs("memory")] = None
    disk: Annotated[Range | None, needs("disk")] = None
    bandwidth: Annotated[Range | None, needs("bandwidth")] = None
    traffic: Annotated[Range | None, needs("traffic")] = None

    def amounts(self) -> dict[str, Range]:
        """Return what is said, by resource class."""
        return _said(self, Needs)


class Ratios(Open):
    """How much more of a resource class than a host has may be given out."""

    __pydantic_extra__: dict[CustomKey, Ratio] = Field(init=False)

    cores: Ratio | None = None
    memory: Ratio | None = None
    disk: Ratio | None = None
    bandwidth: Ratio | None = None
    traffic: Ratio | None = None

    def ratios(self) -> dict[str, Fraction]:
        """Return what is said, by resource class."""
        return _said(self, Ratios)


def _said(thing: Open, kind: type[Open]) -> dict[str, Any]:
    own = {key: getattr(thing, key) for key in kind.model_fields if key != "source"}
    said = {key: value for key, value in own.items() if value is not None}
    return dict(sorted({**said, **(thing.__pydantic_extra__ or {})}.items()))
