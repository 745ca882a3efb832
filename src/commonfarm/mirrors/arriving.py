"""Releases on their way to the mirrors: how many have all that is new, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, Sum

from commonfarm.archive.interface import Publication, PublicationState, TreeFile
from commonfarm.estate.interface import Line, ReleaseTree, plot
from commonfarm.mirrors.models import Arrival, Mirror

MOST_RELEASES = 10
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Release:
    """A revision with new files: how many, and which mirrors have them all since when."""

    tree: ReleaseTree
    revision: int
    published_at: datetime
    files: int
    size: int
    there: tuple[tuple[Mirror, datetime], ...]
    missing: tuple[Mirror, ...]

    @property
    def mirrors(self) -> int:
        """How many mirrors it is to reach."""
        return len(self.there) + len(self.missing)

    @property
    def width(self) -> int:
        """The length of its bar, of 1000."""
        return round(1000 * len(self.there) / self.mirrors) if self.mirrors else 0

    @property
    def half_seconds(self) -> float | None:
        """How long after it was published half of the mirrors had it; None: they have not yet."""
        half = -(-self.mirrors // 2)
        if not half or len(self.there) < half:
            return None
        return max(0.0, (self.there[half - 1][1] - self.published_at).total_seconds())


def releases(mirrors: Sequence[Mirror], most: int = MOST_RELEASES) -> list[Release]:
    """Return the newest revisions that brought files, newest first, and where these are."""
    rows = Publication.objects.filter(state=PublicationState.PUBLISHED).exclude(published_at=None)
    found: list[Release] = []
    for row in rows.select_related("tree").order_by("-published_at")[:_LOOKED_AT]:
        new = TreeFile.objects.filter(
            tree=row.tree, since_revision=row.revision, changes=False, until_revision=None
        ).aggregate(files=Count("pk"), size=Sum("size"))
        if not new["files"] or row.published_at is None:
            continue
        of_tree = [mirror for mirror in mirrors if mirror.tree_id == row.tree_id]
        seen = dict(
            Arrival.objects.filter(Q(mirror__in=of_tree), revision=row.revision).values_list(
                "mirror_id", "seen_at"
            )
        )
        there = sorted(
            ((one, seen[one.pk]) for one in of_tree if one.pk in seen), key=lambda pair: pair[1]
        )
        missing = tuple(one for one in of_tree if one.pk not in seen)
        files, size = int(new["files"]), int(new["size"] or 0)
        found.append(
            Release(row.tree, row.revision, row.published_at, files, size, tuple(there), missing)
        )
        if len(found) == most:
            break
    return found


def draw(release: Release, now: datetime) -> str:
    """Return the SVG of how many mirrors had a release, minute by minute since it was published."""
    points: list[tuple[float, float | None]] = [(0.0, 0.0)]
    for number, (_, at) in enumerate(release.there, 1):
        minute = max(0.0, (at - release.published_at).total_seconds() / 60)
        points += [(minute, float(number - 1)), (minute, float(number))]
    last = points[-1][0]
    age = max(1.0, last, (now - release.published_at).total_seconds() / 60)
    # Once all have it, what follows is no news.
    end = age if release.missing else min(age, max(1.0, last * 1.1))
    points.append((end, float(len(release.there))))
    step = next((one for one in _STEPS if end / one <= _LABELS), _STEPS[-1])
    labels: list[dict[str, int | str]] = [
        {"value": minute, "label": _label(minute)}
        for minute in range(0, min(int(end), _LABELS * step) + 1, step)
    ]
    return plot(
        [
            Line("mirrors that have it", "use", points),
            Line(
                "all", "has", [(0.0, float(release.mirrors)), (end, float(release.mirrors))], "2 4"
            ),
        ],
        heading=f"{release.tree} revision {release.revision}",
        title=f"Mirrors that have revision {release.revision} of {release.tree}",
        description=f"{len(release.there)} of {release.mirrors} mirrors have it",
        labels=labels,
        top=max(1.0, release.mirrors * 1.05),
    )


_LABELS = 8
_STEPS = (1, 2, 5, 10, 30, 60, 180, 360, 1440, 10080, 43200)


def _label(minute: int) -> str:
    if minute < 120:
        return f"{minute} min"
    return f"{minute // 60} h" if minute < 2880 else f"{minute // 1440} d"
