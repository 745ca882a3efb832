"""From what was seen of mirrors to the content of a mirror map: a full one, or what changed since.

Of a full map that is in force everything is known from its file: which files it names, and who was
said to have them. The difference to what the tables say now is found on bitmaps, so that only rows
that differ are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.db import connection

from commonfarm.archive.interface import (
    FileColumns,
    TreeFile,
    file_columns,
    file_hashes,
    joined,
    older_versions,
)
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors.bitmaps import Bitmap, Numbers
from commonfarm.redirector.mirror_map import (
    CHANGES,
    FULL,
    GONE,
    Hashes,
    Mirror,
    MirrorMap,
    Override,
    Tree,
)
from commonfarm.redirector.mirror_map.unsigned import read_unsigned
from commonfarm.redirector.mirror_map.writing import Columns, holdings

MOST_CHANGES = 50_000
"""Of one mirror, in a delta; what changed more waits for the next full map."""
MOST_IN_DELTA = 250_000
"""New, changed and gone files for which a delta is made; beyond it a full map is as quick."""
REMOVED = "it is no longer registered"
WAITS = "so much changed there that it waits for the next full map"


@dataclass(frozen=True, slots=True)
class PublishedTree:
    """A tree at the revision that users see, and how the map has it."""

    row: ReleaseTree
    revision: int
    entry: Tree


@dataclass(frozen=True, slots=True)
class Facts:
    """What a map is made of: the trees, the registered mirrors with what they hold, by name, and
    the operator's overrides.
    """

    trees: Sequence[PublishedTree]
    mirrors: Mapping[str, Mirror]
    holdings: Mapping[str, Bitmap]
    overrides: Sequence[Override] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """The mirrors and files of a map. `wants_full`: a delta has grown, or could not have it all."""

    mirrors: Sequence[Mirror]
    columns: Columns
    wants_full: bool = False


class Base:
    """The full map in force, seen as file numbers."""

    def __init__(self, folder: Path, the_map: MirrorMap) -> None:
        self.map = the_map
        part = the_map.full
        self.header = part.header
        rows = read_unsigned(folder / FULL)
        self.rows: Numbers = rows.rows.astype(np.int64)
        self.numbers = Bitmap.of(self.rows)
        self.unhashed: Numbers = self.rows[~rows.sha256.any(axis=1)]
        # By number as `numbers` has them, so that what a mirror holds is looked up and packed.
        sets = np.frombuffer(part.sets, np.uint32)
        self._set_count = int(sets.max()) + 1 if sets.size else 0
        self._sets = np.full(8 * self.numbers.bits.size, self._set_count, np.uint32)
        self._sets[self.rows - self.numbers.first] = sets
        self._held: dict[str, Bitmap] = {}

    @cached_property
    def _set_bits(self) -> npt.NDArray[np.bool_]:
        """Which distinct set has which mirror; the last is that of numbers that are no file's."""
        width = (len(self.header.mirrors) + 7) // 8 or 1
        packed = b"".join(
            self.map.full.bits(number).to_bytes(width, "little")
            for number in range(self._set_count)
        )
        matrix = np.frombuffer(packed + bytes(width), np.uint8).reshape(-1, width)
        return np.unpackbits(matrix, axis=1, bitorder="little").astype(np.bool_)

    def held(self, number: int) -> Bitmap:
        """Return which files it says that mirror `number` has."""
        name = self.header.mirrors[number].name
        if name not in self._held:
            has = np.ascontiguousarray(self._set_bits[:, number])[self._sets]
            self._held[name] = Bitmap(self.numbers.first, np.packbits(has, bitorder="little"))
        return self._held[name]


def full(facts: Facts) -> Content:
    """Return all that users see."""
    mirrors = list(facts.mirrors.values())
    parts: list[FileColumns] = []
    bits = dict(facts.holdings)
    for tree in facts.trees:
        found = _named(tree, joined(file_columns(tree.row, tree.revision)))
        parts.append(found)
        _count_older(tree, found, mirrors, bits)
    files = joined(parts)
    hashes = (
        one
        for tree, part in zip(facts.trees, parts, strict=True)
        for one in _aligned(part.numbers, file_hashes(tree.row, tree.revision))
    )
    return Content(mirrors, _columns(files, [bits.get(one.name) for one in mirrors], hashes))


def delta(base: Base, facts: Facts) -> Content | None:
    """Return what changed since `base`; None when only a full map can say it."""
    before = {one.name: one for one in base.header.mirrors}
    trees = {tree.entry.name: tree for tree in facts.trees}
    if not base.header.trees.keys() <= trees.keys():
        return None
    if any(
        one.name in before and before[one.name].tree != one.tree for one in facts.mirrors.values()
    ):
        return None
    mirrors = [
        facts.mirrors.get(one.name) or replace(one, problem=REMOVED) for one in before.values()
    ]
    mirrors += [one for one in facts.mirrors.values() if one.name not in before]

    bits = dict(facts.holdings)
    new: list[FileColumns] = []
    gone: list[bytes] = []
    stirred: list[int] = []
    for name, tree in trees.items():
        since = base.header.trees[name].revision if name in base.header.trees else 0
        fresh = _named(
            tree, joined(file_columns(tree.row, tree.revision, since=_after(since, tree)))
        )
        new.append(fresh)
        gone += _gone(tree, since, set(fresh.paths))
        stirred += _stirred(tree, since)
        in_place = file_columns(tree.row, tree.revision, only_changing=True)
        _count_older(tree, _named(tree, joined(in_place)), mirrors, bits)
    changed, some_wait = _changed(base, mirrors, bits)
    changed = changed | (Bitmap.of(stirred) & base.numbers) | _hashed(base)
    if len(changed) + len(gone) + sum(len(one.numbers) for one in new) > MOST_IN_DELTA:
        return None
    if len(changed):
        wanted = changed.numbers().tolist()
        new += [
            _named(tree, joined(file_columns(tree.row, tree.revision, numbers=wanted)))
            for tree in trees.values()
        ]
    files = joined(new)
    numbers = files.numbers.tolist()
    hashes = {
        number: found
        for tree in trees.values()
        for number, found in file_hashes(tree.row, tree.revision, numbers=numbers)
    }
    columns = _columns(
        files,
        [bits.get(one.name) for one in mirrors],
        [hashes.get(number) for number in numbers],
        gone,
    )
    grown = len(columns.paths) > min(MOST_CHANGES, max(base.header.files // 20, 2000))
    return Content(mirrors, columns, grown or some_wait)


def _after(since: int, tree: PublishedTree) -> range:
    return range(since + 1, tree.revision + 1)


def _named(tree: PublishedTree, files: FileColumns) -> FileColumns:
    """Return the files with paths as the map has them."""
    prefix = f"{tree.entry.name}/".encode()
    return replace(files, paths=[prefix + path for path in files.paths])


def _count_older(
    tree: PublishedTree, files: FileColumns, mirrors: Iterable[Mirror], bits: dict[str, Bitmap]
) -> None:
    """Have who has a kept older version of a file that changes in place count as having it."""
    prefix = len(tree.entry.name) + 1
    current = {
        files.paths[row][prefix:]: files.numbers[row] for row in np.flatnonzero(files.changes)
    }
    pairs = [
        (current[path], one.number)
        for path, versions in older_versions(tree.row, tree.revision).items()
        if path in current
        for one in versions
    ]
    if not pairs:
        return
    now, older = np.array(pairs, np.int64).T
    for mirror in mirrors:
        if mirror.tree == tree.entry.name and mirror.name in bits:
            held = bits[mirror.name]
            bits[mirror.name] = held | Bitmap.of(now[held.has(older)])


def _gone(tree: PublishedTree, since: int, replaced: set[bytes]) -> list[bytes]:
    rows = TreeFile.objects.filter(
        tree=tree.row,
        since_revision__lte=since,
        until_revision__gt=since,
        until_revision__lte=tree.revision,
    )
    paths = (f"{tree.entry.name}/{path}".encode() for path in rows.values_list("path", flat=True))
    return [path for path in paths if path not in replaced]


def _stirred(tree: PublishedTree, since: int) -> list[int]:
    """Return the current files of which an older version is kept no more."""
    keep = tree.row.keep_revisions
    over = TreeFile.objects.filter(
        tree=tree.row,
        changes=True,
        until_revision__gt=since - keep,
        until_revision__lte=tree.revision - keep,
    )
    current = TreeFile.objects.filter(
        tree=tree.row, until_revision=None, path__in=over.values_list("path", flat=True)
    )
    return list(current.values_list("pk", flat=True))


def _hashed(base: Base) -> Bitmap:
    """Return the files whose hash was not known to `base` and is now."""
    if not base.unhashed.size:
        return Bitmap.of(())
    query = (  # a million numbers are one value, found by the index tree_file_unread
        "SELECT coalesce(string_agg(int8send(id), ''), '') FROM archive_treefile"
        " WHERE sha256 = '' AND until_revision IS NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        [unread] = cursor.fetchone() or [b""]
    numbers = np.frombuffer(unread, ">i8").astype(np.int64)
    return Bitmap.of(base.unhashed) - Bitmap.of(numbers)


def _changed(base: Base, mirrors: list[Mirror], bits: dict[str, Bitmap]) -> tuple[Bitmap, bool]:
    """Return the files of `base` that other mirrors have now; and whether a mirror must wait.

    Of one with too many changes the delta says what `base` says, and what it has of new files. If
    it lost files, nobody is sent there until the next full map.
    """
    changed, some_wait, none = Bitmap.of(()), False, Bitmap.of(())
    for number, mirror in enumerate(mirrors):
        if mirror.problem == REMOVED:
            continue
        now = bits.get(mirror.name, none)
        before = base.held(number) if number < len(base.header.mirrors) else none
        differs = (now ^ before) & base.numbers
        if len(differs) <= MOST_CHANGES:
            changed = changed | differs
            continue
        some_wait = True
        bits[mirror.name] = before | (now - base.numbers)
        if len(differs & before):
            mirrors[number] = replace(mirror, problem=mirror.problem or WAITS)
    return changed, some_wait


def _columns(
    files: FileColumns,
    bits: Sequence[Bitmap | None],
    hashes: Iterable[Hashes | None],
    gone: Sequence[bytes] = (),
) -> Columns:
    count, zeros = len(files.numbers), np.zeros(len(gone), np.int64)
    held = (one.has(files.numbers) if one is not None else None for one in bits)
    table = holdings(held, count)
    return Columns(
        paths=[*files.paths, *gone],
        sizes=np.concatenate([files.sizes, zeros]),
        sha256=np.concatenate([files.sha256, np.zeros((len(gone), 32), np.uint8)]),
        rows=np.concatenate([files.numbers, zeros]),
        flags=np.concatenate([np.where(files.changes, CHANGES, 0), zeros + GONE]),
        holdings=np.concatenate([table, np.zeros((len(gone), table.shape[1]), np.uint8)]),
        mirrors_from=np.concatenate([files.mirrors_from, zeros]),
        hashes=chain(hashes, repeat(None, len(gone))),
    )


def _aligned(numbers: Numbers, hashes: Iterator[tuple[int, Hashes]]) -> Iterator[Hashes | None]:
    """Yield the hashes of each of `numbers`, which ascend as those do. All of `hashes` is read."""
    number, found = next(hashes, (-1, None))
    for wanted in numbers.tolist():
        while found is not None and number < wanted:
            number, found = next(hashes, (-1, None))
        yield found if number == wanted else None
    for _ in hashes:
        pass
