"""The files of a release tree, revision by revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Max, Q, QuerySet

from commonfarm.archive import manifest
from commonfarm.archive.models import Publication, PublicationState, TreeAlias, TreeFile
from commonfarm.archive.releases import rules
from commonfarm.estate.interface import ReleaseTree
from commonfarm.store.interface import Blob

WHOLE_EVERY = 64
"""So often what a revision takes over from those before it is gone through as a whole: members of a
gzip file do not grow without end, and a folder that was tampered with is whole again."""


def current_revision(tree: ReleaseTree) -> int:
    """Return the revision that users see; 0 before the first."""
    found = Publication.objects.filter(tree=tree, state=PublicationState.PUBLISHED).aggregate(
        Max("revision")
    )["revision__max"]
    return int(found or 0)


def files_of(tree: ReleaseTree, revision: int) -> QuerySet[TreeFile]:
    """Return the files that lie in a revision, by path: those that leave it, too."""
    return (
        TreeFile.objects.filter(tree=tree, since_revision__lte=revision)
        .filter(Q(until_revision=None) | Q(until_revision__gt=revision))
        .select_related("blob")
        .order_by("path")
    )


def current_files(tree: ReleaseTree) -> QuerySet[TreeFile]:
    """Return the files that users see now, by path."""
    return files_of(tree, current_revision(tree))


def listed_files(tree: ReleaseTree, revision: int) -> QuerySet[TreeFile]:
    """Return the files that a revision consists of, by path: what was withdrawn is none of them."""
    return files_of(tree, revision).filter(
        Q(leaving_revision=None) | Q(leaving_revision__gt=revision)
    )


def aliases_of(tree: ReleaseTree, revision: int) -> QuerySet[TreeAlias]:
    """Return the aliases of a revision, by path, each as the symlink that it is in the folder."""
    return (
        TreeAlias.objects.filter(tree=tree, since_revision__lte=revision)
        .filter(Q(until_revision=None) | Q(until_revision__gt=revision))
        .order_by("path")
    )


def canonical_aliases(tree: ReleaseTree, revision: int) -> dict[str, str]:
    """Return the aliases of a revision with what each stands for in the end: a file or a folder
    that is there itself, whatever other aliases lead to it.
    """
    aliases = dict(aliases_of(tree, revision).values_list("path", "target"))
    finals = {path: rules.follow(path, aliases) for path in aliases}
    return {path: final for path, final in finals.items() if final is not None}


def add_aliases(publication: Publication, targets: Mapping[str, str]) -> None:
    """Have a revision begin with these aliases, each a path and what it stands for."""
    TreeAlias.objects.bulk_create(
        (
            TreeAlias(
                tree=publication.tree,
                path=path,
                target=target,
                since_revision=publication.revision,
            )
            for path, target in targets.items()
        ),
        batch_size=2000,
    )


def origin_only_until(publication: Publication, now: datetime) -> datetime | None:
    """Return from when on mirrors are sent clients for what a revision brings; None: at once."""
    seconds = publication.tree.origin_only_seconds
    return now + timedelta(seconds=seconds) if seconds else None


def put_files(
    publication: Publication, wanted: Mapping[str, Blob], *, complete_below: Sequence[str] = ()
) -> None:
    """Make `wanted` part of a revision; what it replaces ends with the one before.

    Below each prefix of `complete_below` ("" is the whole tree), what is not wanted ends as well,
    but for what releases brought, the manifest, indexes by hash, which stay a while, and signatures
    and provenance of what is wanted, which a later step replaces. Of what an earlier assembling of
    this same revision made, nobody saw anything.

    Users whose Release file is a little old (a mirror behind, an update under way) still find what
    it lists: an index stays under its hash for the tree's `keep_revisions` after a newer one took
    its name.
    """
    tree, revision = publication.tree, publication.revision
    mirrors_from = publication.assembled_at and origin_only_until(
        publication, publication.assembled_at
    )
    not_ours = f"{manifest.FOLDER}/"
    rows = TreeFile.objects.filter
    asked = Q(path__in=list(wanted))
    for prefix in complete_below:
        below = Q(path__startswith=prefix, until_revision=None, release=None)
        asked |= below & ~Q(path__startswith=not_ours)
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
        changes = rules.changes(path, tree.changing)
        new.append(
            TreeFile(
                tree=tree,
                path=path,
                size=blob.size,
                sha256=blob.sha256,
                blob=blob,
                changes=changes,
                mirrors_from=None if changes else mirrors_from,
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
    rows(pk__in=kept_a_while).update(until_revision=revision + tree.keep_revisions)
    rows(pk__in=revived).update(until_revision=None)
    TreeFile.objects.bulk_create(new, batch_size=2000)


def _vouched_for(path: str) -> str:
    """Return the path that a signature or a provenance is about, and of another file its own."""
    folder, _, name = path.rpartition("/")
    if name in ("InRelease", "Release.gpg"):
        return f"{folder}/Release"
    return path.removesuffix(".intoto.jsonl")
