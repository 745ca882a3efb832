"""Further hashes: sha1, md5, piece hashes, older revisions; read on demand and checked block-wise.

They lie behind the sections: first a table with the place of each file's entry, then the entries.
Nothing of it is trusted until the blocks it lies in have the SHA-256 that the signed header pins.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final

from commonfarm.redirector.mirror_map.layout import BLOCK
from commonfarm.redirector.mirror_map.model import Hashes, MapError, Revision

PLACE: Final = struct.Struct("<QI")
"""Of an entry, for each file of the map: offset from the end of the table, and length (0: none)."""
MOST_ENTRY_BYTES: Final = 8 * 2**20

_HEAD: Final = struct.Struct(
    "<20s16sqQIH"
)  # sha1, md5, modified_at, piece_bytes, pieces, alternates
_ALTERNATE: Final = struct.Struct("<qQ32s20s16s")  # modified_at, size, sha256, sha1, md5
_UNKNOWN: Final = {length: bytes(length) for length in (16, 20, 32)}


def pack(hashes: Hashes) -> bytes:
    """Return the entry for `hashes`; ValueError when a hash is not as long as its kind is."""
    pieces = b"".join(hashes.pieces)
    if len(pieces) != 32 * len(hashes.pieces):
        raise ValueError("a piece hash has not 32 bytes")
    try:
        packed = b"".join(
            [
                _HEAD.pack(
                    _sized(hashes.sha1, 20),
                    _sized(hashes.md5, 16),
                    hashes.modified_at,
                    hashes.piece_bytes,
                    len(hashes.pieces),
                    len(hashes.alternates),
                ),
                pieces,
                *(
                    _ALTERNATE.pack(
                        one.modified_at,
                        one.size,
                        _sized(one.sha256, 32),
                        _sized(one.sha1, 20),
                        _sized(one.md5, 16),
                    )
                    for one in hashes.alternates
                ),
            ]
        )
    except struct.error as error:
        raise ValueError(f"hashes hold a number that does not fit: {error}") from None
    if len(packed) > MOST_ENTRY_BYTES:
        raise ValueError(f"hashes of a file take {len(packed)} bytes, more than {MOST_ENTRY_BYTES}")
    return packed


def unpack(entry: bytes) -> Hashes:
    """Return what `pack` packed; MapError when it is no entry."""
    try:
        sha1, md5, modified_at, piece_bytes, pieces, alternates = _HEAD.unpack_from(entry)
        end = _HEAD.size + 32 * pieces
        if len(entry) != end + _ALTERNATE.size * alternates:
            raise MapError("an entry of its further hashes has not the length it says")
        return Hashes(
            sha1=_known(sha1),
            md5=_known(md5),
            piece_bytes=piece_bytes,
            pieces=tuple(entry[at : at + 32] for at in range(_HEAD.size, end, 32)),
            modified_at=modified_at,
            alternates=tuple(
                Revision(modified_at, size, *map(_known, digests))
                for modified_at, size, *digests in _ALTERNATE.iter_unpack(entry[end:])
            ),
        )
    except struct.error:
        raise MapError("an entry of its further hashes is cut short") from None


class Entries:
    """The further hashes of one file of the map.

    `read` gives bytes from an offset on, as many as there are up to a length; `digests` are the
    checked SHA-256 of the blocks; `length` is that of all, of `files` files. `keep` blocks stay in
    memory, for who asks for many entries.
    """

    __slots__ = ("_block", "_files", "_length")

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        digests: bytes,
        length: int,
        files: int,
        keep: int = 0,
    ) -> None:
        def block(number: int) -> bytes:
            at = number * BLOCK
            found = read(at, min(BLOCK, length - at))
            if sha256(found).digest() != digests[32 * number : 32 * number + 32]:
                raise MapError(f"block {number} of its further hashes is damaged")
            return found

        self._block = lru_cache(keep)(block) if keep else block
        self._length = length
        self._files = files

    def find(self, index: int) -> Hashes | None:
        """Return the hashes of file `index`, None without any; MapError when they are damaged."""
        packed = self.packed(index)
        return unpack(packed) if packed else None

    def packed(self, index: int) -> bytes:
        """Return what `pack` made of the hashes of file `index`, nothing without any; errors as
        `find`'s.
        """
        if not self._length:
            return b""
        start, length = PLACE.unpack(self._checked(index * PLACE.size, PLACE.size))
        return self._checked(self._files * PLACE.size + start, length) if length else b""

    def _checked(self, start: int, length: int) -> bytes:
        """Return the bytes there, after checking every block that they touch."""
        end = start + length
        if length > MOST_ENTRY_BYTES or end > self._length:
            raise MapError("its further hashes point outside themselves")
        first = start // BLOCK
        found = b"".join(map(self._block, range(first, -(-end // BLOCK))))
        return found[start - first * BLOCK : end - first * BLOCK]


def _sized(digest: bytes, length: int) -> bytes:
    if len(digest) not in (0, length):
        raise ValueError(f"a hash has {len(digest)} bytes, not {length}")
    return digest or _UNKNOWN[length]


def _known(digest: bytes) -> bytes:
    return b"" if digest == _UNKNOWN[len(digest)] else digest
