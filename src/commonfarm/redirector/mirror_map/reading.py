"""Reading mirror maps: what the redirector does. No numpy here.

What is mapped was read and checked once; the redirector trusts that nobody writes into the file
afterwards, as its writer never does: it puts another file in its place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from commonfarm.redirector.mirror_map.aliases import follow
from commonfarm.redirector.mirror_map.entries import Entries
from commonfarm.redirector.mirror_map.header import Header, from_json, lay_out, to_json
from commonfarm.redirector.mirror_map.layout import (
    CHANGES,
    DELTA,
    FULL,
    GONE,
    HEADER_AT,
    MAGIC,
    MOST_HEADER_BYTES,
    SALT_BYTES,
    SECTIONS,
    WAITS,
    check_signature,
    set_width,
)
from commonfarm.redirector.mirror_map.model import (
    File,
    Hashes,
    MapError,
    Mirror,
    MissingError,
    Override,
    Tree,
)
from commonfarm.redirector.mirror_map.source import BytesSource, FileSource, Source, mark_of

_NO_DIGEST = bytes(32)
MOST_ATTEMPTS = 5


class Part:
    """The files of a full map or of a delta, as columns by index."""

    __slots__ = (
        *("_from", "_set_bits", "_sha256", "_waiting", "_width", "buckets", "entries", "flags"),
        *("header", "key", "paths", "sets", "shift", "sizes", "source"),
    )

    key: Ed25519PublicKey | None
    """What it was checked by, None when it was not."""

    def __init__(
        self, header: Header, source: Source, base: int, key: Ed25519PublicKey | None = None
    ) -> None:
        sections = header.sections
        view = source.view(base + sections["rows"].offset)

        def of(name: str) -> memoryview:
            section = sections[name]
            return view[base + section.offset : base + section.offset + section.length]

        self.header = header
        self.key = key
        self.source = source
        self.paths = of("paths").cast("Q")
        self.sizes = of("sizes").cast("Q")
        self.buckets = of("buckets").cast("I")
        self.sets = of("sets").cast("I")
        self.flags = of("flags")
        self.shift = 64 - (len(self.buckets) - 1).bit_length() + 1
        self._sha256 = of("sha256")
        self._set_bits = of("set_bits")
        self._width = set_width(len(header.mirrors))
        self._waiting = of("waiting").cast("I")
        self._from = of("mirrors_from").cast("I")
        start, length = header.hashes
        self.entries = Entries(
            lambda offset, most: source.read(base + start + offset, most),
            bytes(of("blocks")),
            length,
            header.files,
        )

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of a file, empty when it is unknown."""
        digest = bytes(self._sha256[32 * index : 32 * index + 32])
        return b"" if digest == _NO_DIGEST else digest

    def bits(self, number: int) -> int:
        """Return a set of mirrors, bit n for mirror n; nothing for a number that names no set."""
        at = number * self._width
        return int.from_bytes(self._set_bits[at : at + self._width], "little")

    def mirrors_from(self, index: int) -> int:
        """Return until when (seconds since 1970) a file is only ours to serve; 0 without a wait."""
        at = bisect_left(self._waiting, index)
        found = at < len(self._waiting) and self._waiting[at] == index
        return self._from[at] if found else 0

    def file(self, index: int) -> File:
        """Return all that is known of a file but its further hashes."""
        flags = self.flags[index]
        return File(
            size=self.sizes[index],
            sha256=self.digest(index),
            changes=bool(flags & CHANGES),
            mirrors=self.bits(self.sets[index]),
            mirrors_from=self.mirrors_from(index) if flags & WAITS else 0,
        )


class MirrorMap:
    """Which mirror has which file: a full map and, where there is one, the delta upon it.

    `delta_problem` says why a delta that lies there is not in use, empty when none is refused.
    """

    __slots__ = (
        *("_longest", "delta_problem", "full", "full_generation", "generation", "locate"),
        *("mirrors", "overrides", "trees", "written_at"),
    )

    locate: Callable[[bytes], tuple[Part, int] | None]
    """Find the file at `tree/path`: the part that has it, and its index there."""

    def __init__(self, full: Part, delta: Part | None = None, delta_problem: str = "") -> None:
        header = (delta or full).header
        self.generation: int = header.generation
        self.full = full
        self.full_generation: int = full.header.generation
        self.written_at: str = header.written_at
        self.mirrors: tuple[Mirror, ...] = header.mirrors
        self.trees: Mapping[str, Tree] = MappingProxyType(dict(header.trees))
        self.overrides: tuple[Override, ...] = header.overrides
        self.delta_problem = delta_problem
        self.locate = _locator(full, delta)
        self._longest = {
            name: max(map(len, tree.aliases), default=0) for name, tree in self.trees.items()
        }

    def find(self, path: bytes | str) -> File | None:
        """Return the file at `tree/path`, None when there is none; no alias is followed."""
        found = self.locate(_as_bytes(path))
        return None if found is None else found[0].file(found[1])

    def hashes(self, path: bytes | str) -> Hashes | None:
        """Return the further hashes of `tree/path`, None without any; MapError when damaged."""
        found = self.locate(_as_bytes(path))
        return None if found is None else found[0].entries.find(found[1])

    def resolve(self, path: str) -> str:
        """Return what `tree/path` stands for, `path` itself when no alias leads there."""
        name, _, rest = path.partition("/")
        longest = self._longest.get(name)
        if not longest:
            return path
        target = follow(self.trees[name].aliases, longest, rest)
        return path if target in (None, rest) else f"{name}/{target}"


def _locator(full: Part, delta: Part | None) -> Callable[[bytes], tuple[Part, int] | None]:
    """Return `locate` of a map.

    It is most of what is done for each request, so it is a closure that looks up no attribute,
    begins from a copy of a salted hash (see `layout.path_hash`), and searches a delta only where
    its bucket is not empty, as most are.
    """
    start = blake2b(digest_size=8, salt=full.header.salt).copy
    from_bytes, search = int.from_bytes, bisect_left
    shift, buckets, paths = full.shift, full.buckets, full.paths
    new_shift, new_buckets, new_paths, new_flags = (
        (64, (0, 0), (), b"")
        if delta is None
        else (delta.shift, delta.buckets, delta.paths, delta.flags)
    )

    def locate(path: bytes) -> tuple[Part, int] | None:
        hashed = start()
        hashed.update(path)
        number = from_bytes(hashed.digest(), "big")
        bucket = number >> new_shift
        first, end = new_buckets[bucket], new_buckets[bucket + 1]
        if first != end:
            index = search(new_paths, number, first, end)
            if index < end and new_paths[index] == number:
                return None if delta is None or new_flags[index] & GONE else (delta, index)
        bucket = number >> shift
        end = buckets[bucket + 1]
        index = search(paths, number, buckets[bucket], end)
        return (full, index) if index < end and paths[index] == number else None

    return locate


def load(folder: Path, key: Ed25519PublicKey, before: MirrorMap | None = None) -> MirrorMap:
    """Read and check the map in `folder`: the full one, and the delta when it belongs to it.

    Raises MapError that says why the full one may not be used. A delta that may not be used is
    named in `delta_problem`, and the full one serves alone. A full one that still is the very file
    that `before` was read from is taken from there: a delta comes in a tenth of the time then.
    """
    for _ in range(MOST_ATTEMPTS):
        lying = seen(folder)
        found = _load(folder, key, before)
        if seen(folder) == lying:  # else the two files may be of different times
            break
    return found


def _load(folder: Path, key: Ed25519PublicKey, before: MirrorMap | None) -> MirrorMap:
    full = _named(folder / FULL, key, before.full if before is not None else None)
    if full.header.base:
        raise MapError(f"{folder / FULL}: it is a delta")
    try:
        delta = _named(folder / DELTA, key)
        _check_delta(full.header, delta.header, folder / DELTA)
    except MissingError:
        return MirrorMap(full)
    except MapError as error:
        return MirrorMap(full, None, str(error))
    return MirrorMap(full, delta)


def parse(data: bytes) -> MirrorMap:
    """Read a full map's payload that is in memory, unsigned: for tests and tools."""
    source = BytesSource(data)
    return MirrorMap(_part(source, 0, read_header(source, 0)))


def seen(folder: Path) -> tuple[tuple[int, ...], ...]:
    """Return what tells the files that lie in `folder` from others, cheaply.

    Ask before `load`: when it answers something else later, there is something new to load.
    """
    return mark_of(folder / FULL), mark_of(folder / DELTA)


def read_key(file: Path) -> Ed25519PublicKey:
    """Return the public key in the PEM file `file`; raise MapError when there is none."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MapError(f"the public key {file} cannot be read: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise MapError(f"the public key {file} is not an ed25519 key")
    return key


def read_header(source: Source, at: int) -> bytes:
    """Return the header's line that begins at `at`, without its newline."""
    length = 64 * 1024
    while True:
        start = source.read(at, length)
        end = start.find(b"\n")
        if end >= 0:
            return start[:end]
        if len(start) < length:
            raise MapError("it ends before its header does")
        if length > MOST_HEADER_BYTES:
            raise MapError(f"its header has more than {MOST_HEADER_BYTES} bytes")
        length = min(8 * length, MOST_HEADER_BYTES + 1)


def check_size(header: Header, source: Source, base: int) -> None:
    """Raise MapError unless the file ends where the header says."""
    if source.size != base + header.payload_length:
        raise MapError(f"it has {source.size} bytes, not {base + header.payload_length}")


def _check_sections(header: Header, source: Source, base: int) -> None:
    """Raise MapError unless each section is as the header says.

    Read and not mapped, so that the pages do not count as ours.
    """
    for name, section in header.sections.items():
        summed = sha256()
        for chunk in source.chunks(base + section.offset, section.length):
            summed.update(chunk)
            if name == "buckets" and max(chunk.cast("I")) > header.files:
                raise MapError("its buckets point outside its paths")
        if summed.digest() != section.sha256:
            raise MapError(f"its section {name} has not the SHA-256 that was signed")


def _named(file: Path, key: Ed25519PublicKey, before: Part | None = None) -> Part:
    """Read one file; what is wrong with it is said with its name."""
    try:
        source = FileSource(file)
        if before is not None and (before.source.mark, before.key) == (source.mark, key):
            return before
        start = source.read(0, HEADER_AT)
        if not start.startswith(MAGIC):
            raise MapError(f"it does not start with {MAGIC.decode().strip()!r}")
        if start[-1:] != b"\n" or len(start) != HEADER_AT:
            raise MapError("it ends before its header does")
        line = read_header(source, HEADER_AT)
        check_signature(start[len(MAGIC) : -1], line, key)
        return _part(source, HEADER_AT, line, key)
    except MapError as error:
        raise type(error)(f"{file}: {error}") from None


def _part(source: Source, at: int, line: bytes, key: Ed25519PublicKey | None = None) -> Part:
    header, base = from_json(line), at + len(line) + 1
    check_size(header, source, base)
    _check_sections(header, source, base)
    return Part(header, source, base, key)


def _check_delta(full: Header, delta: Header, file: Path) -> None:
    if (delta.base, delta.base_sha256) != (full.generation, full.sha256):
        raise MapError(
            f"{file}: it belongs to another full map (generation {delta.base}) than the one of"
            f" generation {full.generation} that lies here"
        )
    if delta.salt != full.salt or delta.generation <= full.generation:
        raise MapError(f"{file}: it does not follow the full map that it names")
    kept = [(one.name, one.tree) for one in delta.mirrors[: len(full.mirrors)]]
    if kept != [(one.name, one.tree) for one in full.mirrors]:
        raise MapError(f"{file}: its mirrors have other numbers than in the full map")


def _as_bytes(path: bytes | str) -> bytes:
    return path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path


def _empty() -> MirrorMap:
    contents = dict.fromkeys(SECTIONS, b"") | {"buckets": bytes(8)}
    sections, hashes = lay_out(contents, 0)
    line = to_json(
        generation=0,
        base=0,
        base_sha256="",
        written_at=datetime.fromtimestamp(0, UTC).isoformat(),
        salt=bytes(SALT_BYTES),
        files=0,
        mirrors=(),
        trees=(),
        overrides=(),
        sections=sections,
        hashes=hashes,
    )
    return parse(b"%s\n%s" % (line, b"".join(contents.values())))


EMPTY = _empty()
"""What holds before there is a map: it knows no tree and no file."""
