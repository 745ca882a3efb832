"""The files of a release tree, revision by revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db.models import Max, Q, QuerySet

from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.redirector.selection import changes_in_place
from commonfarm.store.interface import Blob

KEEP_REVISIONS = 10
"""For so many revisions an index stays under its hash after a newer one took its name: users whose
Release file is a little old (a mirror behind, an update under way) still find what it lists."""
WHOLE_EVERY = 64
"""So often a revision is written anew from the tables instead of out of the one before: members of
a gzip file do not grow without end, and a folder that was tampered with is whole again."""


def current_revision(tree: ReleaseTree) -> int:
    """Return the revision that users see; 0 before the first."""
    found = Publication.objects.filter(tree=tree, state=PublicationState.PUBLISHED).aggregate(
        Max("revision")
    )["revision__max"]
    return int(found or 0)


def files_of(tree: ReleaseTree, revision: int) -> QuerySet[TreeFile]:
    """Return the files of a revision, by path."""
    return (
        TreeFile.objects.filter(tree=tree, since_revision__lte=revision)
        .filter(Q(until_revision=None) | Q(until_revision__gt=revision))
        .select_related("blob")
        .order_by("path")
    )


def current_files(tree: ReleaseTree) -> QuerySet[TreeFile]:
    """Return the files that users see now, by path."""
    return files_of(tree, current_revision(tree))


def put_files(
    publication: Publication, wanted: Mapping[str, Blob], *, complete_below: Sequence[str] = ()
) -> None:
    """Make `wanted` part of a revision; what it replaces ends with the one before.

    Below each prefix of `complete_below` ("" is the whole tree), what is not wanted ends as well,
    but for indexes by hash, which stay a while, and signatures and provenance of what is wanted,
    which a later step replaces. Of what an earlier assembling of this same revision made, nobody
    saw anything.
    """
    tree, revision = publication.tree, publication.revision
    rows = TreeFile.objects.filter
    asked = Q(path__in=list(wanted))
    for prefix in complete_below:
        asked |= Q(path__startswith=prefix, until_revision=None)
    current = {
        file.path: file
        for file in rows(asked, tree=tree).filter(
            Q(until_revision=None) | Q(until_revision__gt=revision)
        )
    }
    ended: list[int] = []
    unseen: list[int] = []
    kept_a_while: list[int] = []
    revived: list[int] = []
    new: list[TreeFile] = []
    for path, blob in wanted.items():
        old = current.get(path)
        if old is not None and old.blob_id == blob.sha256:
            if old.until_revision is not None:
                revived.append(old.pk)
            continue
        if old is not None and old.since_revision == revision:
            rows(pk=old.pk).update(blob=blob, sha256=blob.sha256, size=blob.size)
            continue
        if old is not None:
            ended.append(old.pk)
        new.append(
            TreeFile(
                tree=tree,
                path=path,
                size=blob.size,
                sha256=blob.sha256,
                blob=blob,
                changes=changes_in_place(path),
                since_revision=revision,
            )
        )
    for path, old in current.items():
        if old.until_revision is not None or path in wanted or _vouched_for(path) in wanted:
            continue
        if old.since_revision == revision:
            unseen.append(old.pk)
        else:
            (kept_a_while if "/by-hash/" in path else ended).append(old.pk)
    rows(pk__in=unseen).delete()
    rows(pk__in=ended).update(until_revision=revision)
    rows(pk__in=kept_a_while).update(until_revision=revision + KEEP_REVISIONS)
    rows(pk__in=revived).update(until_revision=None)
    TreeFile.objects.bulk_create(new, batch_size=2000)


def _vouched_for(path: str) -> str:
    """Return the path that a signature or a provenance is about, and of another file its own."""
    folder, _, name = path.rpartition("/")
    if name in ("InRelease", "Release.gpg"):
        return f"{folder}/Release"
    return path.removesuffix(".intoto.jsonl")
