"""A world to choose mirrors in: maps that are built and read as real ones are, and clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import (
    Answers,
    File,
    Mirror,
    MirrorMap,
    Override,
    Tree,
    parse,
)
from commonfarm.redirector.mirror_map.writing import Columns, Head, build

EVERYTHING = Answers.HTTP4 | Answers.HTTP6 | Answers.HTTPS4 | Answers.HTTPS6
NOON = 1_795_262_400
"""2026-11-21 12:00 UTC."""
DEB = "demo/pool/a.deb"


def mirror(name: str, country: str = "DE", **changes: object) -> Mirror:
    """A mirror of the tree `demo` that answers by everything; `changes` are of its fields."""
    fields = {
        "tree": "demo",
        "http": f"http://{name}.example.org/demo/",
        "https": f"https://{name}.example.org/demo/",
        "answers": EVERYTHING,
    }
    return Mirror(name, country=country, **(fields | changes))  # type: ignore[arg-type]


def world(
    mirrors: Iterable[Mirror],
    files: Mapping[str, File] | None = None,
    overrides: Iterable[Override] = (),
    trees: Iterable[Tree] = (Tree("demo", 1, {}, {}), Tree("else", 1, {}, {})),
) -> MirrorMap:
    """A map of these mirrors; without `files` there is DEB, of 1000 bytes, and all have it."""
    mirrors = tuple(mirrors)
    if files is None:
        files = {DEB: file(range(len(mirrors)))}
    head = Head(1, "2026-11-21T00:00:00+00:00", mirrors, tuple(trees), tuple(overrides))
    return parse(b"".join(build(head, Columns.of(files, len(mirrors))).chunks()))


def file(
    having: Iterable[int], size: int = 1000, changes: bool = False, mirrors_from: int = 0
) -> File:
    return File(size, b"", changes, sum(1 << number for number in having), mirrors_from)


def client(
    country: str = "DE", address: str = "203.0.113.9", scheme: str = "http", **changes: object
) -> Client:
    return Client(ip_address(address), country, scheme, **changes)  # type: ignore[arg-type]
