"""The text of an apt repository's indexes: pure functions of what the tables say.

The signer writes the same text anew from the tables and signs only if the bytes agree, so nothing
here may depend on anything but its arguments. Packages are listed in the order in which they were
added: a new one goes to the end, and what was there stays a prefix. apt reads concatenated gzip
members and zstd frames, so only the new end is compressed (RFC 1952, section 2.2; RFC 8878, section
3). Not so with xz: of several streams apt 2.6 reads the first and says nothing of the others.

Format: https://wiki.debian.org/DebianRepository/Format
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import IO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_FIRST = ("Package", "Source", "Version", "Architecture", "Maintainer", "Installed-Size")


@dataclass(frozen=True, slots=True)
class Package:
    """A package as an index lists it: its control fields, path, size in bytes and SHA-256."""

    control: Mapping[str, str]
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that a Release file lists, by its path below it."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """What a Release file says beside its list of files. `valid_seconds` from `date` on."""

    origin: str
    label: str
    suite: str
    date: datetime
    valid_seconds: int
    architectures: tuple[str, ...]
    components: tuple[str, ...]


def stanza(package: Package) -> str:
    """Return the paragraph of `package`, an empty line behind it."""
    control = package.control
    order = [key for key in _FIRST if key in control]
    order += sorted(key for key in control if key not in _FIRST and key != "Description")
    order += ["Description"] if "Description" in control else []
    lines = [f"{key}: {control[key]}" for key in order]
    lines += [
        f"Filename: {package.path}",
        f"Size: {package.size}",
        f"SHA256: {package.sha256}",
    ]
    return "\n".join(lines) + "\n\n"


def packages_text(packages: Iterable[Package]) -> bytes:
    """Return the Packages index of `packages`, in their order."""
    return "".join(map(stanza, packages)).encode()


def extend(suffix: str, old_text: bytes, old_packed: bytes, text: bytes) -> bytes:
    """Return `text` packed as `suffix` of PACKINGS says, compressing what `old_text` does not have.

    Falls back to the whole when `old_text` is not how `text` begins.
    """
    compress = PACKINGS[suffix].compress
    if old_packed and text.startswith(old_text):
        new = text[len(old_text) :]
        return old_packed + compress(new) if new else old_packed
    return compress(text)


def unpacks_to(suffix: str, packed: bytes, text: bytes) -> bool:
    """Say whether `packed` is `text` and nothing more, whatever else it may unpack to."""
    try:
        with PACKINGS[suffix].open(io.BytesIO(packed)) as opened:
            return opened.read(len(text)) == text and not opened.read(1)
    except (OSError, EOFError, zlib.error, zstd.ZstdError):
        return False


@dataclass(frozen=True, slots=True)
class Packing:
    """How an index is compressed: members one behind the other unpack to the whole."""

    compress: Callable[[bytes], bytes]
    open: Callable[[IO[bytes]], io.BufferedIOBase]


PACKINGS: Mapping[str, Packing] = MappingProxyType(
    {
        ".gz": Packing(
            lambda text: gzip.compress(text, 6, mtime=0),
            lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
        ),
        ".zst": Packing(lambda text: zstd.compress(text, 9), lambda file: zstd.ZstdFile(file)),
    }
)
"""By suffix, the packed forms in which each index is published."""


def release_text(release: Release, files: Iterable[File]) -> bytes:
    """Return the Release file."""
    until = release.date + timedelta(seconds=release.valid_seconds)
    lines = [
        f"Origin: {release.origin}",
        f"Label: {release.label}",
        f"Suite: {release.suite}",
        f"Codename: {release.suite}",
        f"Date: {_date(release.date)}",
        f"Valid-Until: {_date(until)}",
        f"Architectures: {' '.join(release.architectures)}",
        f"Components: {' '.join(release.components)}",
        "Acquire-By-Hash: yes",
        "SHA256:",
    ]
    lines += [
        f" {file.sha256} {file.size} {file.path}" for file in sorted(files, key=lambda f: f.path)
    ]
    return ("\n".join(lines) + "\n").encode()


def by_hash(path: str, sha256: str) -> str:
    """Return the path under which an index is found by its hash, whatever is newer."""
    return f"{path.rpartition('/')[0]}/by-hash/SHA256/{sha256}"


def pool_path(distribution: str, component: str, source: str, filename: str) -> str:
    """Return where a package lies: each distribution has a pool of its own.

    The same version is built once for each of them, with other bytes, and a path has one content
    for ever.
    """
    prefix = source[:4] if source.startswith("lib") and len(source) > 3 else source[:1]
    return f"pool/{distribution}/{component}/{prefix}/{source}/{filename}"


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _date(at: datetime) -> str:
    return format_datetime(at, usegmt=True).replace("GMT", "UTC")
