"""CSV files of NetBox, read so that nothing in them surprises: rows by columns, with their lines.

What is in a file is seen by its columns: those of NetBox's import forms, or the headings of its
exported tables, which are the same words but for case, spaces and units in brackets.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless

MOST_ROWS = 20_000
_DELIMITERS = ",;\t|"
# The first kind of which a file has one of the columns.
_KINDS = (
    ("prefixes", {"prefix"}),
    ("devices", {"device_type", "rack", "manufacturer", "device_role"}),
    ("machines", {"vcpus", "memory", "cluster"}),
    ("addresses", {"address"}),
    ("machines", {"device"}),
    ("clusters", {"type"}),
    ("sites", {"slug", "facility", "region", "time_zone", "status"}),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, stripped, and where it stands."""

    file: str
    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def first(self, *columns: str) -> str:
        """Return the first of these columns that has something in it."""
        return next((self[column] for column in columns if self[column]), "")

    @property
    def where(self) -> str:
        """Return file and line, for the source of what is made of it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Table:
    """One file: which things are in it, its columns and rows."""

    file: str
    kind: str
    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)


def table(file: str, data: bytes) -> Table:
    """Return the rows of a file; raise BadInputError with what is wrong with it."""
    text = _text(file, data)
    rows = _cells(file, text)
    line, head = next(rows, (1, []))
    columns = tuple(_column(cell) for cell in head)
    kind = next((kind for kind, some in _KINDS if some & set(columns)), None)
    twice = sorted({name for name in columns if columns.count(name) > 1 and name})
    if twice:
        what = f"the column {twice[0]!r:.80} is there twice"
        raise _bad(file, line, what, "take one of them away")
    if kind is None or (kind not in ("prefixes", "addresses") and "name" not in columns):
        what = f"the columns {', '.join(harmless(name) for name in columns)[:100]!r} are none known"
        to_do = "give sites, devices, virtual machines, clusters, prefixes or IP addresses"
        raise _bad(file, line, what, to_do)
    made = Table(file, kind, columns)
    for line, cells in rows:
        if len(made.rows) == MOST_ROWS:
            raise _bad(file, line, f"has more than {MOST_ROWS} rows", "split or filter it")
        if len(cells) > len(columns):
            what = f"{len(cells)} cells are here, and {len(columns)} columns"
            raise _bad(file, line, what, "look at its quotes and commas")
        pairs = zip(columns, (cell.strip() for cell in cells), strict=False)
        made.rows.append(Row(file, line, dict(pairs)))
    return made


def _bad(file: str, line: int, what: str, to_do: str) -> BadInputError:
    return BadInputError(Problem(file, line, 0, what, to_do))


def _text(file: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _bad(file, line, "this is not UTF-8", "save the file as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _bad(file, line, "a NUL is in it", "export it again")
    return text


def _cells(file: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines' numbers and cells of all rows that are not empty."""
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _bad(file, reader.line_num, str(error), "look at its quotes") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _column(heading: str) -> str:
    """Return a heading as the import forms have it: `Memory (MB)` is `memory`, `site.name` `site`.

    A column of another field of what it refers to, as `site.slug`, keeps its name.
    """
    plain = re.sub(r"\(.*?\)", "", heading).strip().lower().replace(" ", "_")
    plain = plain.removesuffix(".name")
    return "address" if plain == "ip_address" else plain
