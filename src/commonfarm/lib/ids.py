"""Secrets that name their bearer, kept only as hashes."""

from __future__ import annotations

import hashlib
import secrets


def new_token(prefix: str) -> str:
    """Return a fresh token of 256 random bits; `prefix` tells scanners and people its kind."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """Return the hex SHA-256 under which a token is kept.

    A plain hash is enough here: the token itself has 256 random bits, so it cannot be guessed.
    """
    return hashlib.sha256(token.encode()).hexdigest()
