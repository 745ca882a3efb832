"""`commonfarm journal`: what happened, on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import typer

from commonfarm.lib.terminal import harmless

app = typer.Typer()
journal = typer.Typer(help="What happened, in order.", no_args_is_help=True)
app.add_typer(journal, name="journal")

LOOK_SECONDS = 1.0


@journal.command()
def tail(
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on as more happens."),
    lines: int = typer.Option(20, "--lines", "-n", min=1, max=500, help="How many to begin with."),
    subject: str | None = typer.Option(None, help="Only what happened to this (build:12)."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object per line."),
) -> None:
    """Print the end of the journal."""
    for entry in _entries(follow, lines, subject):
        typer.echo(json.dumps(entry) if as_json else _line(entry))


def _entries(follow: bool, lines: int, subject: str | None) -> Iterator[dict[str, Any]]:
    from commonfarm.http.session import hub

    client = hub()
    # The place is that of the whole journal, so that a subject of which nothing is written yet
    # is followed from now on.
    newest = client.get("/journal/latest", limit=1)
    place = newest[-1]["cursor"] if newest else None
    yield from client.get("/journal/latest", limit=lines, subject=subject)
    while follow:
        for entry in client.pages("/journal", after=place, subject=subject):
            place = entry["cursor"]
            yield entry
        time.sleep(LOOK_SECONDS)


def _line(entry: dict[str, Any]) -> str:
    at = datetime.fromisoformat(entry["at"])
    why = f": {entry['why']}" if entry["why"] else ""
    text = f"{at:%Y-%m-%d %H:%M:%S}  {entry['what']}  {entry['subject']}  ({entry['who']}){why}"
    return harmless(text)
