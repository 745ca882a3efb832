"""The bytes of a mirror map, version 2: what the writer and the reader agree on.

::

    commonfarm-mirror-map 2
    <ed25519 signature over DSSE's PAE(PAYLOAD_TYPE, header), base64>
    <header: one line of JSON>
    <sections, one behind the other in the order of SECTIONS><further hashes>

The header names each section with offset (from the end of its line), length and SHA-256, so the
signature covers all. Arrays are little-endian and sorted by path hash. The further hashes are
pinned block by block, by the section `blocks`: they are read on demand and never when loading.
PAE: the DSSE protocol, https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonfarm.redirector.mirror_map.model import MapError

MAGIC: Final = b"commonfarm-mirror-map 2\n"
PAYLOAD_TYPE: Final = b"application/vnd.commonfarm.mirror-map.header+json"
SIGNATURE_LENGTH: Final = 88
UNSIGNED: Final = b"=" * SIGNATURE_LENGTH
"""Stands where the signature will be; no signature is spelled so."""
HEADER_AT: Final = len(MAGIC) + SIGNATURE_LENGTH + 1

FULL, DELTA = "current", "delta"
"""The names of the two files."""

SECTIONS: Final = (
    *("paths", "sizes", "buckets", "sets", "waiting", "mirrors_from"),
    *("sha256", "flags", "set_bits", "blocks", "rows"),
)
"""`rows` come last: they are not mapped, as the redirector has no use for them."""

CHANGES, GONE, WAITS = 1, 2, 4
"""Flags of a file: it changes in place; it is published no more (in a delta); its mirrors have to
wait (it stands in `waiting`)."""

SALT_BYTES: Final = blake2b.SALT_SIZE
BLOCK: Final = 16 * 1024
"""The unit in which further hashes are read and checked."""

MOST_HEADER_BYTES: Final = 32 * 2**20
MOST_FILES: Final = 2**31
MOST_MIRRORS: Final = 10_000
MOST_BUCKET_BITS: Final = 28


def path_hash(path: bytes, salt: bytes) -> int:
    """Return the number that `path` (`tree/path`) is found by: salted BLAKE2b of 64 bits."""
    return int.from_bytes(blake2b(path, digest_size=8, salt=salt).digest(), "big")


def set_width(mirrors: int) -> int:
    """Return the bytes of a set of so many mirrors: a bit for each, at least one byte."""
    return max(1, -(-mirrors // 8))


def block_count(length: int) -> int:
    """Return in how many blocks so many bytes of further hashes lie."""
    return -(-length // BLOCK)


def to_be_signed(header: bytes) -> bytes:
    """Return the bytes that a map's signature covers: DSSE's pre-authentication encoding.

    `header` is the header's line without its newline, as `Payload.header` and `Unsigned.header`
    have it. It pins all sections by their SHA-256, so a signer that checked them by
    `unsigned.read_unsigned` signs exactly what it saw.
    """
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE, len(header), header)


def seal(payload: bytes, signature: bytes) -> bytes:
    """Return a whole file: magic line, signature, payload (header line, sections, hashes)."""
    return MAGIC + spell(signature) + b"\n" + payload


def spell(signature: bytes) -> bytes:
    """Return a signature as its line has it; ValueError when it has not the length of one."""
    if len(signature) != 64:
        raise ValueError(f"an ed25519 signature has 64 bytes, not {len(signature)}")
    return base64.b64encode(signature)


def check_signature(spelled: bytes, header: bytes, key: Ed25519PublicKey) -> None:
    """Raise MapError unless `spelled` is the signature of `header` by `key`."""
    try:
        signature = base64.b64decode(spelled, validate=True)
        if base64.b64encode(signature) != spelled:
            raise ValueError("another spelling of the same signature")
        key.verify(signature, to_be_signed(header))
    except (InvalidSignature, binascii.Error, ValueError):
        raise MapError("its signature is not by the key of this installation") from None
