"""What a mirror is sent when it is to pull, as a format: a DSSE envelope of the project's key
(https://github.com/secure-systems-lab/dsse). Pure, and without Django: it is read where the mirror
is.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.commonfarm.push+json"
STATES = ("public", "staged")
MOST_BYTES = 16 * 1024
MOST_SIGNATURES = 8
MOST_AGE = timedelta(minutes=15)
AHEAD = timedelta(minutes=5)
"""By so much the sender's clock may be before ours."""
TIME = "%Y-%m-%dT%H:%M:%SZ"


class NotTakenError(Exception):
    """What was sent is not acted upon; the text says why, for the sender and the log."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Statement:
    """That a tree can be pulled: a revision that users see (public), or will see (staged)."""

    installation: str
    tree: str
    revision: int
    state: str
    made_at: datetime

    def __str__(self) -> str:
        return f"{self.tree} revision {self.revision} ({self.state}, {self.made_at:{TIME}})"


def read(envelope: bytes, key: Ed25519PublicKey) -> Statement:
    """Return the statement that `key` has signed; NotTakenError for anything else."""
    try:
        said = _object(envelope)
        kind, payload = _text(said, "payloadType"), base64.b64decode(said["payload"], validate=True)
        signatures = [
            base64.b64decode(one["sig"], validate=True)
            for one in list(said["signatures"])[:MOST_SIGNATURES]
        ]
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise NotTakenError(HTTPStatus.BAD_REQUEST, "this is no DSSE envelope") from None
    if not any(_has_signed(key, kind, payload, one) for one in signatures):
        raise NotTakenError(HTTPStatus.FORBIDDEN, "it is not signed by the key of this tree")
    if kind != PAYLOAD_TYPE:
        raise NotTakenError(HTTPStatus.BAD_REQUEST, f"what is signed is no {PAYLOAD_TYPE}")
    try:
        found = _object(payload)
        if found.get("push") != 1 or found["state"] not in STATES:
            raise ValueError("another version")
        revision = found["revision"]
        if type(revision) is not int or not 0 <= revision < 2**63:
            raise ValueError("no revision")
        made_at = datetime.strptime(_text(found, "made_at"), TIME).replace(tzinfo=UTC)
        return Statement(
            _text(found, "installation"), _text(found, "tree"), revision, found["state"], made_at
        )
    except (KeyError, TypeError, ValueError):
        what = "the statement is none that is known here; is this a newer sender?"
        raise NotTakenError(HTTPStatus.BAD_REQUEST, what) from None


def judge(statement: Statement, tree: str, newest: Statement | None, now: datetime) -> bool:
    """Say whether to pull; False for what was taken before. Pure; NotTakenError says why not."""
    if statement.tree != tree:
        what = f"it is of the tree {statement.tree}, and this mirror is told of {tree}"
        raise NotTakenError(HTTPStatus.FORBIDDEN, what)
    if statement == newest:
        return False
    if statement.made_at > now + AHEAD:
        what = f"it was made at {statement.made_at:{TIME}}, and here it is {now:{TIME}}"
        raise NotTakenError(HTTPStatus.CONFLICT, f"{what}; set the clocks right")
    if statement.made_at < now - MOST_AGE:
        what = f"it was made at {statement.made_at:{TIME}}, and here it is {now:{TIME}}"
        raise NotTakenError(HTTPStatus.CONFLICT, f"{what}; make a new one")
    if newest is not None and (
        statement.revision < newest.revision
        or (statement.made_at, statement.revision) < (newest.made_at, newest.revision)
    ):
        raise NotTakenError(HTTPStatus.CONFLICT, f"{newest} was taken already, and this is older")
    return True


def _has_signed(key: Ed25519PublicKey, kind: str, payload: bytes, signature: bytes) -> bool:
    name = kind.encode()
    try:
        key.verify(signature, b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload))
    except InvalidSignature:
        return False
    return True


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _text(said: dict[str, Any], key: str) -> str:
    found = said[key]
    if not isinstance(found, str) or not found.isprintable() or len(found) > 200:
        raise ValueError(f"no {key}")
    return found
