"""Looks through a compressed tarball without extracting it: bombs and paths that leave.

The stream is decompressed in pieces and thrown away; memory stays within a few MiB whatever the
file claims. Only the compressions that dpkg-source reads are accepted.
"""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import tarfile
import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

COMPRESSIONS = ("gz", "bz2", "lzma", "xz")

_PIECE = 1 << 16
_DECODER_MEMORY = 256 * 2**20
_HEADER_BYTES = 1 << 20  # of one member, all its extended headers included
_GLOBAL_HEADERS = 64
_NAME_CHARACTERS = 4096
_NAME_DEPTH = 256


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a source may become when it is unpacked.

    The `ratio` of unpacked to packed bytes counts only beyond `free_bytes`: small files of
    repeated text compress well and harm nobody.
    """

    unpacked_bytes: int = 16 * 2**30
    ratio: int = 200
    free_bytes: int = 64 * 2**20
    members: int = 1_000_000
    link_bytes: int = 16 * 2**20  # that the names of its symbolic links take


class TarballError(Exception):
    """What is wrong with a tarball, and what to do about it."""

    def __init__(self, what: str, to_do: str) -> None:
        super().__init__(what)
        self.what = what
        self.to_do = to_do


class _Decoder(Protocol):
    """What the decompressors of bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Gzip:
    """zlib's decoder with the manners of the other two."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail and not self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def _new_decoder(compression: str) -> _Decoder:
    if compression == "gz":
        return _Gzip()
    if compression == "bz2":
        return bz2.BZ2Decompressor()
    form = lzma.FORMAT_XZ if compression == "xz" else lzma.FORMAT_ALONE
    return lzma.LZMADecompressor(format=form, memlimit=_DECODER_MEMORY)


class Unpacked(io.RawIOBase):
    """The decompressed bytes of a file, read forward only and never more than `bounds` allow."""

    def __init__(self, packed: BinaryIO, compression: str, bounds: Bounds) -> None:
        self._packed = packed
        self._compression = compression
        self._bounds = bounds
        self._decoder = _new_decoder(compression)
        self._started = False
        self._buffer = b""
        self._taken = 0
        self._made = 0
        self._headers = 0

    def next_member(self) -> None:
        """Count header bytes anew."""
        self._headers = 0

    def tell(self) -> int:
        """Return how many unpacked bytes were read."""
        return self._made - len(self._buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read on up to `offset`; there is no way back."""
        if whence != io.SEEK_SET or offset < self.tell():
            raise TarballError("its headers contradict each other", "make the tarball anew")
        while (missing := offset - self.tell()) > 0:
            if not self.piece(missing):
                break
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer at the end; tarfile reads but headers, so large is hostile."""
        self._headers += size
        if size < 0 or self._headers > _HEADER_BYTES:
            raise TarballError(
                f"a member has headers of {self._headers} bytes",
                f"they have at most {_HEADER_BYTES} bytes",
            )
        pieces = []
        while size > 0 and (piece := self.piece(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def piece(self, most: int = _PIECE) -> bytes:
        """Return some bytes that are no headers, at most `most`; none at the end."""
        if not self._buffer:
            self._buffer = self._more()
            self._made += len(self._buffer)
            self._check_bounds()
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _more(self) -> bytes:
        """Return the next decompressed piece, empty at the end of the last stream."""
        data = b""
        while True:
            try:
                if self._decoder.eof:
                    data = self._decoder.unused_data or self._fetch()
                    # xz pads its streams with zeros, and concatenated streams are one file.
                    while data and not data.strip(b"\0"):
                        data = self._fetch()
                    if not data:
                        return b""
                    self._decoder = _new_decoder(self._compression)
                    data = data.lstrip(b"\0")
                elif self._decoder.needs_input:
                    data = self._fetch()
                    if not data:
                        raise TarballError("it ends too early", "upload the whole file")
                made = self._decoder.decompress(data, _PIECE)
                data = b""
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise TarballError(
                    f"it does not decompress as {self._compression}: {error}",
                    "make the tarball anew",
                ) from None
            if made:
                return made

    def _fetch(self) -> bytes:
        data = self._packed.read(_PIECE)
        self._taken += len(data)
        return data

    def _check_bounds(self) -> None:
        bounds = self._bounds
        if self._made > bounds.unpacked_bytes:
            raise TarballError(
                f"it unpacks to more than {bounds.unpacked_bytes} bytes",
                "split the source, or leave generated data out",
            )
        if self._made > bounds.free_bytes and self._made > bounds.ratio * self._taken:
            raise TarballError(
                f"it unpacks to more than {bounds.ratio} times its size",
                "such a tarball is taken for a bomb; leave the filler out",
            )


def check_stream(path: Path, compression: str, bounds: Bounds) -> None:
    """Read the compressed file through (a diff, say); raise TarballError when out of bounds."""
    with path.open("rb") as packed:
        unpacked = Unpacked(packed, compression, bounds)
        while unpacked.piece():
            pass


def check_tarball(path: Path, compression: str, bounds: Bounds) -> int:
    """Walk through the tarball and return how many members it has.

    Raises TarballError for a bomb, for a member that is absolute, climbs out by `..`, lies behind
    a symbolic link of the same tarball, or is neither file, directory nor link.
    """
    with path.open("rb") as packed:
        unpacked = Unpacked(packed, compression, bounds)
        try:
            count = _walk(unpacked, bounds)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            # tarfile lets the last three out for numbers that make no sense and long chains.
            raise TarballError(f"it is not a tarball: {error}", "make it anew with tar") from None
        # tarfile stops at a damaged header, where GNU tar would go on: no bytes may follow.
        while rest := unpacked.piece():
            if rest.strip(b"\0"):
                raise TarballError("bytes follow its end", "make the tarball anew")
    return count


def _walk(unpacked: Unpacked, bounds: Bounds) -> int:
    links: set[str] = set()
    link_bytes = count = 0
    with tarfile.open(fileobj=unpacked, mode="r:", errorlevel=2) as tar:
        while (member := tar.next()) is not None:
            unpacked.next_member()
            # A list of all members would grow with the tarball.
            tar.members.clear()  # type: ignore[attr-defined]
            count += 1
            if count > bounds.members:
                raise TarballError(f"it has more than {bounds.members} members", "split the source")
            if len(tar.pax_headers) > _GLOBAL_HEADERS:
                raise TarballError(
                    f"it has more than {_GLOBAL_HEADERS} global headers", "make it anew with tar"
                )
            path = _checked_path(member, links)
            if member.issym() and path not in links:
                links.add(path)
                link_bytes += sys.getsizeof(path)
            if link_bytes > bounds.link_bytes:
                raise TarballError(
                    f"the names of its symbolic links take more than {bounds.link_bytes} bytes",
                    "split the source",
                )
    return count


def _checked_path(member: tarfile.TarInfo, links: set[str]) -> str:
    """Return the path of a member in its plain form; raise TarballError when it is not harmless."""
    shown = repr(member.name[:200])
    path, target = _plain(member.name), _plain(member.linkname)
    for one in [path, target] if member.islnk() else [path]:
        if one.is_absolute() or ".." in one.parts or "\0" in str(one):
            raise TarballError(
                f"the member {shown} leaves its directory", "use relative names without `..`"
            )
        # Each name is looked up, and none split again: a name may have many parts.
        *parents, whole = accumulate(one.parts or (".",), "{}/{}".format)
        if not links.isdisjoint([".", *parents]) or (whole in links and not member.issym()):
            raise TarballError(
                f"the member {shown} lies behind a symbolic link", "store the directory itself"
            )
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise TarballError(
            f"the member {shown} is a device or a pipe", "keep files, directories and links only"
        )
    return str(path)


def _plain(name: str) -> PurePosixPath:
    if len(name) > _NAME_CHARACTERS or name.count("/") > _NAME_DEPTH:
        raise TarballError(
            f"the name {name[:60]!r}... has {len(name)} characters",
            f"names have at most {_NAME_CHARACTERS}, in at most {_NAME_DEPTH} directories",
        )
    return PurePosixPath(name)
