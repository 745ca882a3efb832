"""What a mirror is told when there is something to pull: a signed statement, which it can check
with the installation's public key. Nothing of it is secret. No Django.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.archive import envelopes

PAYLOAD_TYPE = "application/vnd.commonfarm.push+json"
VERSION = 1
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class PushStatement:
    """That a tree can be pulled. `state` is `public` (users see `revision`) or `staged` (beside it
    lies what they will see: the module for registered mirrors has it).
    """

    installation: str
    tree: str
    revision: int
    state: str
    made_at: datetime


def seal(statement: PushStatement, key: Ed25519PrivateKey) -> bytes:
    """Return the signed statement (DSSE), as it is sent; `mirrors.push_statements` reads it."""
    said = {
        "push": VERSION,
        "installation": statement.installation,
        "tree": statement.tree,
        "revision": statement.revision,
        "state": statement.state,
        "made_at": statement.made_at.astimezone(UTC).strftime(TIME),
    }
    return envelopes.seal(json.dumps(said, sort_keys=True).encode(), PAYLOAD_TYPE, key)
