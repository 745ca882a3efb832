"""A mirror is asked for just the files that are new, so that clients are sent there within seconds;
and for what changes in place, whose bytes tell which revision it is at.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from commonfarm.archive.interface import (
    FileColumns,
    Publication,
    PublicationState,
    current_revision,
    file_columns,
    joined,
    older_versions,
)
from commonfarm.guard.interface import alone
from commonfarm.mirrors import schedule
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.holdings import FOLLOWED_FOR, bits_of, new_files, record_check
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.scanning import Checked, Code, Limits, Wanted
from commonfarm.mirrors.scanning import check as ask
from commonfarm.mirrors.steps.scan import bases, current_revisions, find, looked_at, path_there

MOST_CHANGING = 1000
ASKED_FIRST = 100
"""Of so many new files some are there if the mirror pulls: else it is spared the others."""
LIMITS = Limits(connect_seconds=10, silence_seconds=20, request_seconds=30, total_seconds=120)


@dataclass(frozen=True, slots=True)
class Done:
    """What a check brought: whether anything is new, and in how many seconds to ask again."""

    news: bool = False
    again: int | None = None


def check(mirror_id: int, now: datetime, *, whole: bool = False) -> Done:
    """Ask a mirror for new files that it was not seen to have; with `whole` also for all that
    changes in place. One that is down is not asked: the next probe that it answers comes first.

    Raises BusyError while another check of it runs.
    """
    with alone(f"check of mirror {mirror_id}", wait=False):
        mirror = find(mirror_id)
        revision = current_revision(mirror.tree) if mirror else 0
        if mirror is None or not revision or not (whole or mirror.answers):
            return Done()
        awaited = new_files(mirror, revision, now)
        news = _ask(mirror, revision, awaited, now, whole=whole)
        return Done(news, _again(mirror, revision, now))


def due(now: datetime) -> list[tuple[Mirror, int]]:
    """Return the mirrors whose tree has files they may lack yet, and in how many seconds at most
    each is to be asked for them.
    """
    recent = Publication.objects.filter(
        state=PublicationState.PUBLISHED, published_at__gt=now - FOLLOWED_FOR
    )
    trees = set(recent.values_list("tree", flat=True))
    some = [one for one in looked_at() if one.tree_id in trees and one.answers]
    revisions = current_revisions(some)
    pauses = [(one, _again(one, revisions[one.tree_id], now)) for one in some]
    return [(one, seconds) for one, seconds in pauses if seconds is not None]


def _ask(
    mirror: Mirror, revision: int, awaited: FileColumns, now: datetime, *, whole: bool
) -> bool:
    fixed: dict[str, tuple[int, int]] = {}
    versions: dict[str, dict[str, int]] = {}
    held = bits_of(mirror).has(awaited.numbers)
    for path, number, size, changes, is_there in zip(
        *(awaited.paths, awaited.numbers, awaited.sizes, awaited.changes, held), strict=True
    ):
        if not changes and not is_there:
            fixed[path_there(mirror, path.decode())] = (int(number), int(size))
    changing = awaited
    if whole:
        below = mirror.subtree
        changing = joined(file_columns(mirror.tree, revision, below=below, only_changing=True))
    if changing.changes.any():
        versions = _versions(mirror, revision, changing)
    new = [Wanted(path, size) for path, (_, size) in fixed.items()]
    secrets.SystemRandom().shuffle(new)
    in_place = [Wanted(path, -1, changes=True) for path in versions]
    first = [*in_place, *new[:ASKED_FIRST]]
    if not first:
        return False
    policy = Policy.of(settings.COMMONFARM)
    checked = ask(bases(mirror), first, policy, LIMITS)
    if not _counts(checked):
        return False
    seen, not_seen = _seen(checked, fixed)
    if seen and checked.problem is None and len(new) > ASKED_FIRST:
        more, lacking = _seen(ask(bases(mirror), new[ASKED_FIRST:], policy, LIMITS), fixed)
        seen, not_seen = seen + more, not_seen + lacking
    for name, known in versions.items():
        if name not in checked.hashes and name not in checked.missing:
            continue  # it was not reached
        there = known.get(checked.hashes.get(name, ""))
        seen += [there] if there is not None else []
        not_seen += [number for number in known.values() if number != there]
    return record_check(mirror, revision, seen, not_seen, now=now)


def _seen(checked: Checked, fixed: Mapping[str, tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the numbers of the files that are there and that are not, as far as that counts."""
    if not _counts(checked):
        return [], []
    seen = [fixed[path][0] for path in checked.held if path in fixed]
    return seen, [fixed[path][0] for path in checked.missing if path in fixed]


def _counts(checked: Checked) -> bool:
    """Say whether what was seen counts: until the time was over, too, or a slow mirror would never
    be seen to have many new files.
    """
    return checked.problem is None or checked.problem.code == Code.TOO_SLOW


def _versions(mirror: Mirror, revision: int, files: FileColumns) -> dict[str, dict[str, int]]:
    """Return for each path that changes in place the number of each kept version, by its hash."""
    older = older_versions(mirror.tree, revision)
    found: dict[str, dict[str, int]] = {}
    for row in files.changes.nonzero()[0][-MOST_CHANGING:]:
        path = files.paths[row]
        known = {one.revision.sha256.hex(): one.number for one in reversed(older.get(path, ()))}
        known[files.sha256[row].tobytes().hex()] = int(files.numbers[row])
        found[path_there(mirror, path.decode())] = known
    return found


def _again(mirror: Mirror, revision: int, now: datetime) -> int | None:
    """Return in how many seconds to ask again for what is still awaited."""
    awaited = new_files(mirror, revision, now)
    if not awaited.numbers.size:
        return None
    newest = Publication.objects.get(tree=mirror.tree, revision=int(awaited.since.max()))
    assert newest.published_at is not None
    return schedule.check_again(now - newest.published_at)
