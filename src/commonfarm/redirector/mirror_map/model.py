"""What a mirror map says: plain values, checked where they are read (`header`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag


class MapError(ValueError):
    """The file is not a mirror map that may be used; the text says why."""


class MissingError(MapError):
    """There is no such file."""


class Answers(IntFlag):
    """By which scheme and IP version a mirror was seen to answer."""

    HTTP4 = 1
    HTTP6 = 2
    HTTPS4 = 4
    HTTPS6 = 8


_NONE = Answers(0)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of one tree, or of the folder `subtree` of it, which its addresses then are of.

    Addresses end in `/`; it has at least one. `country` is of ISO 3166, two capital letters.
    `prefixes` are networks that it is the nearest for; `only_countries` and `only_networks` the
    only ones it serves, all when both are empty. `weight` is 1 to 1000, usually 100;
    `budget_bytes` is for a UTC day, 0 for no limit; `as_number` 0 is unknown. `local`: only this
    machine reaches it. `problem` says why nobody is sent there now, empty while it serves.
    """

    name: str
    tree: str
    subtree: str = ""
    http: str = ""
    https: str = ""
    country: str = ""
    latitude: float | None = None
    longitude: float | None = None
    as_number: int = 0
    prefixes: tuple[str, ...] = ()
    only_countries: tuple[str, ...] = ()
    only_networks: tuple[str, ...] = ()
    answers: Answers = _NONE
    weight: int = 100
    budget_bytes: int = 0
    local: bool = False
    sponsor: str = ""
    problem: str = ""

    def base(self, scheme: str) -> str:
        """Return its address for `http` or `https`, empty when it has none."""
        return self.https if scheme == "https" else self.http


@dataclass(frozen=True, slots=True)
class Tree:
    """A release tree.

    `aliases`: a file or folder and the path it stands for, both inside the tree. `repositories`:
    `name` or `name/arch` and the folder in the tree, as dnf asks. `folder`: where the files of an
    adopted tree lie on this machine, empty for a published one.
    """

    name: str
    revision: int
    aliases: Mapping[str, str]
    repositories: Mapping[str, str]
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """The operator's word for clients of `network`; of several the longest prefix counts.

    They are taken for clients of `country`, get `mirrors` (names) before all others, or, with
    `origin`, are served by ourselves.
    """

    network: str
    country: str = ""
    mirrors: tuple[str, ...] = ()
    origin: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file: size in bytes, SHA-256 (empty: unknown), whether it changes in place, its mirrors.

    Bit n of `mirrors` is mirror n of the map. Until `mirrors_from` (seconds since 1970, 0 for at
    once) nobody is sent to them.
    """

    size: int
    sha256: bytes
    changes: bool
    mirrors: int
    mirrors_from: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """What a file that changes in place was before. Unknown hashes are empty."""

    modified_at: int
    size: int
    sha256: bytes
    sha1: bytes = b""
    md5: bytes = b""


@dataclass(frozen=True, slots=True)
class Hashes:
    """Further hashes of a file; unknown ones are empty.

    `pieces` are the SHA-256 of each `piece_bytes`, `modified_at` seconds since 1970, 0 for
    unknown. `alternates` are its older revisions that are still good, newest first.
    """

    sha1: bytes = b""
    md5: bytes = b""
    piece_bytes: int = 0
    pieces: tuple[bytes, ...] = ()
    modified_at: int = 0
    alternates: tuple[Revision, ...] = ()
