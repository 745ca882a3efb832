"""A folder beside what is known of it: both in the order of paths, so that a million files of each
pass by a few at a time. Pure functions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from commonfarm.archive.releases import rules
from commonfarm.archive.releases.application_tree import Found, Unseen, entry_problems
from commonfarm.archive.releases.rules import shown_path
from commonfarm.lib.errors import Problem

MOST_TOLD = 50
MOST_NS = 2**63 - 1
"""The database holds no later time; file systems do (the year 2262)."""


class File(NamedTuple):
    """A plain file that all may read: its path, bytes, and when they and it were last changed."""

    path: bytes
    size: int
    modified_ns: int
    changed_ns: int


class Left(NamedTuple):
    """What cannot be judged now: what is known of it stays, and what is below it (if `deep`)."""

    path: bytes
    deep: bool = True


class Row(NamedTuple):
    """A file as it is known."""

    path: bytes
    number: int
    size: int
    modified_ns: int | None


class New(NamedTuple):
    """A file to be known from now on, in the place of row number `replaces`, if of any."""

    file: File
    replaces: int | None


class Gone(NamedTuple):
    """A row whose file is no longer there."""

    number: int


class Waits(NamedTuple):
    """A file that may still be written."""

    path: bytes


class Same(NamedTuple):
    """A row that stays as it is; its file was seen, or could not be judged."""

    number: int


@dataclass(slots=True)
class Judged:
    """What a folder holds besides files: `texts` of links by path, and what is wrong, counted."""

    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def blame(self, *problems: Problem) -> None:
        """Note faults; of very many the first are kept."""
        self.count += len(problems)
        self.problems += problems[: max(0, MOST_TOLD - len(self.problems))]


def judge(found: Iterable[Found | Unseen], judged: Judged) -> Iterator[File | Left]:
    """Yield the files of a folder, in its order, and put all else into `judged`."""
    odd = b""  # a folder whose name cannot be, or that not all may enter: so is what lies in it
    for one in found:
        if odd and one.path.startswith(odd):
            continue
        path = os.fsdecode(one.path)
        place = shown_path(path)
        if isinstance(one, Unseen):
            what, to_do = f"cannot be looked at: {one.why}", "let the worker's user read it"
            judged.blame(Problem(place, 0, 0, what, to_do))
            yield Left(one.path)
            continue
        mode = one.status.st_mode
        if (problem := rules.path_problem(path)) is not None and path != ".":
            judged.blame(problem)
            odd = one.path + b"/"
            continue
        problems = entry_problems(one, place, (one.status.st_uid,))
        judged.blame(*problems)
        if problems and one.path != b".":
            if stat.S_ISDIR(mode):
                odd = one.path + b"/"
            yield Left(one.path, deep=stat.S_ISDIR(mode))
        elif stat.S_ISLNK(mode):
            if len(judged.texts) < rules.MOST_ALIASES:
                judged.texts[path] = os.fsdecode(one.text)
            else:
                what = f"is a link, and {rules.MOST_ALIASES} are the most"
                judged.blame(Problem(place, 0, 0, what, "put files in the place of links"))
        elif stat.S_ISREG(mode):
            status = one.status
            modified_ns = min(status.st_mtime_ns, MOST_NS)
            yield File(one.path, status.st_size, modified_ns, status.st_ctime_ns)


def compare(
    files: Iterable[File | Left], rows: Iterable[Row], quiet_ns: Callable[[bytes], int]
) -> Iterator[New | Gone | Same | Waits]:
    """Yield what becomes of each row and each file; all come in the order of their paths as bytes.

    A file that is new or differs, and was changed after what `quiet_ns` says of its path, may still
    be written: it Waits, and its row stays.
    """
    left: list[bytes] = []  # what covers the rows to come

    def of_row(row: Row) -> Gone | Same:
        nonlocal left
        left = [one for one in left if row.path <= one or row.path < one + b"0"]
        kept = any(row.path == one or row.path.startswith(one + b"/") for one in left)
        return Same(row.number) if kept else Gone(row.number)

    known = iter(rows)
    row = next(known, None)
    for file in files:
        while row is not None and row.path < file.path:
            yield of_row(row)
            row = next(known, None)
        if isinstance(file, Left):
            left.append(file.path)
            continue
        there = row if row is not None and row.path == file.path else None
        if there is not None:
            row = next(known, None)
        if there and (there.size, there.modified_ns) == (file.size, file.modified_ns):
            yield Same(there.number)
        elif file.changed_ns > quiet_ns(file.path):
            yield Waits(file.path)
            if there is not None:
                yield Same(there.number)
        else:
            yield New(file, there.number if there is not None else None)
    while row is not None:
        yield of_row(row)
        row = next(known, None)
