"""What the manifest of a revision says, by the tables. The worker writes it, and the signer anew.

A revision costs what it changes: its segment says what is other than in the revision that users saw
before. Where segments are many, it says again what the last ones said, so that they become fewer
and longer: the base is written anew only when about half of what it says has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain, islice

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Collate

from commonfarm.archive import hashing, manifest
from commonfarm.archive.models import (
    FileHashes,
    Publication,
    PublicationState,
    TreeAlias,
    TreeFile,
)
from commonfarm.archive.trees import aliases_of, listed_files
from commonfarm.estate.interface import ReleaseTree
from commonfarm.store.interface import put_bytes, read

ROWS_AT_ONCE = 2000
MOST_SEGMENTS = 64
"""Of more than these, the last ones become one."""


def before(publication: Publication) -> Publication | None:
    """Return the revision that users see until this one takes its place."""
    return (
        Publication.objects.filter(
            tree=publication.tree,
            state=PublicationState.PUBLISHED,
            revision__lt=publication.revision,
        )
        .order_by("-revision")
        .first()
    )


def write(publication: Publication) -> None:
    """Store the segment of a revision whose files are all there, for its row to be saved with."""
    if publication.tree.adopts:
        return
    kept = earlier_segments(publication)
    since = kept[-1].revision if kept else 0
    publication.manifest = put_bytes(manifest.pack(lines(publication, since)))


def followed(segments: Sequence[manifest.Segment]) -> Sequence[manifest.Segment]:
    """Return which of the segments so far a new one goes behind; pure.

    All, while they are few. Else those that are longer than all behind them together.
    """
    if len(segments) < MOST_SEGMENTS:
        return segments
    at, size = len(segments) - 1, segments[-1].size
    while at and segments[at - 1].size < 2 * size:
        at -= 1
        size += segments[at].size
    return segments[:at]


def earlier_segments(publication: Publication) -> Sequence[manifest.Segment]:
    """Return the segments behind which that of a revision goes; none where it says everything."""
    last = before(publication)
    if last is None or last.statement_id is None:  # the first, or it is from before manifests
        return ()
    return followed(manifest.told(read(last.statement_id)).segments)


def lines(publication: Publication, since: int) -> Iterator[bytes]:
    """Yield the lines of a revision's segment; `since` 0 is for a base."""
    tree, revision = publication.tree, publication.revision
    head = manifest.Head(tree.name, revision, since)
    new = chain(
        _files(new_files(tree, since, revision)), _aliases(new_aliases(tree, since, revision))
    )
    return manifest.lines(head, chain(_gone(tree, since, revision) if since else (), new))


def new_files(tree: ReleaseTree, since: int, revision: int) -> QuerySet[TreeFile]:
    """Return the files that the manifest of `revision` has and that of `since` had not."""
    rows = listed_files(tree, revision).filter(since_revision__gt=since)
    # What belongs to the manifest is pinned by the statement.
    return rows.exclude(path__startswith=f"{manifest.FOLDER}/").order_by(Collate("path", "C"))


def new_aliases(tree: ReleaseTree, since: int, revision: int) -> QuerySet[TreeAlias]:
    """Return the aliases that `revision` has and `since` had not."""
    rows = aliases_of(tree, revision).filter(since_revision__gt=since)
    return rows.order_by(Collate("path", "C"))


def statement(publication: Publication, earlier: Sequence[manifest.Segment]) -> manifest.Statement:
    """Return what is to be signed of a revision, whose segment follows `earlier` ones."""
    assert publication.manifest is not None and publication.assembled_at is not None
    tree, blob = publication.tree, publication.manifest
    return manifest.Statement(
        installation=settings.COMMONFARM.name,
        tree=tree.name,
        revision=publication.revision,
        made_at=publication.assembled_at,
        valid_until=publication.assembled_at + timedelta(seconds=tree.valid_seconds),
        segments=(*earlier, manifest.Segment(publication.revision, blob.size, blob.sha256)),
    )


def place(publication: Publication, envelope: bytes) -> None:
    """Make the signed statement and its segment part of the revision, for its row to be saved with.

    Segments that it no longer names stay for as many revisions as indexes do: somebody may have
    read the statement before.
    """
    tree, revision = publication.tree, publication.revision
    blob = put_bytes(envelope)
    publication.statement = blob
    assert publication.manifest is not None
    rows = TreeFile.objects.filter(tree=tree)
    rows.filter(
        path=manifest.STATEMENT_PATH, until_revision=None, since_revision__lt=revision
    ).update(until_revision=revision)
    TreeFile.objects.bulk_create(
        TreeFile(
            tree=tree,
            path=path,
            size=one.size,
            sha256=one.sha256,
            blob=one,
            changes=changes,
            since_revision=revision,
        )
        for path, one, changes in (
            (manifest.STATEMENT_PATH, blob, True),
            (manifest.segment_path(revision), publication.manifest, False),
        )
    )
    named = [one.path for one in manifest.told(envelope).segments]
    rows.filter(path__startswith=f"{manifest.FOLDER}/", until_revision=None).exclude(
        path__in=[manifest.STATEMENT_PATH, *named]
    ).update(until_revision=revision + tree.keep_revisions)
    hashing.hash_blobs([blob.sha256, publication.manifest.sha256])


def _files(rows: QuerySet[TreeFile]) -> Iterator[manifest.Entry]:
    found = rows.select_related(None).iterator(chunk_size=ROWS_AT_ONCE)
    while some := list(islice(found, ROWS_AT_ONCE)):
        long = {one.sha256 for one in some if hashing.piece_bytes_of(one.size)}
        hashes = FileHashes.objects.in_bulk(long)
        for one in some:
            pieces = hashes.get(one.sha256)
            yield manifest.File(
                one.path,
                one.size,
                one.sha256,
                pieces.piece_bytes if pieces else 0,
                bytes(pieces.pieces) if pieces else b"",
                one.mirrors_from,
            )


def _aliases(rows: QuerySet[TreeAlias]) -> Iterator[manifest.Entry]:
    for path, target in rows.values_list("path", "target").iterator(chunk_size=ROWS_AT_ONCE):
        yield manifest.Alias(path, target)


def _gone(tree: ReleaseTree, since: int, revision: int) -> Iterable[manifest.Entry]:
    """Return what the manifest of `since` had and that of `revision` says nothing of."""
    ended = Q(until_revision__gt=since, until_revision__lte=revision)
    left = Q(leaving_revision__gt=since, leaving_revision__lte=revision)
    files = listed_files(tree, since).filter(ended | left)
    paths = {*files.values_list("path", flat=True)}
    paths.update(aliases_of(tree, since).filter(ended).values_list("path", flat=True))
    for new in (new_files(tree, since, revision), new_aliases(tree, since, revision)):
        paths.difference_update(new.filter(path__in=paths).values_list("path", flat=True))
    return (
        manifest.Gone(path)
        for path in sorted(paths, key=str.encode)
        if not manifest.is_reserved(path)
    )
