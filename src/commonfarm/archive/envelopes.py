"""Signed envelopes: DSSE with ed25519 (https://github.com/secure-systems-lab/dsse). No Django."""

from __future__ import annotations

import functools
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

MOST_BYTES = 16 * 2**20


class NoEnvelopeError(ValueError):
    """It is no envelope at all: not the JSON it should be."""


class NotSignedError(ValueError):
    """It is not signed by the key that was given, or something else was signed."""


def seal(payload: bytes, kind: str, key: Ed25519PrivateKey) -> bytes:
    """Return the signed envelope of `payload`, one line of JSON; equal each time it is made."""
    envelope = Envelope(payload, kind, {})
    envelope.sign(_signer(key))
    return json.dumps(envelope.to_dict(), sort_keys=True).encode() + b"\n"


@functools.lru_cache(maxsize=2)
def _signer(key: Ed25519PrivateKey) -> CryptoSigner:
    """Return what signs with a key; making it takes longer than signing."""
    return CryptoSigner(key)


def payload(envelope: bytes) -> bytes:
    """Return what an envelope of our own holds, without a look at its signature."""
    return bytes(Envelope.from_dict(json.loads(envelope)).payload)


def unseal(envelope: bytes, kind: str, key: Ed25519PublicKey) -> bytes:
    """Return the payload if `key` has signed it as of this kind.

    Raises NoEnvelopeError or NotSignedError.
    """
    if len(envelope) > MOST_BYTES:
        raise NoEnvelopeError(f"it has more than {MOST_BYTES} bytes")
    try:
        read = Envelope.from_dict(json.loads(envelope))
        its_kind, payload = str(read.payload_type), bytes(read.payload)
        read.pae()
    except Exception as error:  # whatever hostile JSON makes its reader do, it is its fault
        raise NoEnvelopeError(f"it is no DSSE envelope: {str(error)[:200]}") from None
    try:
        read.verify([SSlibKey.from_crypto(key)], 1)
    except VerificationError:
        raise NotSignedError("it is not signed by this key") from None
    if its_kind != kind:
        raise NotSignedError(f"what is signed is {its_kind[:100]!r}, not {kind!r}")
    return payload
