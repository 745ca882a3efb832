"""What is built and published: pools, targets, projects, release trees."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from commonfarm.estate.schema.amounts import seconds
from commonfarm.estate.schema.common import (
    HOST,
    Architecture,
    Name,
    Named,
    Thing,
    matches,
    some,
    wrong,
)


def _uri(text: str) -> str:
    if "@" in text:
        raise wrong("the address has a user in it", "keep passwords in apt's auth.conf")
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and parts.hostname and not parts.query
    except ValueError:
        right = None
    if not right or re.search(r"[\s\[\]\"'<>\\#]", text):
        raise wrong(f"{text[:80]!r} is no address of an archive", "write http:// or https://")
    return text.rstrip("/") + "/"


def _absolute(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise wrong(f"{text[:80]!r} is no absolute path", "write one that begins with a slash")
    return text


Suite = Annotated[
    str,
    matches(r"[a-z][a-z0-9-]{0,39}", "a suite", "write a codename such as `bookworm`, or `host`"),
]
Component = Annotated[
    str, matches(r"[a-z][a-z0-9-]{0,40}", "a component", "write one such as `main`")
]
TreePath = Annotated[
    str,
    matches(
        r"[A-Za-z0-9][A-Za-z0-9._+-]{0,60}(/[A-Za-z0-9][A-Za-z0-9._+-]{0,60}){0,2}",
        "a path below a release tree",
        "write one to three plain names with slashes between",
    ),
]


def _host(text: str) -> str:
    if text != HOST:
        raise wrong(f"`packages` is {text[:80]!r}", f"write {HOST!r}, or a list")
    return text


Components = Annotated[list[Component], AfterValidator(some)]


class Pool(Named):
    """Builders of one architecture, kind and trust."""

    architecture: Architecture


class Packages(Thing):
    """One archive of packages, all of them signed by the target's keyring."""

    uri: Annotated[str, AfterValidator(_uri)]
    suite: Annotated[
        str,
        matches(r"[a-z][a-z0-9/-]{0,99}", "a suite", "write a codename such as `bookworm-updates`"),
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
        Annotated[
            str,
            WithJsonSchema({"const": HOST}),
            AfterValidator(_host),
            Tag("[host]"),
        ]
        | Annotated[list[Packages], Tag("[list]")],
        Discriminator(lambda value: "[host]" if isinstance(value, str) else "[list]"),
    ]
    keyring: Annotated[str, AfterValidator(_absolute)] | None = None
    signed_sources_only: bool = False


class Repository(Named):
    """A part of a release tree that apt reads."""

    path: TreePath
    valid_for: Annotated[int, seconds("1 h", "366 d")]


def _no_revision(text: str) -> str:
    tree, dot, number = text.rpartition(".r")
    if dot and number.isdecimal():
        raise wrong(
            f"{text!r} is called as revision {number} of a tree {tree!r} on disk",
            "let it end on something else than `.r` and a number",
        )
    return text


def _pattern(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", text) or text.startswith("/") or ".." in text:
        raise wrong(
            f"{text[:80]!r} is not a pattern of paths",
            "write one such as `latest.json` or `doc/*.html`, without a slash before it",
        )
    return text


def _folder(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*){0,9}", text):
        raise wrong(
            f"{text[:80]!r} is not a folder of the tree", "write plain names with slashes between"
        )
    return text


def _rpm_repository(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,60}(/[a-z0-9_]{1,20})?", text):
        raise wrong(
            f"{text[:80]!r} is not what dnf asks for",
            "write `REPO` or `REPO/ARCH`, as in `?repo=REPO&arch=ARCH`",
        )
    return text


class Tree(Named):
    """What users see: a release tree, and how files get into it and out to mirrors."""

    name: Annotated[Name, AfterValidator(_no_revision)]
    environment: Name | None = None
    promotes_to: str | None = None
    review: Literal["none", "any", "other"] = "any"
    origin_only: Annotated[int, seconds("0 s", "30 d")] = 30 * 60
    grace: Annotated[int, seconds("0 s", "366 d")] = 7 * 86400
    valid_for: Annotated[int, seconds("1 h", "366 d")] = 14 * 86400
    keep_revisions: Annotated[int, Field(ge=1, le=1000)] = 10
    changing: list[Annotated[str, AfterValidator(_pattern)]] = Field(default_factory=list)
    adopts: Annotated[str, AfterValidator(_absolute)] | None = None
    repositories: list[Repository] = Field(default_factory=list)
    rpm_repositories: dict[
        Annotated[str, AfterValidator(_rpm_repository)], Annotated[str, AfterValidator(_folder)]
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.adopts and self.repositories:
            what = "an adopted tree is filled by something else, and has repositories to be filled"
            raise wrong(what, "take `repositories` away, or `adopts`", "repositories")
        if self.promotes_to == self.name:
            raise wrong("the tree is promoted to itself", "name another tree", "promotes_to")
        return self


class Project(Named):
    """Who builds what for which targets (all of them where none is named), published where."""

    targets: Annotated[list[str], AfterValidator(some)] | None = None
    repository: str | None = None
