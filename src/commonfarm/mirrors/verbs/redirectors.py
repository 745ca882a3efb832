"""`commonfarm mirror redirector`: redirectors on other machines, which send their counts."""

from __future__ import annotations

import json
from urllib.parse import quote

import typer

from commonfarm.mirrors.verbs.hub import AS_JSON, YES, hub, table, tell

redirector = typer.Typer(
    help="Redirectors on other machines, which send their counts.", no_args_is_help=True
)


@redirector.command()
def add(name: str, as_json: bool = AS_JSON) -> None:
    """Let a redirector send its counts; its token is printed this once."""
    made = hub().post("/mirrors/redirectors", {"name": name})
    tell(made, made["token"], as_json)


@redirector.command("list")
def list_redirectors(as_json: bool = AS_JSON) -> None:
    """List them, and when each was heard of."""
    rows = hub().get("/mirrors/redirectors")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [(row["name"], row["added_by"], row["heard_at"] or "never") for row in rows]
    none = "no redirectors on other machines: commonfarm mirror redirector add NAME"
    table(("redirector", "added by", "heard of"), cells, none)


@redirector.command()
def remove(name: str, yes: bool = YES) -> None:
    """End the token of a redirector at once; what it counted stays."""
    if not yes:
        typer.confirm(f"End the token of the redirector {name}?", abort=True)
    hub().delete(f"/mirrors/redirectors/{quote(name, safe='')}")
    typer.echo(f"{name} is removed")
