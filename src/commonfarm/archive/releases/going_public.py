"""A reviewed release becomes public, at once or at the end of its embargo; and the ways back."""

from __future__ import annotations

from datetime import datetime
from math import ceil

from django.db import transaction
from django.db.models import Min
from django.db.models.functions import Now
from procrastinate.contrib.django import app

from commonfarm.archive.events import RollbackAsked
from commonfarm.archive.models import (
    Publication,
    PublicationState,
    Release,
    ReleaseState,
)
from commonfarm.archive.publishing import next_publication
from commonfarm.archive.releases import checking, readable, rules, staging
from commonfarm.archive.releases.lifecycle import locked, on_its_way, refuse_foreign
from commonfarm.archive.trees import current_revision
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import defer_once
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError

WHO = "process:worker"


def publish(
    release: Release, now: datetime, *, who: str, visible_from: datetime | None = None
) -> Publication | None:
    """Have a reviewed release published: at once, or under embargo until `visible_from`.

    Returns the publication that makes it public; None while it is under embargo. An embargoed
    release may be given another time, or be published at once. Raises BadInputError with all that
    keeps it from being read or from fitting into its tree, as this stands now; RefusedError when it
    is not its turn.
    """
    refuse_foreign(release.tree)
    readable.check_published()
    readable.check_release(release)
    with transaction.atomic():
        # The tree first, as everywhere.
        ReleaseTree.locked(release.tree_id)
        locked(release, ReleaseState.REVIEWED, ReleaseState.EMBARGOED, to="publish it")
        if release.waits_for_publication:
            raise on_its_way(release)
        content = checking.content_of(release)
        problems = checking.against_tree(release, content) + checking.before_others(release)
        if problems:
            raise BadInputError(*rules.told(problems))
        if visible_from is not None and visible_from > now:
            release.embargo(visible_from, who=who)
            staging.stage_soon(release.tree)
            reveal_soon(release.tree)
            return None
        return _join(release, who)


@app.task(name="archive.reveal", queue="default")
def reveal_tree(tree_id: int) -> None:
    """Publish what is due of a tree, and plan the next one."""
    tree = ReleaseTree.objects.get(pk=tree_id)
    reveal(tree)
    reveal_soon(tree)


def reveal_soon(tree: ReleaseTree) -> None:
    """Plan the end of the tree's next embargo: by the database's clock, never before it."""
    waiting = Release.objects.filter(
        tree=tree, state=ReleaseState.EMBARGOED, publication=None
    ).aggregate(next=Min("visible_from"), now=Min(Now()))
    if waiting["next"] is not None:
        seconds = max(0, ceil((waiting["next"] - waiting["now"]).total_seconds()))
        # One for each time: an embargo that is moved is planned anew.
        key = f"reveal-tree-{tree.pk}-{waiting['next'].timestamp():.0f}"
        defer_once(reveal_tree, key, in_seconds=seconds, tree_id=tree.pk)


def reveal(tree: ReleaseTree) -> int:
    """Publish the releases whose embargo is over, by the database's clock; return how many."""
    with transaction.atomic():
        ReleaseTree.locked(tree.pk)
        due = Release.objects.filter(
            tree=tree, state=ReleaseState.EMBARGOED, publication=None, visible_from__lte=Now()
        )
        revealed = list(due.select_related("tree").order_by("visible_from", "number"))
        for release in revealed:
            _join(release, WHO)
    return len(revealed)


def _join(release: Release, who: str) -> Publication:
    publication = next_publication(release.tree, f"{release.label} is published")
    release.join(publication, who=who)
    return publication


def withdraw(release: Release, *, who: str, why: str, at_once: bool = False) -> Publication | None:
    """Take a public release back: out of the manifest and all listings by the next revision.

    Its files lie there for the tree's grace period, or go `at_once`; that can also be asked for
    later. One under embargo is taken back without a publication, and None is returned.
    """
    if not why.strip():
        what = "it is withdrawn without a word why"
        raise BadInputError(Problem(release.label, 0, 0, what, "say why"))
    with transaction.atomic():
        ReleaseTree.locked(release.tree_id)
        states = [ReleaseState.PUBLIC, ReleaseState.EMBARGOED]
        locked(release, *states, *([ReleaseState.WITHDRAWN] if at_once else []), to="withdraw it")
        if release.waits_for_publication and release.state == ReleaseState.EMBARGOED:
            raise on_its_way(release)
        if release.state == ReleaseState.EMBARGOED:
            release.disappear(None, who=who, why=why)
            staging.stage_soon(release.tree)
            return None
        if release.publication is None:
            raise RefusedError(
                Reason("never-public", f"{release.label} was never public", "there is nothing left")
            )
        publication = next_publication(release.tree, f"{release.label} is withdrawn")
        release.leave_by(publication, at_once=at_once, who=who, why=why)
        return publication


def rollback(tree: ReleaseTree, to: int, *, who: str, why: str) -> Publication:
    """Have a new revision with the files and aliases of releases that revision `to` had.

    Repositories are left as they are: apt takes no step back. What came since lies there for the
    grace period. RefusedError when users never saw `to`, or see it.
    """
    refuse_foreign(tree)
    if not why.strip():
        what = "it is rolled back without a word why"
        raise BadInputError(Problem(tree.name, 0, 0, what, "say why"))
    with transaction.atomic():
        ReleaseTree.locked(tree.pk)
        published = Publication.objects.filter(
            tree=tree, revision=to, state=PublicationState.PUBLISHED
        )
        if not published.exists() or to == current_revision(tree):
            raise RefusedError(
                Reason(
                    "no-such-revision",
                    f"revision {to} of {tree.name} is not one that users saw before",
                    "look at the tree's history for one",
                )
            )
        publication = next_publication(tree, f"back to revision {to}: {why}", alone=True)
        publication.rolls_back_to = to
        publication.save(update_fields=["rolls_back_to"])
        event = RollbackAsked(publication.label, to_revision=to, revision=publication.revision)
        record(event, who=who, why=why)
    return publication
