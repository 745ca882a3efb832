"""What a mirror is told when there is something to pull: a signed statement, which it can check
with the installation's public key. Nothing of it is secret. No Django.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from commonfarm.archive import envelopes

PAYLOAD_TYPE = "application/vnd.commonfarm.push+json"


@dataclass(frozen=True, slots=True)
class PushStatement:
    """`what` is `public` (`revision` of `tree` is out) or `staged` (beside that revision lies what
    will be: the module for registered mirrors has it). `at` is when it was signed, in UTC.
    """

    installation: str
    tree: str
    revision: int
    what: str
    at: str


def seal(statement: PushStatement, key: Ed25519PrivateKey) -> bytes:
    """Return the signed statement (DSSE), as it is sent."""
    said = json.dumps({"push": 1, **asdict(statement)}, sort_keys=True).encode()
    return envelopes.seal(said, PAYLOAD_TYPE, key)


def unseal(envelope: bytes, key: Ed25519PublicKey) -> PushStatement:
    """Return what was signed; raise NoEnvelopeError, NotSignedError, or ValueError for another."""
    said = json.loads(envelopes.unseal(envelope, PAYLOAD_TYPE, key))
    if said.pop("push") != 1:
        raise ValueError("it is of a form that is not known")
    return PushStatement(**said)


def moment(now: datetime) -> str:
    """Return a time as a statement has it."""
    return now.astimezone(UTC).isoformat(timespec="seconds")
