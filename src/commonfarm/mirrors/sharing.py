"""Who carries the downloads: shares of mirrors, ourselves, countries and files, and days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum

from commonfarm.estate.interface import Line, plot
from commonfarm.lib.units import BYTES, format_bytes
from commonfarm.mirrors.models import FileCount, MirrorCount
from commonfarm.mirrors.wording import percent

DAYS = 30
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class Share:
    """What went to one (a mirror, a country, a file) and its part of all, from 0 to 1.

    `largest` is the part whose bar is full: the largest of those it stands beside.
    """

    name: str
    downloads: int
    size: int
    part: float
    largest: float = 1.0

    @property
    def width(self) -> int:
        """The length of its bar, of 1000."""
        return round(1000 * self.part / self.largest)

    @property
    def percent(self) -> str:
        """Its part for people; what is little is not nothing."""
        return percent(self.part)


@dataclass(frozen=True, slots=True)
class Shares:
    """What was downloaded in a span of days: by ourselves, by mirrors, and by each of them."""

    downloads: int
    size: int
    ours: Share
    mirrors: Share
    rows: tuple[Share, ...]

    def of(self, name: str) -> Share:
        """Return what one mirror carried."""
        return next((one for one in self.rows if one.name == name), Share(name, 0, 0, 0.0))


def shares(today: date, days: int = 1) -> Shares:
    """Return who carried the downloads of the last `days`, today's included, the most first."""
    found = _span(MirrorCount.objects.all(), today, days)
    sums = found.values("mirror").annotate(downloads=Sum("downloads"), bytes=Sum("size"))
    rows = list(sums.order_by("-bytes", "mirror"))
    size = sum(int(row["bytes"]) for row in rows)
    ranked = _beside([_share(str(row["mirror"]), row, size) for row in rows])
    ours = next((one for one in ranked if not one.name), Share("", 0, 0, 0.0))
    theirs = [one for one in ranked if one.name]
    carried = sum(one.size for one in theirs)
    together = Share(
        "mirrors", sum(one.downloads for one in theirs), carried, carried / size if size else 0.0
    )
    downloads = sum(one.downloads for one in ranked)
    return Shares(downloads, size, ours, together, tuple(theirs))


def countries(today: date, days: int = DAYS, most: int = 20) -> list[Share]:
    """Return the countries that downloaded most."""
    found = _span(MirrorCount.objects.all(), today, days)
    size = int(found.aggregate(all=Sum("size"))["all"] or 0)
    sums = found.values("country").annotate(downloads=Sum("downloads"), bytes=Sum("size"))
    return _beside([_share(row["country"], row, size) for row in sums.order_by("-bytes")[:most]])


def files(today: date, days: int = DAYS, most: int = 20) -> list[Share]:
    """Return the files, as `tree/path`, that were downloaded most, by bytes."""
    found = _span(FileCount.objects.all(), today, days)
    size = int(found.aggregate(all=Sum("size"))["all"] or 0)
    sums = found.values("tree", "path").annotate(downloads=Sum("downloads"), bytes=Sum("size"))
    rows = sums.order_by("-bytes")[:most]
    return _beside([_share(f"{row['tree']}/{row['path']}", row, size) for row in rows])


@dataclass(frozen=True, slots=True)
class Day:
    """The bytes of one day by ourselves and by mirrors."""

    day: date
    ours: int
    mirrors: int


def by_day(today: date, days: int = DAYS) -> list[Day]:
    """Return the last `days` one by one, today last; days without any download too."""
    found = _span(MirrorCount.objects.all(), today, days).values("day")
    sums = found.annotate(ours=Sum("size", filter=Q(mirror="")), bytes=Sum("size"))
    kept = {row["day"]: row for row in sums}
    found_days = []
    for number in range(days - 1, -1, -1):
        day = today - timedelta(days=number)
        row = kept.get(day, {"ours": 0, "bytes": 0})
        ours = int(row["ours"] or 0)
        found_days.append(Day(day, ours, int(row["bytes"] or 0) - ours))
    return found_days


def draw_days(rows: Sequence[Day]) -> str:
    """Return the SVG of what mirrors and we ourselves carried, day by day."""
    most = max((max(one.ours, one.mirrors) for one in rows), default=0)
    unit = next((name for name in ("TB", "GB", "MB") if most >= BYTES[name]), "kB")
    size = BYTES[unit]
    ours = [(float(one.day.toordinal()), one.ours / size) for one in rows]
    mirrors = [(float(one.day.toordinal()), one.mirrors / size) for one in rows]
    labels: list[dict[str, int | str]] = [
        {"value": one.day.toordinal(), "label": f"{one.day:%m-%d}"}
        for one in rows[:: max(1, len(rows) // 6)]
    ]
    carried = sum(one.mirrors for one in rows)
    served = sum(one.ours for one in rows)
    return plot(
        [Line("mirrors", "has", mirrors), Line("ourselves", "ours", ours)],
        heading=f"Downloads a day ({unit})",
        title="Downloads a day",
        description=f"Mirrors carried {format_bytes(carried)}, we ourselves {format_bytes(served)}",
        labels=labels,
        top=max(1.0, most / size * 1.1),
    )


def _span(rows: QuerySet[Any], today: date, days: int) -> QuerySet[Any]:
    return rows.filter(day__gt=today - timedelta(days=days), day__lte=today)


def _share(name: str, row: dict[str, Any], size: int) -> Share:
    carried = int(row["bytes"])
    return Share(name, int(row["downloads"]), carried, carried / size if size else 0.0)


def _beside(rows: Sequence[Share]) -> list[Share]:
    largest = max((one.part for one in rows), default=0.0) or 1.0
    return [replace(one, largest=largest) for one in rows]
