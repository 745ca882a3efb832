"""What the signer looks at before it signs a mirror map: a staged file, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commonfarm.redirector.mirror_map.entries import Entries
from commonfarm.redirector.mirror_map.header import from_json
from commonfarm.redirector.mirror_map.layout import HEADER_AT, MAGIC
from commonfarm.redirector.mirror_map.model import MapError, Mirror, Override, Tree
from commonfarm.redirector.mirror_map.reading import check_size, read_header
from commonfarm.redirector.mirror_map.source import FileSource
from commonfarm.redirector.mirror_map.writing import hash_paths

BLOCKS_KEPT = 1024
"""Of a million files the table of places has 732; the entries themselves are met in turn."""


class Unsigned:
    """A map that nobody signed yet: columns by index, each as its section has it.

    `header` is what is to be signed. The columns are copies, checked against it: whatever happens
    to the file afterwards, a map whose bytes differ from them is refused by every reader.
    """

    header: bytes
    generation: int
    base: int
    base_sha256: str
    mirrors: tuple[Mirror, ...]
    trees: Mapping[str, Tree]
    overrides: tuple[Override, ...]
    path_hashes: NDArray[np.uint64]
    rows: NDArray[np.uint64 | np.uint32]
    sizes: NDArray[np.uint64]
    sha256: NDArray[np.uint8]
    flags: NDArray[np.uint8]

    def __init__(self, source: FileSource) -> None:
        if not source.read(0, HEADER_AT).startswith(MAGIC):
            raise MapError(f"it does not start with {MAGIC.decode().strip()!r}")
        self.header = read_header(source, HEADER_AT)
        header, start = from_json(self.header), HEADER_AT + len(self.header) + 1
        check_size(header, source, start)

        def column(name: str, kind: str) -> NDArray[Any]:
            section = header.sections[name]
            data = source.read(start + section.offset, section.length)
            if sha256(data).digest() != section.sha256:
                raise MapError(f"its section {name} has not the SHA-256 that its header says")
            return np.frombuffer(data, kind)

        self.generation, self.base, self.base_sha256 = (
            header.generation, header.base, header.base_sha256)  # fmt: skip
        self.mirrors, self.trees, self.overrides = header.mirrors, header.trees, header.overrides
        self.path_hashes = column("paths", "<u8")
        self.sizes = column("sizes", "<u8")
        self.sha256 = column("sha256", "u1").reshape(-1, 32)
        self.flags = column("flags", "u1")
        wide = header.sections["rows"].length == 8 * header.files
        self.rows = column("rows", "<u8" if wide else "<u4")
        self._salt = header.salt
        at, length = header.hashes
        self._entries = Entries(
            lambda offset, most: source.read(start + at + offset, most),
            column("blocks", "u1").tobytes(),
            length,
            header.files,
            BLOCKS_KEPT,
        )

    def hash_paths(self, paths: Iterable[bytes]) -> NDArray[np.uint64]:
        """Return what `path_hashes` has for each of `paths` (`tree/path`)."""
        return hash_paths(paths, self._salt)

    def packed_hashes(self, index: int) -> bytes:
        """Return the further hashes of file `index` as `entries.pack` packs them, nothing without
        any; MapError when they are damaged.
        """
        return self._entries.packed(index)


def read_unsigned(file: Path) -> Unsigned:
    """Read a file that `writing.stage` wrote; raise MapError that says what does not fit."""
    return Unsigned(FileSource(file))
