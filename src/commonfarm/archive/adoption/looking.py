"""One look at the folder of an adopted tree."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from commonfarm.archive.adoption.applying import apply
from commonfarm.archive.adoption.comparing import Judged, compare, judge
from commonfarm.archive.adoption.findings import Counts, findings, known_files, noting
from commonfarm.archive.adoption.models import Adoption
from commonfarm.archive.releases import readable, rules
from commonfarm.archive.releases.application_tree import root_problems, walk
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import alone
from commonfarm.lib.errors import Reason, RefusedError

WHO = "process:worker"
QUIET = timedelta(seconds=5)
"""What was changed so lately may still be written."""


class _StoppedError(Exception):
    """What lies there is better not taken over without a person."""


def refuse_unadopted(tree: ReleaseTree) -> None:
    """Raise RefusedError for a tree that is not filled by something else."""
    if not tree.adopts:
        raise RefusedError(
            Reason(
                "not-adopted",
                f"the tree {tree.name} has no folder that something else fills",
                "declare it in the estate with `adopts: /FOLDER`",
            )
        )


def adoption_of(tree: ReleaseTree) -> Adoption:
    """Return what is known of an adopted tree's folder, made when nothing is."""
    found, _ = Adoption.objects.select_related("tree").get_or_create(
        tree=tree, defaults={"folder": tree.adopts}
    )
    return found


def look(tree: ReleaseTree, now: datetime, *, asked: bool = False) -> Adoption:
    """Look at a folder, and have users see what changed there.

    A file that differs has to be quiet since the look before; where a person asked for this one,
    or it is one whose bytes change in place, for QUIET. RefusedError for a tree that is not
    adopted, BusyError while another process looks.
    """
    refuse_unadopted(tree)
    with alone(f"folder of the tree {tree.name}", wait=False):
        adoption = adoption_of(tree)
        begun = time.monotonic()

        def took() -> timedelta:
            return timedelta(seconds=time.monotonic() - begun)

        try:
            adoption.folder = tree.adopts
            adoption.save(update_fields=["folder"])
            asked = asked or adoption.asked > adoption.answered
            counts, judged = _take_over(tree, adoption, now, asked=asked)
        except (_StoppedError, OSError) as error:
            why = str(error)
            if isinstance(error, OSError):
                why = f"{tree.adopts}: {error.strerror}; let the worker's user read it"
            with transaction.atomic():
                adoption.stop(now, took(), why, who=WHO)
            return adoption
        problems = [
            {"path": one.file, "what": one.what, "to_do": one.to_do} for one in judged.problems
        ]
        with transaction.atomic():
            adoption.looked(
                now,
                took(),
                files=counts.files,
                waiting=counts.waiting,
                problems=problems,
                count=judged.count,
                who=WHO,
            )
    return adoption


def _take_over(
    tree: ReleaseTree, adoption: Adoption, now: datetime, *, asked: bool
) -> tuple[Counts, Judged]:
    root = Path(tree.adopts)
    if problems := root_problems(root):
        raise _StoppedError(str(problems[0]))
    judged = Judged()
    judged.blame(*readable.kept_out(root, readable.readers()))
    left: list[bytes] = []
    quiet_ns = _quiet(tree, None if asked else adoption.looked_at, now)
    with findings(tree) as found:
        files = noting(judge(walk(root, hidden=False), judged), left)
        found.take(compare(files, known_files(tree), quiet_ns))
        counts = found.counts
        if not adoption.loss_allowed:
            _refuse_loss(tree, counts)
        with transaction.atomic():
            locked = ReleaseTree.locked(tree.pk)
            if locked.adopts != tree.adopts:
                raise _StoppedError(f"the estate names another folder now: {locked.adopts}")
            apply(locked, counts, judged, left, now=now, who=WHO)
    return counts, judged


def _refuse_loss(tree: ReleaseTree, counts: Counts) -> None:
    """Take a disk that is not mounted for what it is, and not for a wish to have nothing."""
    if not counts.before or (counts.files and counts.gone * 2 <= counts.before):
        return
    what = f"{counts.gone} of {counts.before} files are gone" if counts.files else "it is empty"
    raise _StoppedError(
        f"{tree.adopts}: {what}; is a disk not mounted? If it is meant:"
        f" commonfarm tree adopt {tree.name} --yes"
    )


def _quiet(tree: ReleaseTree, before: datetime | None, now: datetime) -> Callable[[bytes], int]:
    """Return what says since when a file has to be unchanged, in nanoseconds, by its path."""
    lately = int((now - QUIET).timestamp() * 1e9)
    since = min(lately, int(before.timestamp() * 1e9)) if before else lately
    return lambda path: lately if rules.changes(path.decode(), tree.changing) else since
