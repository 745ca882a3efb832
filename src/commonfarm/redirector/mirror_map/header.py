"""The header of a mirror map: from values to JSON, and back with every part of it checked.

It is checked although it is signed: the writer takes in what mirrors' administrators typed, and
an address ends up in a header of an HTTP answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_network
from typing import Any, NoReturn, TypeVar

from commonfarm.redirector.mirror_map.aliases import follow
from commonfarm.redirector.mirror_map.layout import (
    MOST_BUCKET_BITS,
    MOST_FILES,
    MOST_MIRRORS,
    SALT_BYTES,
    SECTIONS,
    block_count,
    set_width,
)
from commonfarm.redirector.mirror_map.model import Answers, MapError, Mirror, Override, Tree

T = TypeVar("T")

MOST_NETWORKS = 100_000
MOST_TREES = 10_000
MOST_ALIASES = 200_000
MOST_TEXT = 4096

_URL = re.compile(r"https?://[^\x00-\x20\x7f-\U0010ffff\"#<>?\\^`{|}/]+/"
                  r"(?:[^\x00-\x20\x7f-\U0010ffff\"#<>?\\^`{|}]*/)?")  # fmt: skip
_COUNTRY = re.compile(r"[A-Z]{2}")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")


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
        "mirrors": [asdict(mirror) for mirror in mirrors],
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
    try:
        document = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MapError(f"its header is not JSON: {error}") from None
    found = _typed(document, dict, "the header")
    mirrors = _each(found.get("mirrors"), "mirrors", _mirror, MOST_MIRRORS)
    trees = _trees(found.get("trees"))
    for number, mirror in enumerate(mirrors):
        if mirror.tree not in trees:
            raise MapError(f"mirrors[{number}].tree is {mirror.tree!r}, which is no tree of it")
    if sum(len(one.prefixes) + len(one.only_networks) for one in mirrors) > MOST_NETWORKS:
        raise MapError(f"its mirrors have more than {MOST_NETWORKS} networks")
    files = _number(found.get("files"), "files", MOST_FILES)
    sections, hashes = _sections(found, files, len(mirrors))
    salt = _hex(found.get("salt"), "salt", SALT_BYTES)
    base = _number(found.get("base"), "base")
    base_sha256 = _typed(found.get("base_sha256"), str, "base_sha256")
    if base or base_sha256:
        _hex(base_sha256, "base_sha256", 32)
    return Header(
        generation=_number(found.get("generation"), "generation"),
        base=base,
        base_sha256=base_sha256,
        written_at=_date(found.get("written_at"), "written_at"),
        salt=salt,
        files=files,
        mirrors=mirrors,
        trees=trees,
        overrides=_each(found.get("overrides"), "overrides", _override, MOST_NETWORKS),
        sections=sections,
        hashes=hashes,
        sha256=sha256(line).hexdigest(),
    )


def _sections(
    found: dict[str, Any], files: int, mirrors: int
) -> tuple[dict[str, Section], tuple[int, int]]:
    """Read where the sections lie: one behind the other, each as long as what it is to hold."""
    entries = _typed(found.get("sections"), dict, "sections")
    if set(entries) != set(SECTIONS):
        raise MapError("its sections are not those of this version")
    hashes = _typed(found.get("hashes"), list, "hashes")
    if len(hashes) != 2:
        raise MapError("hashes is not a pair of offset and length")
    at, length = (_number(one, "hashes") for one in hashes)
    sections, end = {}, 0
    for name in SECTIONS:
        where = f"sections.{name}"
        entry = _typed(entries[name], list, where)
        if len(entry) != 3:
            raise MapError(f"{where} is not offset, length and SHA-256")
        section = Section(
            _number(entry[0], where), _number(entry[1], where), _hex(entry[2], where, 32)
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
        name=_text(found["name"], f"{where}.name", required=True),
        tree=_typed(found["tree"], str, f"{where}.tree"),
        subtree=_path(found["subtree"], f"{where}.subtree", empty=True),
        http=_url(found["http"], f"{where}.http", "http://"),
        https=_url(found["https"], f"{where}.https", "https://"),
        country=_country(found["country"], f"{where}.country"),
        latitude=_degrees(found["latitude"], f"{where}.latitude", 90),
        longitude=_degrees(found["longitude"], f"{where}.longitude", 180),
        as_number=_number(found["as_number"], f"{where}.as_number", 2**32),
        prefixes=_each(found["prefixes"], f"{where}.prefixes", _network, MOST_NETWORKS),
        only_countries=_each(
            found["only_countries"], f"{where}.only_countries", _country, MOST_NETWORKS
        ),
        only_networks=_each(
            found["only_networks"], f"{where}.only_networks", _network, MOST_NETWORKS
        ),
        answers=Answers(_number(found["answers"], f"{where}.answers", 16)),
        weight=_number(found["weight"], f"{where}.weight", 1001),
        budget_bytes=_number(found["budget_bytes"], f"{where}.budget_bytes"),
        local=_typed(found["local"], bool, f"{where}.local"),
        sponsor=_text(found["sponsor"], f"{where}.sponsor"),
        problem=_text(found["problem"], f"{where}.problem"),
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
        network=_network(found["network"], f"{where}.network"),
        country="" if country == "" else _country(country, f"{where}.country"),
        mirrors=_each(found["mirrors"], f"{where}.mirrors", _text, MOST_MIRRORS),
        origin=_typed(found["origin"], bool, f"{where}.origin"),
    )


def _trees(value: Any) -> dict[str, Tree]:
    trees = _typed(value, dict, "trees")
    if len(trees) > MOST_TREES:
        raise MapError(f"it has more than {MOST_TREES} trees")
    found = {name: _tree(name, tree) for name, tree in trees.items()}
    if sum(len(tree.aliases) + len(tree.repositories) for tree in found.values()) > MOST_ALIASES:
        raise MapError(f"its trees have more than {MOST_ALIASES} aliases and repositories")
    return found


def _tree(name: str, value: Any) -> Tree:
    where = f"trees.{name}"
    found = _typed(value, dict, where)
    if "/" in _path(name, where):
        raise MapError(f"{name!r} is not the name of a tree")
    aliases = {
        _path(path, f"{where}.aliases"): _path(target, f"{where}.aliases")
        for path, target in _typed(found.get("aliases"), dict, f"{where}.aliases").items()
    }
    longest = max(map(len, aliases), default=0)
    for path in aliases:
        if follow(aliases, longest, path) is None:
            raise MapError(f"{where}.aliases: {path} leads in a loop")
    folder = _typed(found.get("folder"), str, f"{where}.folder")
    if folder:
        if not folder.startswith("/"):
            raise MapError(f"{where}.folder is {folder!r}, not an absolute path")
        _path(folder[1:], f"{where}.folder")
    return Tree(
        name=name,
        revision=_number(found.get("revision"), f"{where}.revision"),
        aliases=aliases,
        repositories={
            _text(key, f"{where}.repositories"): _path(path, f"{where}.repositories", empty=True)
            for key, path in _typed(
                found.get("repositories"), dict, f"{where}.repositories"
            ).items()
        },
        folder=folder,
    )


def _fields(value: Any, kind: type, where: str) -> dict[str, Any]:
    found: dict[str, Any] = _typed(value, dict, where)
    names = {field.name for field in fields(kind)}
    if set(found) != names:
        raise MapError(f"{where} has not the fields {', '.join(sorted(names ^ set(found)))[:200]}")
    return found


def _each(value: Any, where: str, read: Callable[[Any, str], T], most: int) -> tuple[T, ...]:
    found = _typed(value, list, where)
    if len(found) > most:
        raise MapError(f"{where} has {len(found)} entries, more than {most}")
    return tuple(read(one, f"{where}[{number}]") for number, one in enumerate(found))


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise MapError(f"{where} is not a {kind.__name__}")
    return value


def _number(value: Any, where: str, below: int = 2**63) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise MapError(f"{where} holds {str(value)[:40]}, not a number from 0 and below {below}")
    return value


def _text(value: Any, where: str, required: bool = False) -> str:
    text = _typed(value, str, where)
    if len(text) > MOST_TEXT or not text.isprintable() or (required and not text):
        raise MapError(f"{where} is {text[:40]!r}, not a line of printable text")
    return str(text)


def _path(value: Any, where: str, empty: bool = False) -> str:
    text = _typed(value, str, where)
    if empty and not text:
        return ""
    odd = any(part in ("", ".", "..") for part in text.split("/"))
    if odd or len(text) > MOST_TEXT or any(one < " " or one == "\x7f" for one in text):
        raise MapError(f"{where} is {text[:80]!r}, not a plain path")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MapError(f"{where} is {text[:80]!r}, which is no text") from None
    return str(text)


def _url(value: Any, where: str, scheme: str) -> str:
    text = _typed(value, str, where)
    if text and (
        not text.startswith(scheme) or len(text) > MOST_TEXT or _URL.fullmatch(text) is None
    ):
        raise MapError(f"{where} is {text[:80]!r}, not an address by {scheme} ending in /")
    return str(text)


def _country(value: Any, where: str) -> str:
    if not isinstance(value, str) or _COUNTRY.fullmatch(value) is None:
        raise MapError(f"{where} is {str(value)[:40]!r}, not two capital letters")
    return value


def _degrees(value: Any, where: str, most: float) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > most:
        raise MapError(f"{where} is {str(value)[:40]}, not between -{most} and {most}")
    return float(value)


def _network(value: Any, where: str) -> str:
    text = _typed(value, str, where)
    try:
        ip_network(text)
    except ValueError:
        raise MapError(f"{where} is {text[:60]!r}, not a network") from None
    return str(text)


def _date(value: Any, where: str) -> str:
    text = _typed(value, str, where)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise MapError(f"{where} is {text[:40]!r}, not a date") from None
    return str(text)


def _hex(value: Any, where: str, length: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * length or _HEX.fullmatch(value) is None:
        raise MapError(f"{where} holds no {length} bytes in hexadecimal digits")
    return bytes.fromhex(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
