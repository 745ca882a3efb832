"""When mirrors are looked at again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)
SCAN_AGAIN = (timedelta(minutes=15), timedelta(hours=6))
SCAN_SHARE = 50
"""A scan takes at most a fiftieth of a mirror's time, and ours, unless it is done in seconds."""
LACKING_AGAIN = (timedelta(minutes=5), timedelta(hours=3))
FAILED_AGAIN = (MINUTE, timedelta(hours=1))
AUDIT_NEW, AUDIT_KNOWN = timedelta(minutes=15), timedelta(hours=3)
AUDITS_OF_A_NEW_ONE = 10
CHECK_AGAIN = ((20, 2), (120, 10), (1800, 60), (6 * 3600, 600))
"""Until so many seconds after a publication, a check for its files is made again after so many."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a scan went: whether well, whether the mirror lacked files, and when."""

    ok: bool
    lacks: bool
    started_at: datetime
    finished_at: datetime


def next_scan(looks: Sequence[Look]) -> datetime | None:
    """Return when a mirror is to be scanned after these scans, the newest first; None: at once.

    After a failure soon, each time later; else by how long a scan takes, and sooner while it is
    being filled.
    """
    if not looks:
        return None
    last = looks[0]
    if not last.ok:
        failures = next((n for n, look in enumerate(looks) if look.ok), len(looks))
        return last.finished_at + min(FAILED_AGAIN[0] * (1 << failures - 1), FAILED_AGAIN[1])
    least, most = LACKING_AGAIN if last.lacks else SCAN_AGAIN
    pause = (last.finished_at - last.started_at) * (SCAN_SHARE // (2 if last.lacks else 1))
    return last.finished_at + min(max(pause, least), most)


def check_again(age: timedelta) -> int | None:
    """Return in how many seconds a mirror is asked again for files published `age` ago, if ever.

    What is published at a time yet to come is as old as that is far: the clock was set back.
    """
    for until, pause in CHECK_AGAIN:
        if abs(age.total_seconds()) < until:
            return pause
    return None


def next_audit(audits: int, last_at: datetime | None) -> datetime | None:
    """Return when a mirror is to be audited after so many audits; None: at once."""
    if last_at is None:
        return None
    return last_at + (AUDIT_NEW if audits < AUDITS_OF_A_NEW_ONE else AUDIT_KNOWN)
