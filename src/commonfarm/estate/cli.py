"""`commonfarm estate`: check, load and show what the estate's YAML says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from commonfarm.estate.showing import as_text
from commonfarm.estate.verbs import (
    checking,
    cliffs,
    drawing,
    exchanging,
    following,
    forecasting,
    offering,
    planning,
    verifying,
    wanting,
)
from commonfarm.estate.verbs.options import AS_JSON, DIRECTORY

app = typer.Typer()
estate = typer.Typer(
    help="What is needed, what there is and until when, and what is built of it.",
    no_args_is_help=True,
)
app.add_typer(estate, name="estate")
estate.add_typer(exchanging.exports, name="export")
estate.add_typer(exchanging.imports, name="import")

SECTIONS = ("hosts", "pools", "targets", "projects", "trees")

estate.command()(checking.check)
estate.command()(checking.schema)
estate.command()(cliffs.cliff)
estate.command()(following.follow)
estate.command()(forecasting.forecast)
estate.command()(offering.offer)
estate.command()(planning.plan)
estate.command()(verifying.verify)
estate.command()(wanting.wanted)
estate.command("map")(drawing.draw_map)


@estate.command()
def load(directory: Path = DIRECTORY, as_json: bool = AS_JSON) -> None:
    """Have the hub of this machine load an estate; what left it is retired."""
    made = _hub().post("/estate/load", {"directory": str(directory.resolve())})
    if as_json:
        typer.echo(json.dumps(made, indent=2))
        return
    for change in made["changes"]:
        typer.echo(change)
    typer.echo(f"{made['origin']} is in force since {made['at'][:19].replace('T', ' ')} UTC")


@estate.command()
def show(as_json: bool = AS_JSON) -> None:
    """Show the estate in force; `host` as what it was resolved to."""
    client = _hub()
    found: dict[str, list[dict[str, Any]]] = {
        section: client.get(f"/estate/{section}") for section in SECTIONS
    }
    followed = following.followed(client)
    if as_json:
        typer.echo(json.dumps({**found, "following": followed}, indent=2))
        return
    for line in following.lines(followed) if followed else ():
        typer.echo(line)
    for section, rows in found.items():
        typer.echo(f"{section}:" if rows else f"{section}: none")
        for row in rows:
            typer.echo(f"  {row['name']}")
            for key, value in row.items():
                if key != "name":
                    typer.echo(f"    {key}: {as_text(value)}")


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()
