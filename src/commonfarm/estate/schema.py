"""What the estate's YAML may say: one pydantic model per kind of thing.

They hold what is written, checked one thing at a time. What must agree between things (names,
references) is the reader's; what `host` means is the loader's.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)
from pydantic_core import PydanticCustomError

from commonfarm.lib.units import parse_seconds

HOST = "host"


def _wrong(what: str, to_do: str) -> PydanticCustomError:
    """Return an error whose two halves the reader shows as they are."""
    return PydanticCustomError("estate", "{what}", {"what": what, "to_do": to_do})


def _matches(pattern: str, kind: str, to_do: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise _wrong(f"{text[:80]!r} is not {kind}", to_do)
        return text

    return AfterValidator(check)


def _seconds(value: object) -> int:
    if not isinstance(value, str):
        raise _wrong(f"{value!r} is not a duration", "write a number with its unit, such as `7 d`")
    try:
        seconds = parse_seconds(value)
    except ValueError:
        raise _wrong(
            f"{value[:80]!r} is not a duration", "write a number and one of s, min, h, d: `7 d`"
        ) from None
    if not 3600 <= seconds <= 366 * 86400:
        raise _wrong(f"{value[:80]!r} is too short or too long", "write from `1 h` to `366 d`")
    return seconds


def _uri(text: str) -> str:
    if "@" in text:
        raise _wrong("the address has a user in it", "keep passwords in apt's auth.conf")
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and not parts.query
    except ValueError:
        right = None
    if not right or re.search(r"[\s\[\]\"'<>\\#]", text):
        raise _wrong(f"{text[:80]!r} is no address of an archive", "write http:// or https://")
    return text.rstrip("/") + "/"


def _absolute(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise _wrong(f"{text[:80]!r} is no absolute path", "write one that begins with a slash")
    return text


def _some(values: list[str]) -> list[str]:
    if not values:
        raise _wrong("the list is empty", "name at least one")
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise _wrong(f"{twice[0]!r} stands in the list twice", "take one away")
    return values


Name = Annotated[
    str,
    _matches(
        r"[a-z0-9]([a-z0-9.+-]{0,61}[a-z0-9])?",
        "a name",
        "use up to 63 small letters, digits, and between them hyphens, dots, plus signs",
    ),
]
Architecture = Annotated[
    str,
    _matches(
        r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?",
        "an architecture",
        "write one of Debian's, or `host`",
    ),
]
Suite = Annotated[
    str,
    _matches(r"[a-z][a-z0-9-]{0,39}", "a suite", "write a codename such as `bookworm`, or `host`"),
]
Component = Annotated[
    str, _matches(r"[a-z][a-z0-9-]{0,40}", "a component", "write one such as `main`")
]
TreePath = Annotated[
    str,
    _matches(
        r"[A-Za-z0-9][A-Za-z0-9._+-]{0,60}(/[A-Za-z0-9][A-Za-z0-9._+-]{0,60}){0,2}",
        "a path below a release tree",
        "write one to three plain names with slashes between",
    ),
]
Components = Annotated[list[Component], AfterValidator(_some)]


class Thing(BaseModel):
    """What is declared: it has no key that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Named(Thing):
    """A thing with a name of its own."""

    name: Name


class Pool(Named):
    """Builders of one architecture, kind and trust."""

    architecture: Architecture


class Host(Named):
    """A machine, physical or virtual."""

    architecture: Architecture
    pool: str | None = None


class Packages(Thing):
    """One archive of packages, all of them signed by the target's keyring."""

    uri: Annotated[str, AfterValidator(_uri)]
    suite: Annotated[
        str,
        _matches(
            r"[a-z][a-z0-9/-]{0,99}", "a suite", "write a codename such as `bookworm-updates`"
        ),
    ]
    components: Components


class Target(Thing):
    """What to build for. `packages: host` takes the Debian mirror from the hub's own apt.

    Without a name it is called `<suite>-<architecture>`, as these are resolved.
    """

    name: Name | None = None
    suite: Suite
    architecture: Architecture
    components: Components = Field(default_factory=lambda: ["main"])
    # One branch is chosen by the kind of value, so that only its faults are told. Tags in brackets
    # cannot be taken for keys where they appear in the place of an error.
    packages: Annotated[
        Annotated[Literal["host"], Tag("[host]")] | Annotated[list[Packages], Tag("[list]")],
        Discriminator(lambda value: "[host]" if isinstance(value, str) else "[list]"),
    ]
    keyring: Annotated[str, AfterValidator(_absolute)] | None = None
    signed_sources_only: bool = False


class Repository(Named):
    """A part of a release tree that apt reads."""

    path: TreePath
    valid_for: Annotated[int, BeforeValidator(_seconds)]


def _no_revision(text: str) -> str:
    tree, dot, number = text.rpartition(".r")
    if dot and number.isdecimal():
        raise _wrong(
            f"{text!r} is called as revision {number} of a tree {tree!r} on disk",
            "let it end on something else than `.r` and a number",
        )
    return text


class Tree(Named):
    """What users see: a release tree."""

    name: Annotated[Name, AfterValidator(_no_revision)]
    repositories: list[Repository] = Field(default_factory=list)


class Project(Named):
    """Who builds what for which targets (all of them where none is named), published where."""

    targets: Annotated[list[str], AfterValidator(_some)] | None = None
    repository: str | None = None


SECTIONS: dict[str, type[Thing]] = {
    "hosts": Host,
    "pools": Pool,
    "targets": Target,
    "projects": Project,
    "trees": Tree,
}
