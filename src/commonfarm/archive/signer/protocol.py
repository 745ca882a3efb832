"""What is said over the signer's socket: one line of JSON each way.

{"sign": "publication" | "manifest" | "mirror-map" | "mirror-map-delta", "id": N} -> {"done": {...}}
{"sign": "push" | "push-staged", "id": N}         ->  {"done": {"envelope": ...}}
{"sign": "statements", "ids": [N, ...]}           ->  {"done": {"envelopes": [...]}}
{"sign": "public-keys", "id": 0}                  ->  {"done": {...}}
refused:  {"refused": {"code", "text", "lifted_by"}}
cannot:   {"failed": {"code", "text", "lifted_by"}}

Where one of several is refused, all are.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

MOST_IDS = 40
MOST_REQUEST_BYTES = 4096
MOST_ANSWER_BYTES = 64 * 2**20
"""Room for MOST_IDS of the largest statements, as base64."""
KINDS = (
    "publication",
    "manifest",
    "statements",
    "mirror-map",
    "mirror-map-delta",
    "push",
    "push-staged",
    "public-keys",
)


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """The signatures of one Release file; `folder` is where it lies, below the tree."""

    folder: str
    in_release: bytes
    release_gpg: bytes

    def to_json(self) -> dict[str, str]:
        """Return it as JSON holds it."""
        return {
            "folder": self.folder,
            "in_release": base64.b64encode(self.in_release).decode(),
            "release_gpg": base64.b64encode(self.release_gpg).decode(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SignedRelease:
        """Read what `to_json` wrote."""
        return cls(
            data["folder"],
            base64.b64decode(data["in_release"], validate=True),
            base64.b64decode(data["release_gpg"], validate=True),
        )
