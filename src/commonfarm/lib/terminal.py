"""Text of others on a terminal, which obeys what it is shown."""

from __future__ import annotations

from collections.abc import Iterable


def harmless(text: str, kept: str = "") -> str:
    """Return `text` with `?` for all that cannot be printed, but for the characters in `kept`."""
    return "".join(one if one.isprintable() or one in kept else "?" for one in text)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows below the names of their columns, None as nothing. No cell is cut short."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:  # as texts: a bracket in a name is no markup
        table.add_row(*(Text("" if cell is None else harmless(str(cell))) for cell in row))
    Console().print(table)
