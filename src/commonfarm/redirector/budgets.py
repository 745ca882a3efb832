"""How many bytes a mirror may have been sent by now, of those its donor gives for a UTC day.

They become free with the clock: an eighth at midnight, the rest evenly over the day, and never
more than all. So a small donor is not spent by two in the morning, and one whose users sleep keeps
what they leave for when they wake. A file is expected whole: one larger than what is free goes
elsewhere.
"""

from __future__ import annotations

DAY_SECONDS = 86_400
HEAD_START = 8
"""One part in so many is free at midnight."""


def allowance(budget: int, now: float) -> int:
    """Return how many bytes of `budget` (a UTC day's) are free by `now` (epoch seconds)."""
    second = int(now) % DAY_SECONDS
    return budget * (DAY_SECONDS + (HEAD_START - 1) * second) // (HEAD_START * DAY_SECONDS)


def takes(budget: int, spent: int, size: int, now: float) -> bool:
    """Say whether a file of `size` bytes still fits after `spent` bytes of this day."""
    return spent + size <= allowance(budget, now)


def free_at(budget: int, spent: int, size: int, now: float) -> int | None:
    """Return when (epoch seconds) the file fits if nothing else is sent; None: not on any day."""
    if size > allowance(budget, DAY_SECONDS - 1):
        return None
    midnight = int(now) - int(now) % DAY_SECONDS
    wanted = spent + size
    second = -(-(wanted * HEAD_START - budget) * DAY_SECONDS // ((HEAD_START - 1) * budget))
    if second >= DAY_SECONDS:  # on the next day, of which nothing is spent yet
        return free_at(budget, 0, size, midnight + DAY_SECONDS)
    return max(int(now), midnight + second)
