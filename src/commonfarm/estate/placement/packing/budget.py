"""How long a search may go on: by a clock that is handed in, or by work that is counted."""

from __future__ import annotations

from collections.abc import Callable

OPERATIONS = 8e7
"""Elementary operations on arrays that count as one second of work."""


class Budget:
    """A limit in seconds: of `clock`, or without one of counted work, which is deterministic."""

    def __init__(self, seconds: float, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._end = seconds + (clock() if clock else 0.0)
        self._done = 0.0

    @property
    def deterministic(self) -> bool:
        """Say whether work is counted rather than time."""
        return self._clock is None

    @property
    def left(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._end - (self._clock() if self._clock else self._done))

    @property
    def over(self) -> bool:
        """Say whether nothing is left."""
        return self.left <= 0.0

    def charge(self, seconds: float) -> None:
        """Count work that was done, in (deterministic) seconds."""
        self._done += seconds

    def count(self, operations: float) -> None:
        """Count elementary operations on arrays that were done."""
        self._done += operations / OPERATIONS

    def part(self, seconds: float) -> Budget:
        """Return a budget of at most `seconds` out of this one; what it spends, this spends."""
        return _Part(self, min(seconds, self.left))


class _Part(Budget):
    def __init__(self, whole: Budget, seconds: float) -> None:
        self._whole = whole
        self._until = whole.left - seconds

    @property
    def deterministic(self) -> bool:
        return self._whole.deterministic

    @property
    def left(self) -> float:
        return max(0.0, self._whole.left - self._until)

    def charge(self, seconds: float) -> None:
        self._whole.charge(seconds)

    def count(self, operations: float) -> None:
        self._whole.count(operations)
