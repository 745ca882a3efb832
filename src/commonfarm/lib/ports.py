"""Ports: what a lower room needs of a higher one, which fills it at start-up.

All ports stand in `docs/reference/ports.md`. A port that nobody filled fails Django's checks.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

T = TypeVar("T")

_declared: list[Port[Any]] = []


class Port(Generic[T]):
    """A place for one implementation of a protocol `T`, declared low and filled high."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._filled_by: T | None = None
        _declared.append(self)

    def fill(self, implementation: T) -> None:
        """Put in the implementation; called once, in the `ready()` of the room that has it."""
        self._filled_by = implementation

    def get(self) -> T:
        """Return the implementation; raise LookupError that names the port when there is none."""
        if self._filled_by is None:
            raise LookupError(f"the port {self.name} is not filled")
        return self._filled_by


def unfilled() -> list[str]:
    """Return the names of all ports that nobody filled."""
    return [port.name for port in _declared if port._filled_by is None]
