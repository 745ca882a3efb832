"""What all kinds of things are made of: names, texts, days, and errors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from commonfarm.estate.facts import TOPOLOGY_KEYS
from commonfarm.estate.resources import CUSTOM
from commonfarm.lib.hints import hint

HOST = "host"
T = TypeVar("T")


def wrong(what: str, to_do: str, *inside: str | int) -> PydanticCustomError:
    """Return an error whose two halves the reader shows as they are, at a part `inside`."""
    context = {"what": what, "to_do": to_do, "inside": inside}
    return PydanticCustomError("estate", "{what}", context)


def matches(pattern: str, kind: str, to_do: str) -> AfterValidator:
    """Return the check that a text is wholly of a pattern."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise wrong(f"{text[:80]!r} is not {kind}", to_do)
        return text

    return AfterValidator(check)


def pattern(regex: str) -> WithJsonSchema:
    """Return what editors are told of a text that is wholly of a pattern."""
    return WithJsonSchema({"type": "string", "pattern": f"^{regex}$"})


def shown(value: object) -> str:
    """Return a value of the file nearly as people wrote it, cut short."""
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else f"{value!r:.80}"


def own(word: str) -> str:
    """Return what was likely meant, where that is a resource class or trait of the estate's own."""
    meant = word.upper().replace("-", "_")
    return f"did you mean `{meant}`?" if meant != word and CUSTOM.fullmatch(meant) else ""


def filled(values: list[T]) -> list[T]:
    """Check that a list has something in it."""
    if not values:
        raise wrong("the list is empty", "name at least one")
    return values


def some(values: list[T]) -> list[T]:
    """Check that a list has something in it and nothing twice."""
    return once(filled(values))


def once(values: list[T]) -> list[T]:
    """Check that a list has nothing twice."""
    seen: set[str] = set()
    for number, value in enumerate(values):
        if repr(value) in seen:
            raise wrong(f"{shown(value)} stands in the list twice", "take one away", number)
        seen.add(repr(value))
    return values


def one_or_list(value: object) -> object:
    """Return a list of what may be written alone."""
    return [value] if isinstance(value, str) else value


NAME = r"[a-z0-9]([a-z0-9.+-]{0,61}[a-z0-9])?"
Name = Annotated[
    str,
    pattern(NAME),
    matches(
        NAME,
        "a name",
        "use up to 63 small letters, digits, and between them hyphens, dots, plus signs",
    ),
]
ARCHITECTURE = r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?"
ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "armv7hl": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
}
"""What `uname -m` and others call what Debian calls otherwise."""


def _debians(text: str) -> str:
    if text in ARCHITECTURES:
        raise wrong(f"{text} is not Debian's name of it", f"did you mean `{ARCHITECTURES[text]}`?")
    return text


Architecture = Annotated[
    str,
    pattern(ARCHITECTURE),
    AfterValidator(_debians),
    matches(ARCHITECTURE, "an architecture", "write one of Debian's, or `host`"),
]
_PERSON = r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,98}[A-Za-z0-9])?"
Person = Annotated[
    str,
    pattern(_PERSON),
    matches(_PERSON, "a person", "write letters and digits, with . _ - @ between them"),
]
People = Annotated[list[Person], AfterValidator(once)]


def _words(text: str) -> str:
    """Return a text in one line; what cannot be printed could steer a terminal."""
    line = " ".join(text.split())
    if not 1 <= len(line) <= 1000:
        raise wrong(f"{line[:80]!r} is not a text", "write 1 to 1000 characters")
    if not line.isprintable():
        raise wrong(f"{line[:80]!r} has characters that cannot be printed", "take them away")
    return line


Words = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1000}),
    AfterValidator(_words),
]


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and len(text) <= 500
    except ValueError:
        right = False
    if not right or not text.isprintable() or re.search(r"[\s\"'<>\\]", text):
        raise wrong(f"{text[:80]!r} is no address in the web", "write http:// or https://")
    if "@" in parts.netloc:
        raise wrong("the address has a user in it", "take user and password away")
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]


def _topology_key(text: str) -> str:
    if text not in TOPOLOGY_KEYS:
        what = f"{text[:80]!r} is nothing to spread over"
        raise wrong(what, hint(text, TOPOLOGY_KEYS))
    return text


TopologyKey = Annotated[
    str, WithJsonSchema({"enum": list(TOPOLOGY_KEYS)}), AfterValidator(_topology_key)
]


@dataclass(frozen=True, eq=False)
class Checked:
    """Annotates a value that `check` makes of what is written, whatever that is.

    `schema` is the JSON Schema of what may be written.
    """

    check: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, _: Any, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def _day(value: object) -> date:
    to_do = "write year, month and day: `2026-01-31`"
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise wrong(f"{shown(value)} is no day", to_do)
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise wrong(f"there is no day {value}", to_do) from None
    if not 1970 <= day.year < 2200:
        raise wrong(f"the year {day.year} is out of all reason", "write one of 1970 to 2199")
    return day


Day = Annotated[date, Checked(_day, {"type": "string", "format": "date"})]


def who_said(value: object) -> str | dict[str, str]:
    """Return who said so: in one line, or for each key in one of its own."""
    if isinstance(value, str):
        return _words(value)
    to_do = "write text, or for each key its own: {memory: the letter, disk: assumption}"
    if not isinstance(value, dict) or not value:
        raise wrong(f"{shown(value)} is no source", to_do)
    for key, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise wrong(f"{shown(text)} is no source", "write text", key)
    return {key: _words(text) for key, text in value.items()}


SOURCE = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ]
}


class Thing(BaseModel):
    """What is declared: it has no key that is not known, and may say who said so."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    source: Annotated[str | dict[str, str] | None, Checked(who_said, SOURCE)] = None

    @model_validator(mode="after")
    def _said_of_what_stands_beside(self) -> Self:
        if isinstance(self.source, dict):
            fields, extra = type(self).model_fields, set(self.__pydantic_extra__ or ())
            own = {fields[key].alias or key for key in self.model_fields_set - extra}
            beside = {*own, *extra} - {"source"}
            for key in self.source:
                if key not in beside:
                    what = f"a source for `{key[:80]}`, which is not said here"
                    raise wrong(what, hint(key, beside), "source", key)
        return self

    @property
    def source_text(self) -> str | None:
        """Who said so, in one line: `cores, disk: assumption; memory: the letter of 2011`."""
        if not isinstance(self.source, dict):
            return self.source
        keys: dict[str, list[str]] = {}
        for key, text in sorted(self.source.items()):
            keys.setdefault(text, []).append(key)
        return "; ".join(f"{', '.join(names)}: {text}" for text, names in keys.items())


class Named(Thing):
    """A thing with a name of its own."""

    name: Name
