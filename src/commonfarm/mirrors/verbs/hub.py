"""What the verbs that ask the hub share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import typer

from commonfarm.lib.terminal import harmless, print_table

AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")
YES = typer.Option(False, "--yes", help="Do not ask whether to do it.")


def hub() -> Any:
    """Return the client of the hub."""
    from commonfarm.http.session import hub as client

    return client()


def path(name: str) -> str:
    """Return the API's path of a mirror."""
    return f"/mirrors/{quote(name, safe='')}"


def tell(shown: Any, text: str, as_json: bool) -> None:
    """Print the API's answer, or what it means."""
    typer.echo(json.dumps(shown, indent=2) if as_json else harmless(text, "\n"))


def table(columns: Iterable[str], rows: Sequence[Iterable[str]], none: str) -> None:
    """Print rows below the names of their columns, or what is to be said where there are none."""
    if not rows:
        typer.echo(none)
        return
    print_table(columns, rows)
