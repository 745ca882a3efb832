"""What becomes of the releases of a publication while it goes through its steps."""

from __future__ import annotations

from django.db import connection
from django.db.models import Exists, OuterRef

from commonfarm.archive.models import FileHashes, Publication, Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import checking, readable, rows, rules
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem
from commonfarm.store.interface import BlobDamagedError, check

WHO = "process:worker"

_VISIBLE = """
    SELECT DISTINCT r.release_id FROM archive_releasefile r
    JOIN archive_release e ON e.id = r.release_id AND e.tree_id = %(tree)s
    JOIN archive_treefile t ON t.tree_id = %(tree)s AND t.path = r.path AND t.sha256 = r.blob_id
    WHERE t.until_revision IS NULL AND t.leaving_revision IS NULL
"""


def hold_back_unfit(publication: Publication) -> None:
    """Take those releases out of a publication that cannot be read, or fit their tree no longer.

    What else is to be published does not wait for the person who mends them.
    """
    for release in publication.releases.select_related("tree").order_by("number"):
        problems = checking.against_tree(release, checking.content_of(release))
        try:
            readable.check_release(release)
        except BadInputError as error:
            problems += error.problems
        else:
            problems += _damaged(release)
        if problems:
            release.hold_back("\n".join(map(str, rules.told(problems))), who=WHO)


def _damaged(release: Release) -> list[Problem]:
    """Return what is wrong with files whose further hashes could not be made."""
    hashed = FileHashes.objects.filter(sha256=OuterRef("blob_id"))
    rows = ReleaseFile.objects.filter(release=release, target="").exclude(Exists(hashed))
    found = []
    for path, sha256 in rows.values_list("path", "blob_id"):
        try:
            check(sha256)
        except (BlobDamagedError, NotFoundError) as error:
            found.append(Problem(path, 0, 0, error.reason.text, error.reason.lifted_by))
    return found


def published(publication: Publication) -> None:
    """Note what users see from now on, and what no longer."""
    for release in publication.releases.select_related("tree", "publication").order_by("number"):
        release.appear(who=WHO)
    for release in publication.withdrawals.select_related("tree").order_by("number"):
        release.disappear(publication, who=WHO)
    if publication.rolls_back_to is not None:
        _note_rollback(publication)


def _note_rollback(publication: Publication) -> None:
    """Have each release that was ever public be so if some of its files are there."""
    with connection.cursor() as cursor:
        cursor.execute(_VISIBLE, {"tree": publication.tree_id})
        visible = {pk for (pk,) in cursor.fetchall()}
    once = Release.objects.filter(tree=publication.tree, publication__isnull=False)
    for release in once.select_related("tree", "publication"):
        if release.state == ReleaseState.PUBLIC and release.pk not in visible:
            why = f"rolled back to revision {publication.rolls_back_to}"
            release.disappear(publication, who=WHO, why=why)
        if release.state == ReleaseState.WITHDRAWN and release.pk in visible:
            release.reappear(publication, who=WHO)


def failed(publication: Publication, why: str) -> None:
    """Have all be as it was before a publication that was given up."""
    rows.take_back(publication)
    for release in publication.releases.select_related("tree"):
        release.hold_back(f"{publication} failed: {why}", who=WHO)
    for release in publication.withdrawals.select_related("tree"):
        release.stay(f"{publication} failed: {why}", who=WHO)


def leaves_at_once(publication: Publication) -> bool:
    """Say whether something has to go now, from the folders of past revisions, too."""
    return publication.withdrawals.filter(leaves_at_once=True).exists()
