"""The header of a mirror map: from values to JSON, and back with every part of it checked.

It is checked although it is signed: the writer takes in what mirrors' administrators typed, and
an address ends up in a header of an HTTP answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, NoReturn

from commonfarm.redirector.mirror_map import checks
from commonfarm.redirector.mirror_map.aliases import follow
from commonfarm.redirector.mirror_map.layout import (
    MOST_BUCKET_BITS,
    MOST_FILES,
    MOST_HEADER_BYTES,
    MOST_MIRRORS,
    SALT_BYTES,
    SECTIONS,
    block_count,
    set_width,
)
from commonfarm.redirector.mirror_map.model import Answers, MapError, Mirror, Override, Tree

MOST_NETWORKS = 100_000
MOST_TREES = 10_000
MOST_ALIASES = 200_000


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section lies, counted from the end of the header's line, and its SHA-256."""

    offset: int
    length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """A header. `base` is 0 in a full map; `sha256` is of the header's own bytes."""

    generation: int
    base: int
    base_sha256: str
    written_at: str
    salt: bytes
    files: int
    mirrors: tuple[Mirror, ...]
    trees: Mapping[str, Tree]
    overrides: tuple[Override, ...]
    sections: Mapping[str, Section]
    hashes: tuple[int, int]
    sha256: str

    @property
    def payload_length(self) -> int:
        """How many bytes come behind the header's line."""
        return sum(self.hashes)


def to_json(
    *,
    generation: int,
    base: int,
    base_sha256: str,
    written_at: str,
    salt: bytes,
    files: int,
    mirrors: Sequence[Mirror],
    trees: Sequence[Tree],
    overrides: Sequence[Override],
    sections: Mapping[str, Section],
    hashes: tuple[int, int],
) -> bytes:
    """Return the header's line, without its newline: the same values always give the same bytes."""
    document = {
        "generation": generation,
        "base": base,
        "base_sha256": base_sha256,
        "written_at": written_at,
        "salt": salt.hex(),
        "files": files,
        # A problem may quote what a mirror answered, which must not keep a map from being made.
        "mirrors": [
            asdict(mirror)
            | {"sponsor": checks.line(mirror.sponsor), "problem": checks.line(mirror.problem)}
            for mirror in mirrors
        ],
        "trees": {
            tree.name: {
                "revision": tree.revision,
                "aliases": dict(tree.aliases),
                "repositories": dict(tree.repositories),
                "folder": tree.folder,
            }
            for tree in trees
        },
        "overrides": [asdict(override) for override in overrides],
        "sections": {
            name: [section.offset, section.length, section.sha256.hex()]
            for name, section in sections.items()
        },
        "hashes": list(hashes),
    }
    line = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return line.encode("ascii")


def lay_out(
    contents: Mapping[str, bytes | memoryview], hashes_length: int
) -> tuple[dict[str, Section], tuple[int, int]]:
    """Return where the sections of these contents lie, and behind them the further hashes."""
    sections, end = {}, 0
    for name in SECTIONS:
        content = memoryview(contents[name])
        sections[name] = Section(end, content.nbytes, sha256(content).digest())
        end += content.nbytes
    return sections, (end, hashes_length)


def from_json(line: bytes) -> Header:
    """Read a header; raise MapError that names what does not fit."""
    if len(line) > MOST_HEADER_BYTES:
        raise MapError(f"its header has more than {MOST_HEADER_BYTES} bytes")
    try:
        document = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MapError(f"its header is not JSON: {error}") from None
    found = checks.typed(document, dict, "the header")
    mirrors = checks.each(found.get("mirrors"), "mirrors", _mirror, MOST_MIRRORS)
    trees = _trees(found.get("trees"))
    for number, mirror in enumerate(mirrors):
        if mirror.tree not in trees:
            raise MapError(f"mirrors[{number}].tree is {mirror.tree!r}, which is no tree of it")
    if sum(len(one.prefixes) + len(one.only_networks) for one in mirrors) > MOST_NETWORKS:
        raise MapError(f"its mirrors have more than {MOST_NETWORKS} networks")
    files = checks.number(found.get("files"), "files", MOST_FILES)
    sections, hashes = _sections(found, files, len(mirrors))
    salt = checks.digits(found.get("salt"), "salt", SALT_BYTES)
    base = checks.number(found.get("base"), "base")
    base_sha256 = checks.typed(found.get("base_sha256"), str, "base_sha256")
    if base or base_sha256:
        checks.digits(base_sha256, "base_sha256", 32)
    return Header(
        generation=checks.number(found.get("generation"), "generation"),
        base=base,
        base_sha256=base_sha256,
        written_at=checks.date(found.get("written_at"), "written_at"),
        salt=salt,
        files=files,
        mirrors=mirrors,
        trees=trees,
        overrides=checks.each(found.get("overrides"), "overrides", _override, MOST_NETWORKS),
        sections=sections,
        hashes=hashes,
        sha256=sha256(line).hexdigest(),
    )


def _sections(
    found: dict[str, Any], files: int, mirrors: int
) -> tuple[dict[str, Section], tuple[int, int]]:
    """Read where the sections lie: one behind the other, each as long as what it is to hold."""
    entries = checks.typed(found.get("sections"), dict, "sections")
    if set(entries) != set(SECTIONS):
        raise MapError("its sections are not those of this version")
    hashes = checks.typed(found.get("hashes"), list, "hashes")
    if len(hashes) != 2:
        raise MapError("hashes is not a pair of offset and length")
    at, length = (checks.number(one, "hashes") for one in hashes)
    sections, end = {}, 0
    for name in SECTIONS:
        where = f"sections.{name}"
        entry = checks.typed(entries[name], list, where)
        if len(entry) != 3:
            raise MapError(f"{where} is not offset, length and SHA-256")
        section = Section(
            checks.number(entry[0], where),
            checks.number(entry[1], where),
            checks.digits(entry[2], where, 32),
        )
        if section.offset != end:
            raise MapError(f"{where} begins at {section.offset}, not at {end}")
        sections[name], end = section, end + section.length
    if at != end:
        raise MapError(f"hashes begin at {at}, not at {end}")
    lengths = {name: section.length for name, section in sections.items()}
    buckets = (lengths["buckets"] - 4) // 4
    fits = {
        "paths": lengths["paths"] == 8 * files,
        "sizes": lengths["sizes"] == 8 * files,
        "buckets": lengths["buckets"] == 4 * buckets + 4
        and 0 < buckets <= 2**MOST_BUCKET_BITS
        and buckets & (buckets - 1) == 0,
        "sets": lengths["sets"] == 4 * files,
        "waiting": lengths["waiting"] % 4 == 0 and lengths["waiting"] <= 4 * files,
        "mirrors_from": lengths["mirrors_from"] == lengths["waiting"],
        "sha256": lengths["sha256"] == 32 * files,
        "flags": lengths["flags"] == files,
        "set_bits": lengths["set_bits"] % set_width(mirrors) == 0,
        "blocks": lengths["blocks"] == 32 * block_count(length),
        "rows": lengths["rows"] in (4 * files, 8 * files),
    }
    for name, fit in fits.items():
        if not fit:
            raise MapError(f"sections.{name} has {lengths[name]} bytes, which does not fit")
    return sections, (at, length)


def _mirror(value: Any, where: str) -> Mirror:
    found = _fields(value, Mirror, where)
    mirror = Mirror(
        name=checks.text(found["name"], f"{where}.name", required=True),
        tree=checks.typed(found["tree"], str, f"{where}.tree"),
        subtree=checks.path(found["subtree"], f"{where}.subtree", empty=True),
        http=checks.url(found["http"], f"{where}.http", "http"),
        https=checks.url(found["https"], f"{where}.https", "https"),
        country=checks.country(found["country"], f"{where}.country"),
        latitude=checks.degrees(found["latitude"], f"{where}.latitude", 90),
        longitude=checks.degrees(found["longitude"], f"{where}.longitude", 180),
        as_number=checks.number(found["as_number"], f"{where}.as_number", 2**32),
        prefixes=checks.each(found["prefixes"], f"{where}.prefixes", checks.network, MOST_NETWORKS),
        only_countries=checks.each(
            found["only_countries"], f"{where}.only_countries", checks.country, MOST_NETWORKS
        ),
        only_networks=checks.each(
            found["only_networks"], f"{where}.only_networks", checks.network, MOST_NETWORKS
        ),
        answers=Answers(checks.number(found["answers"], f"{where}.answers", 16)),
        weight=checks.number(found["weight"], f"{where}.weight", 1001),
        budget_bytes=checks.number(found["budget_bytes"], f"{where}.budget_bytes"),
        local=checks.typed(found["local"], bool, f"{where}.local"),
        sponsor=checks.text(found["sponsor"], f"{where}.sponsor"),
        problem=checks.text(found["problem"], f"{where}.problem"),
    )
    if not (mirror.http or mirror.https):
        raise MapError(f"{where} has neither an http nor an https address")
    if (mirror.latitude is None) != (mirror.longitude is None):
        raise MapError(f"{where} has one of latitude and longitude without the other")
    if not mirror.weight:
        raise MapError(f"{where}.weight is 0, not 1 to 1000")
    return mirror


def _override(value: Any, where: str) -> Override:
    found = _fields(value, Override, where)
    country = found["country"]
    return Override(
        network=checks.network(found["network"], f"{where}.network"),
        country="" if country == "" else checks.country(country, f"{where}.country"),
        mirrors=checks.each(found["mirrors"], f"{where}.mirrors", checks.text, MOST_MIRRORS),
        origin=checks.typed(found["origin"], bool, f"{where}.origin"),
    )


def _trees(value: Any) -> dict[str, Tree]:
    trees = checks.typed(value, dict, "trees")
    if len(trees) > MOST_TREES:
        raise MapError(f"it has more than {MOST_TREES} trees")
    found = {name: _tree(name, tree) for name, tree in trees.items()}
    if sum(len(tree.aliases) + len(tree.repositories) for tree in found.values()) > MOST_ALIASES:
        raise MapError(f"its trees have more than {MOST_ALIASES} aliases and repositories")
    return found


def _tree(name: str, value: Any) -> Tree:
    where = f"trees[{name[:80]!r}]"
    found = checks.typed(value, dict, where)
    if "/" in checks.path(name, where):
        raise MapError(f"{name!r} is not the name of a tree")
    aliases = {
        checks.path(path, f"{where}.aliases"): checks.path(target, f"{where}.aliases")
        for path, target in checks.typed(found.get("aliases"), dict, f"{where}.aliases").items()
    }
    longest = max(map(len, aliases), default=0)
    for path in aliases:
        if follow(aliases, longest, path) is None:
            raise MapError(f"{where}.aliases: {path[:80]!r} leads in a loop")
    folder = checks.typed(found.get("folder"), str, f"{where}.folder")
    if folder:
        if not folder.startswith("/"):
            raise MapError(f"{where}.folder is {folder!r}, not an absolute path")
        checks.path(folder[1:], f"{where}.folder")
    return Tree(
        name=name,
        revision=checks.number(found.get("revision"), f"{where}.revision"),
        aliases=aliases,
        repositories={
            checks.text(key, f"{where}.repositories"): checks.path(
                path, f"{where}.repositories", empty=True
            )
            for key, path in checks.typed(
                found.get("repositories"), dict, f"{where}.repositories"
            ).items()
        },
        folder=folder,
    )


def _fields(value: Any, kind: type, where: str) -> dict[str, Any]:
    found: dict[str, Any] = checks.typed(value, dict, where)
    names = {field.name for field in fields(kind)}
    if set(found) != names:
        odd = ", ".join(sorted(names ^ set(found)))
        raise MapError(f"{where} has other fields than it should: {odd[:200]!r}")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
