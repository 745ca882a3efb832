"""`commonfarm user` and `commonfarm token`: who may do what here."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import typer

app = typer.Typer()
user = typer.Typer(help="Who may do what here.", no_args_is_help=True)
app.add_typer(user, name="user")
token = typer.Typer(help="API tokens, with which programs act as a user.", no_args_is_help=True)
app.add_typer(token, name="token")

JSON = typer.Option(False, "--json", help="Print the API's answer.")
OF = typer.Option(None, "--user", metavar="NAME", help="Whose, if not your own; for admins.")


class RoleName(StrEnum):
    """The roles, each of which may do all that those before it may (`accounts.models.Role`)."""

    READER = "reader"
    SUBMITTER = "submitter"
    COORDINATOR = "coordinator"
    ADMIN = "admin"


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/accounts/users/{quote(name, safe='')}"


def _tell(answer: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(answer) if as_json else text)


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
    made = _hub().post(f"{_path(name)}/sign-in-link")
    typer.echo(json.dumps(made) if as_json else made["url"])


@user.command("role")
def change_role(name: str, role: RoleName, as_json: bool = JSON) -> None:
    """Change what a user may do."""
    changed = _hub().post(f"{_path(name)}/role", {"role": role.value})
    _tell(changed, f"{changed['username']} is a {changed['role']} now.", as_json)


@user.command()
def deactivate(name: str, as_json: bool = JSON) -> None:
    """Close an account: its sessions, tokens and links end at once."""
    changed = _hub().post(f"{_path(name)}/deactivate")
    told = f"{changed['username']} is out: sessions, tokens and sign-in links have ended."
    _tell(changed, told, as_json)


@user.command()
def activate(name: str, as_json: bool = JSON) -> None:
    """Open a closed account again."""
    changed = _hub().post(f"{_path(name)}/activate")
    told = (
        f"{changed['username']} may sign in again, as {changed['role']}."
        " Tokens of before stay ended."
    )
    _tell(changed, told, as_json)


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


@token.command("list")
def list_tokens(of: str | None = OF, as_json: bool = JSON) -> None:
    """List the tokens that are good, by number."""
    found = _hub().get("/accounts/tokens", user=of)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        made = one["created_at"][:19].replace("T", " ")
        typer.echo(f"{one['id']:>6}  {one['user']:<20} {made}  {one['name']}")


@token.command()
def make(what_for: str, of: str | None = OF, as_json: bool = JSON) -> None:
    """Make a token and print it; it cannot be read again.

    Programs send it as `Authorization: Bearer TOKEN`; the command line reads it from
    COMMONFARM_TOKEN.
    """
    made = _hub().post("/accounts/tokens", {"name": what_for, "user": of})
    typer.echo(json.dumps(made) if as_json else made["token"])


@token.command()
def revoke(number: int) -> None:
    """End the token of this number at once (`token list` numbers them)."""
    _hub().delete(f"/accounts/tokens/{number}")
    typer.echo(f"Token {number} has ended.")
