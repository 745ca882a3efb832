"""`commonfarm mirror`: the registry of mirrors, and why a download goes where it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from commonfarm.lib.terminal import harmless

app = typer.Typer()
mirror = typer.Typer(
    help="Mirrors, and where downloads are sent.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(mirror, name="mirror")

AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")


@mirror.command()
def add(
    name: str,
    url: str = typer.Option(..., help="The root of its copy of the tree, http or https."),
    tree: str = typer.Option(..., help="The release tree that it carries."),
    country: str = typer.Option(..., help="Where it is: two letters, as in ISO 3166."),
    rsync_url: str = typer.Option("", help="Where others may copy from it by rsync."),
    as_json: bool = AS_JSON,
) -> None:
    """Register a mirror; it is scanned soon after."""
    body = {"name": name, "url": url, "tree": tree, "country": country, "rsync_url": rsync_url}
    _tell(_hub().post("/mirrors", body), f"{name} is registered and will be scanned", as_json)


@mirror.command()
def edit(
    name: str,
    url: str | None = typer.Option(None, help="Its new address; it is scanned there anew."),
    country: str | None = typer.Option(None, help="Two letters, as in ISO 3166."),
    rsync_url: str | None = typer.Option(None, help="Where others may copy from it by rsync."),
    as_json: bool = AS_JSON,
) -> None:
    """Change what is registered of a mirror."""
    asked = {"url": url, "country": country, "rsync_url": rsync_url}
    changes = {key: value for key, value in asked.items() if value is not None}
    _tell(_hub().patch(_path(name), changes), f"{name} is changed", as_json)


@mirror.command()
def enable(name: str, why: str = typer.Option("", help="Why."), as_json: bool = AS_JSON) -> None:
    """Let clients be sent to a mirror again."""
    shown = _hub().patch(_path(name), {"enabled": True, "why": why})
    _tell(shown, f"{name} is enabled and will be scanned", as_json)


@mirror.command()
def disable(name: str, why: str = typer.Option("", help="Why."), as_json: bool = AS_JSON) -> None:
    """Send nobody to a mirror until it is enabled."""
    shown = _hub().patch(_path(name), {"enabled": False, "why": why})
    _tell(shown, f"{name} is disabled", as_json)


@mirror.command()
def remove(
    name: str, yes: bool = typer.Option(False, "--yes", help="Do not ask whether to do it.")
) -> None:
    """Take a mirror from the registry; its history stays."""
    client = _hub()
    shown = client.get(_path(name))
    if not yes:
        typer.confirm(f"Remove the mirror {name} at {shown['url']}?", abort=True)
    client.delete(_path(name))
    typer.echo(f"{name} is removed")


@mirror.command()
def scan(name: str, as_json: bool = AS_JSON) -> None:
    """Have a mirror scanned now; `mirror show` tells when that is done."""
    _tell(_hub().post(f"{_path(name)}/scan"), f"{name} will be scanned", as_json)


@mirror.command("list")
def list_mirrors(as_json: bool = AS_JSON) -> None:
    """List the mirrors and how their last scans found them."""
    rows = list(_hub().pages("/mirrors"))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("mirror", "state", "tree", "country", "files", "address", box=None)
    for row in rows:
        cells = [row[key] for key in ("name", "state", "tree", "country")]
        table.add_row(*map(harmless, [*cells, _files(row), row["url"]]))
    Console().print(table)


@mirror.command()
def show(name: str, as_json: bool = AS_JSON) -> None:
    """Show one mirror and its last scan."""
    found = _hub().get(_path(name))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    last = found["last_scan"] or {}
    lines = {
        "address": found["url"],
        "state": found["state"],
        "tree": found["tree"],
        "country": found["country"],
        "last scan": last.get("finished_at") or "never",
        "files": _files(found),
        "problem": last.get("problem", ""),
        "missing": ", ".join(last.get("missing", [])[:10]),
    }
    for key, value in lines.items():
        if value:
            typer.echo(f"{key + ':':<11}{harmless(value)}")


@mirror.command()
def explain(
    path: str = typer.Argument(..., metavar="TREE/PATH"),
    address: str = typer.Option("127.0.0.1", "--from", help="The address of the client."),
    https: bool = typer.Option(False, "--https", help="The client came by https."),
    map_file: Path | None = typer.Option(None, "--map", help="Another mirror map's file."),
    public_key: Path | None = typer.Option(None, "--key", help="The key that signed it (PEM)."),
    as_json: bool = AS_JSON,
) -> None:
    """Say where a download is sent and why: by the function that redirects, on the map in force.

    Needs no hub. Exit code 1 when no mirror serves the file and it comes from ourselves.
    """
    from commonfarm.redirector.selection import Client, country_of
    from commonfarm.redirector.selection import explain as explain_choice

    where = _address(address)
    client = Client(where, country_of(where), "https" if https else "http")
    choice = explain_choice(_read_map(map_file, public_key), path.lstrip("/"), client)
    if as_json:
        left_out = [
            {
                "mirror": one.name,
                "code": str(reason.code),
                "reason": reason.text,
                "lifted_by": reason.lifted_by,
            }
            for one, reason in choice.excluded
        ]
        document = {
            "path": choice.path,
            "country": client.country,
            "served_by": choice.mirror.name if choice.mirror else "origin",
            "code": str(choice.reason.code),
            "reason": str(choice.reason),
            "mirrors": [one.name for one in choice.mirrors],
            "left_out": left_out,
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        served_by = choice.mirror.name if choice.mirror else "ourselves"
        typer.echo(f"{harmless(choice.path)} is served by {served_by}: {choice.reason}")
        for number, one in enumerate(choice.mirrors[1:], 2):
            typer.echo(f"  {number}. {one.name} ({one.country})")
        for one, reason in choice.excluded:
            typer.echo(f"  not {one.name} ({one.country}): {harmless(str(reason))}")
    if choice.mirror is None:
        raise typer.Exit(1)


def _address(text: str) -> Any:
    from commonfarm.lib.errors import BadInputError, Problem
    from commonfarm.redirector.selection import normal

    try:
        return normal(text)
    except ValueError:
        raise BadInputError(
            Problem("--from", 0, 0, f"{text!r} is not an address", "write one such as 192.0.2.1")
        ) from None


def _read_map(map_file: Path | None, public_key: Path | None) -> Any:
    from commonfarm.lib.errors import Reason, UnreachableError
    from commonfarm.lib.places import find
    from commonfarm.redirector import mirror_map

    if map_file is None or public_key is None:
        config = find()
        map_file = map_file or config.mirror_map
        public_key = public_key or config.public_keys / "statements.pub"
    try:
        return mirror_map.read(map_file, mirror_map.read_key(public_key))
    except (OSError, mirror_map.MapError) as error:
        raise UnreachableError(
            Reason(
                "no-mirror-map",
                f"the mirror map {map_file} cannot be used: {error}",
                "it is written once a mirror is registered; look at the worker's log",
            )
        ) from None


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/mirrors/{quote(name, safe='')}"


def _tell(shown: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(shown, indent=2) if as_json else text)


def _files(row: dict[str, Any]) -> str:
    last = row["last_scan"]
    return f"{last['files_found']} of {last['files_expected']}" if last else ""
