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
class RoleChanged(Event):
    """A user may do more, or less, from now on."""

    what: ClassVar[str] = "role changed"
    before: str
    role: str


@dataclass(frozen=True, slots=True)
class UserDeactivated(Event):
    """An account was closed; its sessions, tokens and links ended."""

    what: ClassVar[str] = "user deactivated"


@dataclass(frozen=True, slots=True)
class UserActivated(Event):
    """A closed account was opened again."""

    what: ClassVar[str] = "user activated"


@dataclass(frozen=True, slots=True)
class PasswordChanged(Event):
    """A user chose a password; other sessions of that user ended."""

    what: ClassVar[str] = "password changed"


@dataclass(frozen=True, slots=True)
class TokenRevoked(Event):
    """An API token ended."""

    what: ClassVar[str] = "token revoked"
    name: str


@dataclass(frozen=True, slots=True)
class TokenMade(Event):
    """An API token was made."""

    what: ClassVar[str] = "token made"
    name: str


@dataclass(frozen=True, slots=True)
class SignInLinkMade(Event):
    """A one-time sign-in link was made."""

    what: ClassVar[str] = "sign-in link made"
