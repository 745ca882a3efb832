"""What follows from a pledge's dates: until when it is assured, when it ends, what is there when.

Pure. Nothing of this is stored: `today` is passed in.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

from commonfarm.estate.facts import Facts, Host, Period, Pledge


@dataclass(frozen=True, slots=True)
class Interval:
    """Days in which the same hosts are there: from `start` to before `end` (None: no end known).

    `ending` names the pledges that end at `end`, `starting` what appears then.
    """

    start: date
    end: date | None
    hosts: tuple[str, ...]
    ending: tuple[str, ...]
    starting: tuple[str, ...]


def after(day: date, period: Period) -> date:
    """Return the day a period later; the 31st becomes the last day of a shorter month."""
    month = day.year * 12 + day.month - 1 + period.months
    year, month = divmod(month, 12)
    month += 1
    last = calendar.monthrange(year, month)[1]
    return date(year, month, min(day.day, last)) + timedelta(days=period.days)


def committed_until(pledge: Pledge) -> date | None:
    """Return the end of the minimum term; None where its start is not known."""
    return after(pledge.start, pledge.minimum_term) if pledge.start else None


def ends_on(pledge: Pledge) -> date | None:
    """Return the day on which what was lent goes: as agreed, or after notice; None if not known.

    Notice given within the minimum term ends it no earlier than that term; neither makes it longer
    than was agreed.
    """
    if pledge.notice_given_on is None:
        return pledge.until
    earliest = after(pledge.notice_given_on, pledge.notice)
    end = max(filter(None, (earliest, committed_until(pledge))))
    return min(end, pledge.until) if pledge.until else end


def assured_until(pledge: Pledge, today: date) -> date:
    """Return the day until which it is there if notice were given today."""
    end = ends_on(pledge)
    if pledge.notice_given_on is not None and end is not None:
        return end
    assured = max(filter(None, (after(today, pledge.notice), committed_until(pledge))))
    return min(assured, end) if end else assured


def stands(facts: Facts, host: Host, day: date) -> bool:
    """Say whether a host is there on a day: neither needed only, nor before or after its time."""
    if host.status == "needed" or (host.available_from and day < host.available_from):
        return False
    if host.pledge is None:
        return True
    pledge = facts.pledges[host.pledge]
    end = ends_on(pledge)
    return (pledge.start is None or pledge.start <= day) and (end is None or day < end)


def leaves_on(facts: Facts, host: Host) -> date | None:
    """Return the day on which a host goes, None if no such day is known."""
    return ends_on(facts.pledges[host.pledge]) if host.pledge else None


def assured(facts: Facts, host: Host, today: date) -> date | None:
    """Return until when a host is assured; None for one that nobody lent."""
    return assured_until(facts.pledges[host.pledge], today) if host.pledge else None


def intervals(facts: Facts, today: date) -> list[Interval]:
    """Return the days from `today` to the policy's horizon, split where hosts come or go.

    The last interval has no end: what is known then goes on. An end after the horizon is not seen.
    """
    horizon = after(today, facts.policy.horizon)
    days: set[date] = set()
    for host in facts.hosts.values():
        pledge = facts.pledges[host.pledge] if host.pledge else None
        known = (leaves_on(facts, host), host.available_from, pledge.start if pledge else None)
        days.update(day for day in known if day and today < day <= horizon)
    starts = [today, *sorted(days)]
    there = [
        tuple(name for name, host in facts.hosts.items() if stands(facts, host, day))
        for day in starts
    ]
    return [
        Interval(
            start,
            end,
            there[number],
            ending=tuple(
                name for name, pledge in facts.pledges.items() if end and ends_on(pledge) == end
            ),
            starting=tuple(name for name in there[number + 1] if name not in there[number])
            if end
            else (),
        )
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True))
    ]
