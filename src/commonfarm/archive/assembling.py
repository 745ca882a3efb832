"""What a revision adds to the one before it: the cost of a publication is that of what is new.

The indexes of the published revision before are extended; packages never leave the pool. Every
WHOLE_EVERY revisions, after a revision that failed, and when a repository, suite or architecture is
new, everything is written anew from the tables.
"""

from __future__ import annotations

from commonfarm.archive import distributions, index
from commonfarm.archive.models import Publication, PublicationState
from commonfarm.archive.trees import WHOLE_EVERY, files_of
from commonfarm.estate.interface import Repository
from commonfarm.store.interface import Blob, put_bytes, read

Base = tuple[bytes, bytes]
"""An index that was published before: its text, and the same as gzip."""


def extends(publication: Publication) -> int:
    """Return the revision that this one extends, or 0 when it is written as a whole."""
    before = publication.revision - 1
    if publication.revision % WHOLE_EVERY == 0:
        return 0
    published = Publication.objects.filter(
        tree=publication.tree, revision=before, state=PublicationState.PUBLISHED
    )
    if not published.exists():
        return 0
    return before if _hashes(publication, before) is not None else 0


def new_files(publication: Publication) -> tuple[dict[str, Blob], int]:
    """Return the files that a revision adds or changes, by path, and the revision it extends.

    When that is 0, they are all of its files. They are in the store when this returns.
    """
    since = extends(publication)
    bases = _bases(publication, since) if since else {}
    if not bases:
        since = 0
    wanted: dict[str, Blob] = {}
    for distribution in distributions.of(publication, since=since):
        listed: list[index.File] = []
        for architecture in distribution.architectures:
            path = distribution.packages_path(architecture)
            old_text, old_gzip = bases.get(f"{distribution.folder}/{path}", (b"", b""))
            text = old_text + distribution.packages(architecture)
            packed = index.extend_gzip(old_text, old_gzip, text)
            for name, content in ((path, text), (f"{path}.gz", packed)):
                blob = put_bytes(content)
                listed.append(index.File(name, blob.size, blob.sha256))
                wanted[f"{distribution.folder}/{name}"] = blob
                wanted[f"{distribution.folder}/{index.by_hash(path, blob.sha256)}"] = blob
        wanted[f"{distribution.folder}/Release"] = put_bytes(
            distribution.release(publication, listed)
        )
        for entry in distribution.entries:
            wanted[f"{distribution.repository.path}/{entry.path}"] = entry.artifact.blob
    return wanted, since


def index_folders(publication: Publication) -> list[str]:
    """Return the folders of the tree that hold indexes, each with a slash behind it."""
    paths = Repository.objects.filter(tree=publication.tree).values_list("path", flat=True)
    return [f"{path}/dists/" for path in paths]


def _hashes(publication: Publication, revision: int) -> dict[str, str] | None:
    """Return the hashes of all indexes by path, or None if the revision does not have them all."""
    wanted = [
        f"{one.folder}/{one.packages_path(architecture)}{suffix}"
        for one in distributions.of(publication, since=publication.revision)
        for architecture in one.architectures
        for suffix in ("", ".gz")
    ]
    files = files_of(publication.tree, revision).filter(path__in=wanted)
    found = dict(files.values_list("path", "blob_id"))
    return found if len(found) == len(wanted) else None


def _bases(publication: Publication, revision: int) -> dict[str, Base]:
    """Return what the indexes of a revision hold, by path; nothing when one is damaged."""
    hashes = _hashes(publication, revision) or {}
    bases = {}
    for path in hashes:
        if path.endswith(".gz"):
            continue
        base = (read(hashes[path]), read(hashes[f"{path}.gz"]))
        if [*map(index.digest, base)] != [hashes[path], hashes[f"{path}.gz"]]:
            return {}
        bases[path] = base
    return bases
