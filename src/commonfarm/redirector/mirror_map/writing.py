"""Making mirror maps from columns: the same columns always give the same bytes.

Mirrors' sets are interned: of a million files on 200 mirrors there are a few thousand distinct
sets, and each file has the number of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commonfarm.redirector.mirror_map.disk import Payload, install, stage, write
from commonfarm.redirector.mirror_map.entries import PLACE, pack
from commonfarm.redirector.mirror_map.header import from_json, lay_out, to_json
from commonfarm.redirector.mirror_map.layout import (
    BLOCK,
    CHANGES,
    GONE,
    MOST_BUCKET_BITS,
    MOST_FILES,
    SALT_BYTES,
    WAITS,
    set_width,
)
from commonfarm.redirector.mirror_map.model import File, Hashes, MapError, Mirror, Override, Tree
from commonfarm.redirector.mirror_map.reading import MirrorMap

__all__ = [
    "Columns",
    "Head",
    "Payload",
    "build",
    "build_delta",
    "hash_paths",
    "holdings",
    "install",
    "stage",
    "write",
]

FILES_PER_BUCKET = 4
BUCKETS_PER_CHANGE = 2
"""A delta is asked for every path and knows few: most of its buckets are to be empty."""
MOST_SALTS = 16

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Head:
    """What a map says besides its files. `written_at` is a date of ISO 8601."""

    generation: int
    written_at: str
    mirrors: Sequence[Mirror]
    trees: Sequence[Tree]
    overrides: Sequence[Override] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The files, a row for each, in any order.

    `paths` are `tree/path`; `sizes` in bytes; `sha256` n x 32 bytes, zeros for unknown; `rows`
    their numbers in the database; `flags` CHANGES, and in a delta GONE; `holdings` n x
    ceil(mirrors / 8) bytes, where bit m % 8 of byte m // 8 says that mirror m has it;
    `mirrors_from` seconds since 1970 until when only we serve it, 0 for at once. `hashes` are in
    the order of the paths and read once.
    """

    paths: Sequence[bytes]
    sizes: ArrayLike
    sha256: ArrayLike
    rows: ArrayLike
    flags: ArrayLike
    holdings: ArrayLike
    mirrors_from: ArrayLike | None = None
    hashes: Iterable[Hashes | None] = ()

    @classmethod
    def of(
        cls,
        files: Mapping[str, File],
        mirrors: int,
        hashes: Mapping[str, Hashes] | None = None,
        gone: Iterable[str] = (),
    ) -> Columns:
        """Return the columns of a few files; their rows are 1, 2, 3 …"""
        width = set_width(mirrors)
        no_more = dict.fromkeys(gone, File(0, b"", False, 0))
        every = {**files, **no_more}
        flags = [
            GONE if path in no_more else CHANGES * file.changes for path, file in every.items()
        ]
        return cls(
            paths=[path.encode("utf-8", "surrogateescape") for path in every],
            sizes=np.array([file.size for file in every.values()], np.uint64),
            sha256=_matrix((file.sha256 or bytes(32) for file in every.values()), 32),
            rows=np.arange(1, len(every) + 1),
            flags=np.array(flags, np.uint8),
            holdings=_matrix(
                (file.mirrors.to_bytes(width, "little") for file in every.values()), width
            ),
            mirrors_from=np.array([file.mirrors_from for file in every.values()], np.uint32),
            hashes=[(hashes or {}).get(path) for path in every],
        )


def holdings(columns: Iterable[NDArray[np.bool_] | None], files: int) -> Bytes:
    """Return the matrix `Columns.holdings` from one column for each mirror, in their order.

    A column says of each file whether the mirror has it; None: it has none. They are taken up one
    at a time.
    """
    found: list[Bytes] = []
    for number, column in enumerate(columns):
        if number % 8 == 0:
            found.append(np.zeros(files, np.uint8))
        if column is not None:
            found[-1] |= column.view(np.uint8) << np.uint8(number % 8)
    if not found:
        return np.zeros((files, 1), np.uint8)
    return np.stack(found, axis=1)


def hash_paths(paths: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
    """Return `layout.path_hash` of each path."""
    digests = [blake2b(path, digest_size=8, salt=salt).digest() for path in paths]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def build(head: Head, columns: Columns) -> Payload:
    """Return a full map. ValueError names what does not fit together."""
    for salt in islice(_salts(head), MOST_SALTS):
        hashes = hash_paths(columns.paths, salt)
        order = _order(hashes)
        if order is not None:
            return _payload(head, columns, hashes, order, salt, None)
    if len(set(columns.paths)) != len(columns.paths):
        raise ValueError("a path is there twice")
    raise ValueError(f"paths collide by each of {MOST_SALTS} salts")


def build_delta(base: MirrorMap, head: Head, columns: Columns) -> Payload:
    """Return a delta upon the full map of `base`: all that is new, changed or gone since that.

    The delta that `base` may have besides does not count: each delta is of the full one. ValueError
    names what does not fit together. MapError when two paths collide, which only a full map with
    another salt can mend.
    """
    full = base.full.header
    if head.generation <= full.generation:
        raise ValueError(f"a delta upon generation {full.generation} is not {head.generation}")
    kept = [(mirror.name, mirror.tree) for mirror in head.mirrors[: len(full.mirrors)]]
    if kept != [(mirror.name, mirror.tree) for mirror in full.mirrors]:
        raise ValueError("mirrors keep their numbers of the full map; new ones come behind them")
    hashes = hash_paths(columns.paths, full.salt)
    order = _order(hashes)
    if order is None:
        if len(set(columns.paths)) != len(columns.paths):
            raise ValueError("a path is there twice")
        raise MapError("two paths collide: write a full map")
    return _payload(head, columns, hashes, order, full.salt, base)


def _salts(head: Head) -> Iterator[bytes]:
    """Yield salts that nobody knows before the map is made, so that none can prepare collisions."""
    for attempt in count():
        seed = f"{head.generation} {head.written_at} {attempt}".encode()
        yield blake2b(seed, digest_size=SALT_BYTES).digest()


def _order(hashes: NDArray[np.uint64]) -> NDArray[np.intp] | None:
    """Return the order by hash, None when two are equal."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    return None if np.any(ordered[1:] == ordered[:-1]) else order


def _payload(
    head: Head,
    columns: Columns,
    hashes: NDArray[np.uint64],
    order: NDArray[np.intp],
    salt: bytes,
    base: MirrorMap | None,
) -> Payload:
    files = len(order)
    if files > MOST_FILES:
        raise ValueError(f"a map holds {MOST_FILES} files, not {files}")
    ordered = hashes[order]
    flags = _column("flags", columns.flags, np.uint8, files)[order]
    if flags.size and int(flags.max()) > (CHANGES if base is None else CHANGES | GONE):
        raise ValueError("a flag is set that does not belong there")
    wait = np.zeros(files, np.uint32)
    if columns.mirrors_from is not None:
        wait = _column("mirrors_from", columns.mirrors_from, np.uint32, files)[order]
    waiting = np.flatnonzero(wait)
    flags[waiting] |= WAITS
    sets, set_bits = _intern(columns.holdings, len(head.mirrors), files, order)
    entries = _entries(columns.hashes, files, order)
    blocks = b"".join(
        sha256(entries[at : at + BLOCK]).digest() for at in range(0, len(entries), BLOCK)
    )
    rows = _column("rows", columns.rows, np.uint64, files)
    wide = bool(rows.size) and int(rows.max()) >= 2**32
    contents = {
        "paths": _bytes(ordered, "<u8"),
        "sizes": _bytes(_column("sizes", columns.sizes, np.uint64, files)[order], "<u8"),
        "buckets": _bytes(_buckets(ordered, is_delta=base is not None), "<u4"),
        "sets": _bytes(sets, "<u4"),
        "waiting": _bytes(waiting, "<u4"),
        "mirrors_from": _bytes(wait[waiting], "<u4"),
        "sha256": _bytes(_table("sha256", columns.sha256, files, 32)[order], "u1"),
        "flags": _bytes(flags, "u1"),
        "set_bits": _bytes(set_bits, "u1"),
        "blocks": memoryview(blocks),
        "rows": _bytes(rows[order], "<u8" if wide else "<u4"),
    }
    sections, place = lay_out(contents, len(entries))
    header = to_json(
        generation=head.generation,
        base=0 if base is None else base.full_generation,
        base_sha256="" if base is None else base.full.header.sha256,
        written_at=head.written_at,
        salt=salt,
        files=files,
        mirrors=head.mirrors,
        trees=head.trees,
        overrides=head.overrides,
        sections=sections,
        hashes=place,
    )
    from_json(header)  # what no reader would take is not written
    return Payload(header, base is not None, [*contents.values(), memoryview(entries)])


def _buckets(ordered: NDArray[np.uint64], *, is_delta: bool) -> NDArray[np.intp]:
    """Return where the hashes of each prefix begin: a power of two of them, and the end."""
    wanted = len(ordered) * BUCKETS_PER_CHANGE if is_delta else len(ordered) // FILES_PER_BUCKET
    bits = min(max(wanted - 1, 0).bit_length(), MOST_BUCKET_BITS)
    firsts = np.arange(1, 2**bits, dtype=np.uint64) << np.uint64(64 - bits if bits else 0)
    inner = np.searchsorted(ordered, firsts)
    return np.concatenate(([0], inner, [len(ordered)]))


def _intern(
    holdings: ArrayLike, mirrors: int, files: int, order: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Bytes]:
    """Return the number of each file's set, and the distinct sets."""
    width = set_width(mirrors)
    table = _table("holdings", holdings, files, width)[order]
    keys = np.ascontiguousarray(table).view(np.dtype((np.void, width))).reshape(files)
    distinct, numbers = np.unique(keys, return_inverse=True)
    bits = distinct.view(np.uint8).reshape(-1, width)
    unused = 0xFF << (mirrors - 8 * (width - 1)) & 0xFF
    if np.any(bits[:, -1] & np.uint8(unused)):
        raise ValueError(f"a file lies on a mirror beyond the {mirrors} there are")
    return numbers, bits


def _entries(
    hashes: Iterable[Hashes | None], files: int, order: NDArray[np.intp]
) -> bytes | bytearray:
    """Return the further hashes: the table of places by index, then the entries."""
    starts, lengths = np.zeros(files, np.uint64), np.zeros(files, np.uint32)
    data = bytearray()
    for number, one in enumerate(hashes):
        if number >= files:
            raise ValueError("there are more hashes than paths")
        if one is not None:
            packed = pack(one)
            starts[number], lengths[number] = len(data), len(packed)
            data += packed
    if not data:
        return b""
    places = np.empty(files, np.dtype([("start", "<u8"), ("length", "<u4")]))
    assert places.itemsize == PLACE.size
    places["start"], places["length"] = starts[order], lengths[order]
    data[:0] = places.tobytes()
    return data


def _column(name: str, values: ArrayLike, kind: Any, files: int) -> NDArray[Any]:
    """Return a column with a number for each file, of a kind that holds them all."""
    column = np.asarray(values)
    if column.shape != (files,):
        raise ValueError(f"{name} has the shape {column.shape}, not one number for each of {files}")
    if not files:
        return np.zeros(0, kind)
    if column.dtype.kind not in "iub":
        raise ValueError(f"{name} holds other than whole numbers")
    if int(column.min()) < 0 or int(column.max()) > np.iinfo(kind).max:
        raise ValueError(f"{name} holds a number that does not fit")
    return column.astype(kind)


def _table(name: str, values: ArrayLike, files: int, width: int) -> Bytes:
    """Return a table with so many bytes for each file."""
    table = np.asarray(values)
    if table.shape != (files, width) or table.dtype != np.uint8:
        raise ValueError(f"{name} is not {files} x {width} bytes")
    return table


def _matrix(rows: Iterable[bytes], width: int) -> Bytes:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)


def _bytes(array: NDArray[Any], kind: str) -> memoryview:
    return np.ascontiguousarray(array, dtype=kind).reshape(-1).view(np.uint8).data
