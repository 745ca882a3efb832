"""What the signer checks before it signs a mirror map: every file that it names is published, and
with the size, the hashes and the older revisions that the database says. A map cannot send anybody
to what we do not give out, nor have other bytes taken for ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.utils import timezone

from commonfarm.archive.columns import file_columns, file_hashes
from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.archive.signer.approve import refused
from commonfarm.archive.trees import aliases_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import RefusedError
from commonfarm.redirector.mirror_map import (
    CHANGES,
    DELTA,
    FULL,
    GONE,
    Hashes,
    MapError,
    Tree,
)
from commonfarm.redirector.mirror_map.entries import pack, unpack
from commonfarm.redirector.mirror_map.unsigned import Unsigned, read_unsigned

OUTDATED_FOR = timedelta(minutes=15)
"""A map may be of a revision that another followed so lately: it was under way then."""


def header(folder: Path, generation: int, *, delta: bool) -> bytes:
    """Return the header of the map that lies in `folder` to be signed; RefusedError otherwise."""
    name = f"mirror map {generation}"
    try:
        found = read_unsigned(folder / f".{DELTA if delta else FULL}.new")
        if found.generation != generation:
            raise _bad(name, f"calls itself {found.generation}")
        if bool(found.base) is not delta:
            raise _bad(name, "is a delta" if found.base else "is no delta")
        trees = {tree: _published(name, entry) for tree, entry in found.trees.items()}
        _check_files(name, found, trees)
    except (MapError, OSError) as error:
        raise _bad(name, f"cannot be read: {error}") from None
    return found.header


def _published(name: str, entry: Tree) -> ReleaseTree:
    """Return the tree of an entry that says what the database says."""
    row = ReleaseTree.objects.filter(name=entry.name).first()
    if row is None:
        raise _bad(name, f"names a tree {entry.name!r}, which there is not")
    published = Publication.objects.filter(tree=row, state=PublicationState.PUBLISHED)
    if not published.filter(revision=entry.revision).exists():
        raise _bad(name, f"is of {entry.name}@{entry.revision}, which is not published")
    later = published.filter(revision__gt=entry.revision)
    if later.filter(published_at__lt=timezone.now() - OUTDATED_FOR).exists():
        raise _bad(name, f"is of {entry.name}@{entry.revision}, which is outdated")
    if entry.folder != row.adopts:
        raise _bad(name, f"has {entry.name} in {entry.folder!r}, where it is not")
    if dict(entry.repositories) != row.rpm_repositories:
        raise _bad(name, f"has repositories of {entry.name} that are not declared")
    kept = aliases_of(row, entry.revision).values_list("path", "target")
    if dict(entry.aliases) != dict(kept):
        raise _bad(name, f"has aliases in {entry.name} that are not published")
    return row


def _check_files(name: str, found: Unsigned, trees: Mapping[str, ReleaseTree]) -> None:
    named = np.flatnonzero(found.flags & GONE == 0)
    rows = found.rows[named].astype(np.int64)
    order = np.argsort(rows)
    rows, indexes = rows[order], named[order]
    only = rows.tolist() if found.base else None
    true = np.zeros(len(rows), np.bool_)
    for tree, row in trees.items():
        revision = found.trees[tree].revision
        ours = np.zeros(len(rows), np.bool_)
        for some in file_columns(row, revision, numbers=only):
            at, is_named = _places(rows, some.numbers)
            index = indexes[at]
            paths = found.hash_paths(f"{tree}/".encode() + path for path in some.paths)
            says = found.sha256[index]
            agrees = (says == some.sha256).all(axis=1)
            if row.adopts:  # it is hashed all the while, and a map may say less
                agrees |= ~says.any(axis=1)
            good = (
                is_named
                & (found.path_hashes[index] == paths)
                & (found.sizes[index] == some.sizes.astype(np.uint64))
                & agrees
                & ((found.flags[index] & CHANGES != 0) == some.changes)
            )
            ours[at[good]] = True
        true |= ours
        # No other query can be made before this one is closed.
        with closing(file_hashes(row, revision, numbers=only)) as told:
            number = _forged_hashes(found, rows, indexes, ours, told)
        if number is not None:
            path = TreeFile.objects.get(pk=number).path
            raise _bad(name, f"has hashes of {tree}/{path} that the database does not know")
    if not true.all():
        raise _not_published(name, rows[~true].tolist())


def _forged_hashes(
    found: Unsigned,
    rows: npt.NDArray[np.int64],
    indexes: npt.NDArray[np.intp],
    ours: npt.NDArray[np.bool_],
    told: Iterator[tuple[int, Hashes]],
) -> int | None:
    """Return the first of our files whose further hashes are not those that are known."""
    current = next(told, None)
    for at in np.flatnonzero(ours).tolist():
        number = int(rows[at])
        while current is not None and current[0] < number:
            current = next(told, None)
        says = found.packed_hashes(int(indexes[at]))
        if not says:
            continue
        if current is None or current[0] != number:
            return number
        if says != pack(current[1]) and not _agree(unpack(says), current[1]):
            return number
    return None


def _agree(says: Hashes, known: Hashes) -> bool:
    """Say whether all that `says` says is known; it may say less."""
    alternates = {(one.size, one.sha256): one for one in known.alternates}
    return (
        says.sha1 in (b"", known.sha1)
        and says.md5 in (b"", known.md5)
        and (says.piece_bytes, says.pieces) in ((0, ()), (known.piece_bytes, known.pieces))
        and all(
            (other := alternates.get((one.size, one.sha256))) is not None
            and one.sha1 in (b"", other.sha1)
            and one.md5 in (b"", other.md5)
            for one in says.alternates
        )
    )


def _places(
    rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return where each of `numbers` stands in `rows`, which ascend, and whether it does."""
    if not rows.size:
        return np.zeros(0, np.intp), np.zeros(0, np.bool_)
    at = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
    return at, rows[at] == numbers


def _not_published(name: str, numbers: Sequence[int]) -> RefusedError:
    first = TreeFile.objects.filter(pk__in=numbers[:1]).select_related("tree").first()
    what = f"{first.tree.name}/{first.path}" if first else f"file number {numbers[0]}"
    return _bad(name, f"says of {what} what is not published")


def _bad(name: str, what: str) -> RefusedError:
    return refused("bad-mirror-map", f"{name} {what}")
