"""`commonfarm user`: who may do what here."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import typer

app = typer.Typer()
user = typer.Typer(help="Who may do what here.", no_args_is_help=True)
app.add_typer(user, name="user")

JSON = typer.Option(False, "--json", help="Print the API's answer.")


class RoleName(StrEnum):
    """The roles, each of which may do all that those before it may (`accounts.models.Role`)."""

    READER = "reader"
    SUBMITTER = "submitter"
    COORDINATOR = "coordinator"
    ADMIN = "admin"


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()


@user.command()
def add(
    name: str,
    role: RoleName = typer.Option(RoleName.READER, help="What they may do."),
    as_json: bool = JSON,
) -> None:
    """Add a user, who signs in by a link at first."""
    made = _hub().post("/accounts/users", {"username": name, "role": role.value})
    if as_json:
        typer.echo(json.dumps(made))
    else:
        typer.echo(f"{made['username']} is a {made['role']} now.")
        typer.echo(f"Let them in: commonfarm user sign-in-link {made['username']}")


@user.command()
def sign_in_link(name: str, as_json: bool = JSON) -> None:
    """Print a link that signs a user in once, within 15 minutes."""
    from urllib.parse import quote

    made = _hub().post(f"/accounts/users/{quote(name, safe='')}/sign-in-link")
    typer.echo(json.dumps(made) if as_json else made["url"])


@user.command("list")
def list_users(as_json: bool = JSON) -> None:
    """List the users and their roles."""
    found = _hub().get("/accounts/users")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        seen = (one["last_sign_in_at"] or "never signed in")[:19].replace("T", " ")
        off = "" if one["active"] else "  (not active)"
        typer.echo(f"{one['username']:<20} {one['role']:<12} {seen}{off}")
