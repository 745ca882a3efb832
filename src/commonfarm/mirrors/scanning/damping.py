"""Whether a mirror counts as up, from how its probes went: flapping is damped. Pure.

One failed probe proves nothing; two in a row take the mirror out. It comes back after as many
successes in a row as it deserves: one at first, twice as many for each time it went down of late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

FAILURES_TO_GO_DOWN = 2
MOST_SUCCESSES_TO_COME_UP = 16
REMEMBERED = timedelta(hours=6)
"""How long a fall counts against a mirror."""
STALE_AFTER = timedelta(hours=1)
"""Without a probe for so long nothing is known of a mirror."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How one probe went."""

    at: datetime
    ok: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Whether users are sent there, since when, and what it takes until that changes.

    `falls` is how often it went down within the last six hours; `needed` the successes in a row
    that it still needs to come up (0 while it is up); `stale` that probes are missing, so that it
    is not up whatever the last ones said.
    """

    up: bool
    since: datetime | None
    falls: int
    needed: int
    stale: bool = False


def damped(history: Sequence[Beat], now: datetime) -> Health:
    """Return the health of a mirror from its probes, oldest first, none later than `now`.

    A mirror that was never probed is down and needs one success. The history should reach back six
    hours; what is older changes nothing but `since`.
    """
    up, since = False, None
    failures = successes = 0
    falls: list[datetime] = []
    for beat in history:
        if beat.ok:
            failures, successes = 0, successes + 1
            if not up and successes >= _needed(falls, beat.at):
                up, since = True, beat.at
        else:
            failures, successes = failures + 1, 0
            if up and failures >= FAILURES_TO_GO_DOWN:
                up, since = False, beat.at
                falls.append(beat.at)
    recent = _recent(falls, now)
    stale = not history or now - history[-1].at > STALE_AFTER
    if stale:
        return Health(False, history[-1].at + STALE_AFTER if history else None, recent, 1, True)
    needed = 0 if up else max(1, _needed(falls, now) - successes)
    return Health(up, since or history[0].at, recent, needed)


def _recent(falls: Sequence[datetime], now: datetime) -> int:
    return sum(now - fall < REMEMBERED for fall in falls)


def _needed(falls: Sequence[datetime], now: datetime) -> int:
    return min(1 << min(_recent(falls, now), 10), MOST_SUCCESSES_TO_COME_UP)
