"""What the fleet needs of the farm, which stands above it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from commonfarm.lib.ports import Port

if TYPE_CHECKING:
    from commonfarm.fleet.models import Builder


@dataclass(frozen=True, slots=True)
class Work:
    """A job that a builder runs or ran, as its page shows it; `outcome` is empty while it runs."""

    label: str
    url: str
    generation: int
    began_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""


class GenerationEnded(Protocol):
    """Ends every active lease of `builder` that has the generation `ended`.

    Called in the transaction that begins the next generation, after the builder's row is locked.
    The fleet has put the builder's count of running jobs to zero itself.
    """

    def __call__(self, builder: Builder, ended: int, now: datetime) -> None:
        """End them."""


class WorkOf(Protocol):
    """Returns what `builder` runs now and the newest `count` of what it ran, newest first."""

    def __call__(self, builder: Builder, count: int) -> list[Work]:
        """Return it."""


generation_ended: Port[GenerationEnded] = Port("fleet.generation_ended")
work_of: Port[WorkOf] = Port("fleet.work_of")
