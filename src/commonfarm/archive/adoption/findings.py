"""What a look at a folder found to differ from the rows: kept by the database until it is applied.

In temporary tables of its session, so that memory is bounded, no transaction stays open while a
folder is walked, and a process that is killed leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import connection

from commonfarm.archive.adoption.comparing import File, Gone, Left, New, Row, Same, Waits
from commonfarm.archive.releases import rules
from commonfarm.estate.interface import ReleaseTree

BATCH = 5000
_TABLES = """
    DROP TABLE IF EXISTS adoption_new, adoption_gone;
    CREATE TEMPORARY TABLE adoption_new
        (path text, size bigint, modified_ns bigint, changes boolean);
    CREATE TEMPORARY TABLE adoption_gone (number bigint)
"""
_ROWS = """
    SELECT path, id, size, modified_ns FROM archive_treefile
    WHERE tree_id = %s AND until_revision IS NULL AND path ~>~ %s
    ORDER BY path USING ~<~ LIMIT %s
"""


@dataclass(slots=True)
class Counts:
    """How many files are new, in the place of others, gone, as before, and still being written."""

    new: int = 0
    changed: int = 0
    gone: int = 0
    same: int = 0
    waiting: int = 0

    @property
    def files(self) -> int:
        """How many there are once this is applied."""
        return self.new + self.changed + self.same

    @property
    def before(self) -> int:
        """How many there were."""
        return self.changed + self.gone + self.same

    def __str__(self) -> str:
        return f"{self.new} new, {self.changed} changed, {self.gone} gone"


@dataclass(slots=True)
class Findings:
    """Takes what differs, a batch at a time."""

    patterns: list[str]
    counts: Counts = field(default_factory=Counts)
    _new: list[File] = field(default_factory=list)
    _gone: list[int] = field(default_factory=list)

    def take(self, steps: Iterable[New | Gone | Same | Waits]) -> None:
        """Take all of them; nothing is in memory afterwards."""
        counts = self.counts
        for step in steps:
            match step:
                case Same():
                    counts.same += 1
                case New(file, replaces):
                    self._new.append(file)
                    if replaces is None:
                        counts.new += 1
                    else:
                        counts.changed += 1
                        self._gone.append(replaces)
                case Gone(number):
                    counts.gone += 1
                    self._gone.append(number)
                case Waits():
                    counts.waiting += 1
            if len(self._new) + len(self._gone) >= BATCH:
                self._flush()
        self._flush()

    def _flush(self) -> None:
        with connection.cursor() as cursor:
            with cursor.copy("COPY adoption_new FROM STDIN") as copy:
                for file in self._new:
                    path = file.path.decode()
                    changes = rules.changes(path, self.patterns)
                    copy.write_row((path, file.size, file.modified_ns, changes))
            with cursor.copy("COPY adoption_gone FROM STDIN") as copy:
                for number in self._gone:
                    copy.write_row((number,))
        self._new.clear()
        self._gone.clear()


@contextmanager
def findings(tree: ReleaseTree) -> Iterator[Findings]:
    """Provide a place for what a look finds; what an error leaves there, the next one removes."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
    yield Findings(tree.changing)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE adoption_new, adoption_gone")


def known_files(tree: ReleaseTree) -> Iterator[Row]:
    """Yield what is known of a tree's files, in the order of paths as bytes."""
    last = ""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_ROWS, [tree.pk, last, BATCH])
            rows = cursor.fetchall()
        for path, number, size, modified_ns in rows:
            yield Row(path.encode(), number, size, modified_ns)
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


def noting(files: Iterable[File | Left], left: list[bytes]) -> Iterator[File | Left]:
    """Pass `files` on, and note the folders among them of which nothing is known now."""
    for file in files:
        if isinstance(file, Left) and file.deep:
            left.append(file.path)
        yield file
