"""Putting mirror maps in place: whole, on disk, and at once. One writer at a time.

A kill between any two steps leaves the old map in place, or the new one; when a full one is new, a
delta of the old one may be left for a while, which readers refuse.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonfarm.redirector.mirror_map.layout import (
    DELTA,
    FULL,
    HEADER_AT,
    MAGIC,
    UNSIGNED,
    check_signature,
    spell,
)
from commonfarm.redirector.mirror_map.reading import read_header
from commonfarm.redirector.mirror_map.source import FileSource


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """A map without its signature. `header` is what is to be signed."""

    header: bytes
    is_delta: bool
    parts: Sequence[memoryview]

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield its bytes: the header's line, the sections, the further hashes."""
        yield self.header + b"\n"
        yield from self.parts

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks())


def stage(folder: Path, payload: Payload) -> Path:
    """Write `payload`, unsigned, beside the map and return the file, which everyone may read.

    It is on disk when this returns. OSError when it cannot be, as on a full disk: then nothing of
    it is left, and the map in force is untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{DELTA if payload.is_delta else FULL}.new"
    staged.unlink(missing_ok=True)
    try:
        with staged.open("xb") as out:
            out.write(MAGIC + UNSIGNED + b"\n")
            for chunk in payload.chunks():
                out.write(chunk)
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged


def install(staged: Path, signature: bytes, key: Ed25519PublicKey) -> None:
    """Sign the file that `stage` returned, and put it in place of the map in force.

    A new full map ends the delta of the old one. Raises MapError when the signature is not by
    `key`, and OSError; the map in force is untouched then.
    """
    spelled = spell(signature)
    check_signature(spelled, read_header(FileSource(staged), HEADER_AT), key)
    with staged.open("r+b") as out:
        out.seek(len(MAGIC))
        out.write(spelled)
        out.flush()
        os.fsync(out.fileno())
    place = staged.with_name(staged.name.removeprefix(".").removesuffix(".new"))
    staged.replace(place)
    _sync(place.parent)
    if place.name == FULL:
        (place.parent / DELTA).unlink(missing_ok=True)
        _sync(place.parent)


def write(folder: Path, payload: Payload, signature: bytes, key: Ed25519PublicKey) -> None:
    """Put `payload` in place at once, for who has its signature already; errors as above."""
    install(stage(folder, payload), signature, key)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
