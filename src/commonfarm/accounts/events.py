"""What the accounts record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from commonfarm.journal.interface import Event


@dataclass(frozen=True, slots=True)
class UserAdded(Event):
    """An account was made."""

    what: ClassVar[str] = "user added"
    role: str


@dataclass(frozen=True, slots=True)
class TokenMade(Event):
    """An API token was made."""

    what: ClassVar[str] = "token made"
    name: str


@dataclass(frozen=True, slots=True)
class SignInLinkMade(Event):
    """A one-time sign-in link was made."""

    what: ClassVar[str] = "sign-in link made"
