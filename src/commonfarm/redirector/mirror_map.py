"""The mirror map: one signed, immutable file that says which mirror has which file.

Format, version 1::

    commonfarm-mirror-map 1
    <ed25519 signature over DSSE's PAE(PAYLOAD_TYPE, payload), base64>
    <payload: JSON>

The payload names the mirrors once and the distinct sets of mirrors once; a file is its size and
the number of its set. A mirror that is out of service stays in the map with why, so that
`?mirrorlist` can tell. PAE: the DSSE protocol, https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MAGIC = b"commonfarm-mirror-map 1\n"
PAYLOAD_TYPE = "application/vnd.commonfarm.mirror-map+json"
MOST_BYTES = 256 * 2**20
MOST_MIRRORS = 10_000
SERVER_NAME = "Commonfarm-redirector"
"""How a redirector names itself; the scanner knows by it that a redirector is no mirror."""

_URL = re.compile(r"https?://[\x21-\x7e]+/")
_COUNTRY = re.compile(r"[A-Z]{2}")


class MapError(ValueError):
    """The file is not a mirror map that may be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of one tree.

    `families` are the IP versions it answers on. `local` means only this machine reaches it.
    `problem` says why nobody is sent there now (`disabled`, `down: …`), empty while it serves.
    """

    name: str
    tree: str
    url: str
    country: str
    families: frozenset[int]
    local: bool = False
    problem: str = ""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.url.partition(":")[0]


@dataclass(frozen=True, slots=True)
class File:
    """A file of a tree: its size in bytes, and the mirrors (by number) seen to have it."""

    size: int
    mirrors: frozenset[int]


@dataclass(frozen=True, slots=True)
class MirrorMap:
    """Which mirror has which file. `trees` maps a tree's name and a path inside it to the file."""

    generation: int
    written_at: str
    mirrors: tuple[Mirror, ...]
    trees: Mapping[str, Mapping[str, File]]

    def find(self, path: str) -> tuple[str, File] | None:
        """Return the tree and the file at `tree/path`, or None when the map does not know it."""
        tree, _, rest = path.partition("/")
        file = self.trees.get(tree, {}).get(rest)
        return None if file is None else (tree, file)


EMPTY = MirrorMap(0, "", (), {})


def serialise(the_map: MirrorMap) -> bytes:
    """Return the payload of `the_map`: the same map always gives the same bytes."""
    sets: dict[frozenset[int], int] = {}
    trees = {
        tree: {
            path: [file.size, sets.setdefault(file.mirrors, len(sets))]
            for path, file in sorted(files.items())
        }
        for tree, files in sorted(the_map.trees.items())
    }
    document = {
        "generation": the_map.generation,
        "written_at": the_map.written_at,
        "mirrors": [
            {
                "name": mirror.name,
                "tree": mirror.tree,
                "url": mirror.url,
                "country": mirror.country,
                "families": sorted(mirror.families),
                "local": mirror.local,
                "problem": mirror.problem,
            }
            for mirror in the_map.mirrors
        ],
        "sets": [sorted(numbers) for numbers in sets],
        "trees": trees,
    }
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def parse(payload: bytes) -> MirrorMap:
    """Read a payload; raise MapError that names what does not fit."""
    if len(payload) > MOST_BYTES:
        raise MapError(f"it has {len(payload)} bytes, more than {MOST_BYTES}")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MapError(f"it is not JSON: {error}") from None
    found = _typed(document, dict, "the payload")
    mirrors = tuple(
        _mirror(one, f"mirrors[{number}]")
        for number, one in enumerate(_typed(found.get("mirrors"), list, "mirrors"))
    )
    if len(mirrors) > MOST_MIRRORS:
        raise MapError(f"it names {len(mirrors)} mirrors, more than {MOST_MIRRORS}")
    sets = [
        frozenset(_number(number, "sets", len(mirrors)) for number in _typed(one, list, "sets"))
        for one in _typed(found.get("sets"), list, "sets")
    ]
    trees = {
        tree: _files(tree, _typed(files, dict, f"trees.{tree}"), mirrors, sets)
        for tree, files in _typed(found.get("trees"), dict, "trees").items()
    }
    return MirrorMap(
        generation=_number(found.get("generation"), "generation"),
        written_at=_typed(found.get("written_at"), str, "written_at"),
        mirrors=mirrors,
        trees=trees,
    )


def _mirror(value: Any, where: str) -> Mirror:
    found = _typed(value, dict, where)
    texts = {
        key: _typed(found.get(key), str, f"{where}.{key}")
        for key in ("name", "tree", "url", "country", "problem")
    }
    if _URL.fullmatch(texts["url"]) is None:
        raise MapError(f"{where}.url is {texts['url']!r}, not an http or https address ending in /")
    if _COUNTRY.fullmatch(texts["country"]) is None:
        raise MapError(f"{where}.country is {texts['country']!r}, not two capital letters")
    families = frozenset(_typed(found.get("families"), list, f"{where}.families"))
    if not families <= {4, 6}:
        raise MapError(f"{where}.families holds more than 4 and 6")
    return Mirror(
        **texts, families=families, local=_typed(found.get("local"), bool, f"{where}.local")
    )


def _files(
    tree: str, files: dict[str, Any], mirrors: tuple[Mirror, ...], sets: list[frozenset[int]]
) -> dict[str, File]:
    if not tree or "/" in tree:
        raise MapError(f"{tree!r} is not the name of a tree")
    owners = [{mirrors[number].tree for number in numbers} for numbers in sets]
    result: dict[str, File] = {}
    for path, value in files.items():
        if not isinstance(value, list) or len(value) != 2:
            raise MapError(f"{tree}/{path} is not a pair of size and set")
        number = _number(value[1], f"{tree}/{path}", len(sets))
        if not owners[number] <= {tree}:
            raise MapError(f"{tree}/{path} is said to lie on a mirror of another tree")
        if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
            raise MapError(f"{tree}/{path} is not a plain path")
        result[path] = File(_number(value[0], f"{tree}/{path}"), sets[number])
    return result


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise MapError(f"{where} is not a {kind.__name__}")
    return value


def _number(value: Any, where: str, below: int = 2**63) -> int:
    if type(value) is not int or not 0 <= value < below:
        raise MapError(f"{where} holds {value!r}, not a number from 0 and below {below}")
    return value


def to_be_signed(payload: bytes) -> bytes:
    """Return the bytes that the signature covers: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, signature: bytes) -> bytes:
    """Return the whole file: header, signature, payload."""
    return MAGIC + base64.b64encode(signature) + b"\n" + payload


def unseal(data: bytes, public_key: Ed25519PublicKey) -> MirrorMap:
    """Check a whole file and return its map; raise MapError that says why it may not be used."""
    if len(data) > MOST_BYTES + 1024:
        raise MapError(f"it has {len(data)} bytes, more than {MOST_BYTES}")
    if not data.startswith(MAGIC):
        raise MapError(f"it does not start with {MAGIC.decode().strip()!r}")
    encoded, newline, payload = data[len(MAGIC) :].partition(b"\n")
    try:
        signature = base64.b64decode(encoded, validate=True)
        if base64.b64encode(signature) != encoded:
            raise ValueError("another spelling of the same signature")
        public_key.verify(signature, to_be_signed(payload))
    except (InvalidSignature, binascii.Error, ValueError):
        raise MapError("its signature is not by the key of this installation") from None
    if not newline:
        raise MapError("it ends before its payload")
    return parse(payload)


def read_key(file: Path) -> Ed25519PublicKey:
    """Return the public key in the PEM file `file`; raise MapError when there is none."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MapError(f"the public key {file} cannot be read: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise MapError(f"the public key {file} is not an ed25519 key")
    return key


def read(file: Path, public_key: Ed25519PublicKey) -> MirrorMap:
    """Read and check `file`; raise MapError, or OSError when it is not there."""
    with file.open("rb") as source:
        return unseal(source.read(MOST_BYTES + 1025), public_key)


def write(file: Path, data: bytes) -> None:
    """Put `data` in place of `file` at once: a reader sees the old bytes or the new ones.

    The bytes are on disk before the name points at them. One writer at a time.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fchmod(out.fileno(), 0o644)
        os.fsync(out.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
