"""What a revision adds to the one before it: the cost of a publication is that of what is new.

The indexes of the published revision before are extended; packages never leave the pool. Every
WHOLE_EVERY revisions they are packed anew. After a revision that failed, and when a repository,
suite or architecture is new, everything is written anew from the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonfarm.archive import distributions, index
from commonfarm.archive.distributions import Distribution
from commonfarm.archive.models import Entry, Publication, PublicationState
from commonfarm.archive.trees import WHOLE_EVERY, current_revision, files_of
from commonfarm.estate.interface import Repository
from commonfarm.store.interface import Blob, blob_path, put_all, put_bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Where a revision starts from: the one it extends, and the hashes of that one's indexes.

    `since` is 0 for a revision that is written as a whole. `distributions` have what is new.
    """

    since: int
    distributions: list[Distribution]
    hashes: dict[str, str]


def start(publication: Publication) -> Start:
    """Return what a revision starts from."""
    before = publication.revision - 1
    published = Publication.objects.filter(
        tree=publication.tree, revision=before, state=PublicationState.PUBLISHED
    )
    if published.exists():
        found = distributions.of(publication, since=before)
        wanted = [
            f"{one.folder}/{one.packages_path(architecture)}{suffix}"
            for one in found
            for architecture in one.architectures
            for suffix in ("", *index.PACKINGS)
        ]
        files = files_of(publication.tree, before).filter(path__in=wanted)
        hashes = dict(files.values_list("path", "blob_id"))
        if len(hashes) == len(wanted) and not any(map(_is_damaged, hashes.values())):
            return Start(before, found, hashes)
    return Start(0, distributions.of(publication), {})


def new_files(publication: Publication, begin: Start) -> dict[str, Blob]:
    """Return the files that a revision adds to or changes of the one it extends, by path.

    They are in the store when this returns.
    """
    wanted: dict[str, Blob] = {}
    repack = publication.revision % WHOLE_EVERY == 0
    for distribution in begin.distributions:
        contents: dict[str, bytes] = {}
        for architecture in distribution.architectures:
            path = distribution.packages_path(architecture)
            old = {
                suffix: _read(begin.hashes[f"{distribution.folder}/{path}{suffix}"])
                if begin.since and not (suffix and repack)
                else b""
                for suffix in ("", *index.PACKINGS)
            }
            text = old[""] + distribution.packages(architecture)
            contents[path] = text
            for suffix in index.PACKINGS:
                contents[path + suffix] = index.extend(suffix, old[""], old[suffix], text)
        stored = dict(zip(contents, put_all(list(contents.values())), strict=True))
        for name, blob in stored.items():
            wanted[f"{distribution.folder}/{name}"] = blob
            wanted[f"{distribution.folder}/{index.by_hash(name, blob.sha256)}"] = blob
        listed = [index.File(name, blob.size, blob.sha256) for name, blob in stored.items()]
        wanted[f"{distribution.folder}/Release"] = put_bytes(
            distribution.release(publication, listed)
        )
        for entry in distribution.entries:
            wanted[f"{distribution.repository.path}/{entry.path}"] = entry.artifact.blob
    return wanted


def new_entries(publication: Publication) -> list[Entry]:
    """Return the packages of a revision that users do not see yet."""
    seen = current_revision(publication.tree)
    entries = Entry.objects.filter(
        repository__tree=publication.tree,
        publication__revision__gt=seen,
        publication__revision__lte=publication.revision,
    )
    return list(entries.select_related("repository", "artifact__provenance").order_by("pk"))


def is_outdated(publication: Publication) -> bool:
    """Say whether the estate wants other indexes than were assembled.

    A Release file tells its suite, architectures and validity in its head. A damaged one tells
    nothing.
    """
    wanted = {
        f"{one.folder}/Release": one.release(publication, [])
        for one in distributions.of(publication, since=publication.revision)
    }
    files = files_of(publication.tree, publication.revision).filter(path__in=list(wanted))
    assembled = dict(files.values_list("path", "blob_id"))
    return wanted.keys() != assembled.keys() or any(
        not _is_damaged(sha256) and not _read(sha256).startswith(wanted[path])
        for path, sha256 in assembled.items()
    )


def index_folders(publication: Publication) -> list[str]:
    """Return the folders of the tree that hold indexes, each with a slash behind it."""
    paths = Repository.objects.filter(tree=publication.tree).values_list("path", flat=True)
    return [f"{path}/dists/" for path in paths]


def _is_damaged(sha256: str) -> bool:
    try:
        return index.digest(_read(sha256)) != sha256
    except OSError:
        return True


def _read(sha256: str) -> bytes:
    """Return the bytes of a blob whose row is known: a file of the tree has it."""
    return blob_path(sha256).read_bytes()
