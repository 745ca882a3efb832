"""What the signer checks before it signs a manifest: that each new file of the revision is what a
release that was let through, a build that is vouched for, or an earlier revision brought, and that
the segment is what it writes itself from the database.

Of segments before it needs no memory: the statement that it signed of the revision before names
them, and its own signature says that they were right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db.models import F

from commonfarm.archive import manifest, manifest_rows
from commonfarm.archive.models import (
    Entry,
    Publication,
    PublicationState,
    Release,
    ReleaseFile,
    ReleaseState,
    TreeFile,
)
from commonfarm.archive.releases import rules
from commonfarm.archive.signer.approve import refused, vouch_for, whole_blob
from commonfarm.estate.interface import Repository
from commonfarm.store.interface import blob_path

_LET_THROUGH = (ReleaseState.REVIEWED, ReleaseState.EMBARGOED, ReleaseState.PUBLIC)
_PROVENANCE = ".intoto.jsonl"


def statement(number: int, key: Ed25519PublicKey) -> manifest.Statement:
    """Return the statement of publication `number` that may be signed; `key` is our own.

    Raises RefusedError with what is wrong.
    """
    publication = Publication.objects.select_related("tree", "manifest").filter(pk=number).first()
    if publication is None:
        raise refused("no-such-publication", f"there is no publication {number}")
    if publication.state != PublicationState.SIGNED or publication.manifest is None:
        raise refused(
            "not-signed-yet", f"{publication} is {publication.state}, its manifest is not due"
        )
    last = manifest_rows.before(publication)
    seen = last.revision if last else 0
    _approve_new(publication, seen)
    try:
        with blob_path(publication.manifest.sha256).open("rb") as packed:
            since = manifest.read_segment(packed)[0].since
            earlier = _signed_before(publication, last, key, since) if since else ()
            packed.seek(0)
            same = manifest.unpacks_to(packed, manifest_rows.lines(publication, since))
    except manifest.NoManifestError:
        same = False
    except OSError as error:
        raise refused("damaged", f"the manifest of {publication}: {error}") from None
    if not same:
        raise refused("other-bytes", f"the manifest of {publication} is not what the database says")
    whole_blob(publication.manifest.sha256, f"the manifest of {publication}")
    return manifest_rows.statement(publication, earlier)


def _signed_before(
    publication: Publication, last: Publication | None, key: Ed25519PublicKey, since: int
) -> tuple[manifest.Segment, ...]:
    """Return the segments up to that of `since` that our own statement of the revision before
    names.
    """
    if last is None or last.statement_id is None:
        raise refused("no-base", f"{publication} says only what it changes, and nothing before it")
    try:
        found = manifest.unseal(whole_blob(last.statement_id, f"the statement of {last}"), key)
    except ValueError as error:
        raise refused("not-ours", f"the statement of {last}: {error}") from None
    same = (found.tree, found.revision) == (publication.tree.name, last.revision)
    earlier = tuple(one for one in found.segments if one.revision <= since)
    if not same or not earlier or earlier[-1].revision != since:
        raise refused("not-ours", f"the statement of {last} does not lead to revision {since}")
    return earlier


def _approve_new(publication: Publication, seen: int) -> None:
    """Refuse a file that came after revision `seen` from nowhere that may bring files."""
    tree, revision = publication.tree, publication.revision
    # Their own signatures, checked by apt, are over all that lies there.
    signed_themselves = tuple(
        f"{path}/dists/"
        for path in Repository.objects.filter(tree=tree).values_list("path", flat=True)
    )
    releases = Release.objects.filter(
        tree=tree,
        state__in=_LET_THROUGH,
        publication__revision__gt=seen,
        publication__revision__lte=revision,
    )
    unseen = releases.filter(reviewed_at=None) if tree.review != "none" else releases.none()
    if tree.review == "other":
        unseen |= releases.filter(reviewed_by=F("put_by"))
    if one := unseen.first():
        raise refused("not-reviewed", f"nobody who may has looked at {one}")
    files = manifest_rows.new_files(tree, seen, revision)
    if odd := files.exclude(blob=F("sha256"), size=F("blob__size")).first():
        raise refused("other-bytes", f"{odd.path} is not the stored file that its row names")
    rows = files.select_related(None).values_list("path", "sha256")
    for some in _batches(rows.iterator(chunk_size=manifest_rows.ROWS_AT_ONCE)):
        left = {one for one in some if not one[0].startswith(signed_themselves)}
        if not left:
            continue
        left -= _of_releases(releases, left)
        left -= _of_builds(publication, left)
        left -= set(
            TreeFile.objects.filter(
                tree=tree, since_revision__lte=seen, path__in=[path for path, _ in left]
            ).values_list("path", "sha256")
        )
        if left:
            path, sha256 = min(left)
            raise refused(
                "not-approved", f"{path} ({sha256}) is of no release and no build that may be seen"
            )
    aliases = manifest_rows.new_aliases(tree, seen, revision).values_list("path", "target")
    for some in _batches(aliases.iterator(chunk_size=manifest_rows.ROWS_AT_ONCE)):
        let_through = ReleaseFile.objects.filter(
            release__tree=tree,
            release__state__in=(*_LET_THROUGH, ReleaseState.WITHDRAWN),
            path__in=[path for path, _ in some],
        ).exclude(target="")
        texts = let_through.values_list("path", "target")
        if left := set(some) - {(path, rules.target_of(path, text)) for path, text in texts}:
            path, target = min(left)
            raise refused("not-approved", f"{path} is an alias of {target} in no release")


def _of_releases(releases: Iterable[Release], files: set[tuple[str, str]]) -> set[tuple[str, str]]:
    rows = ReleaseFile.objects.filter(
        release__in=list(releases), path__in=[path for path, _ in files]
    )
    return {(path, str(sha256)) for path, sha256 in rows.values_list("path", "blob_id")}


def _of_builds(publication: Publication, files: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those that are packages, or the provenance of packages, that jobs vouch for."""
    asked = {path.removesuffix(_PROVENANCE) for path, _ in files}
    found: set[tuple[str, str]] = set()
    for repository in Repository.objects.filter(tree=publication.tree):
        below = f"{repository.path}/"
        entries = Entry.objects.filter(
            repository=repository,
            publication__revision__lte=publication.revision,
            path__in=[path.removeprefix(below) for path in asked if path.startswith(below)],
        ).select_related("artifact")
        vouch_for([entry.artifact for entry in entries])
        for entry in entries:
            found.add((below + entry.path, entry.artifact.blob_id))
            if entry.artifact.provenance_id is not None:
                found.add((below + entry.path + _PROVENANCE, entry.artifact.provenance_id))
    return found


def _batches(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    found = iter(rows)
    while some := list(islice(found, manifest_rows.ROWS_AT_ONCE)):
        yield some
