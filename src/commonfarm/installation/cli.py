"""The commands that start, stop and examine an installation on this machine. They need no hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from commonfarm.lib.errors import CommonfarmError, ExitCode
from commonfarm.lib.places import find

app = typer.Typer()
PANEL = "This machine"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(rich_help_panel=PANEL)
def up(
    estate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Load this estate once the hub answers.", exists=True),
    ] = None,
) -> None:
    """Start every process of the installation here, until Ctrl-C; the first time, make it."""
    from commonfarm.installation import up as starting

    raise typer.Exit(starting.run(estate))


@app.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop what `up` started, and wait until it has ended."""
    from commonfarm.installation import status as running

    config = find()
    stopped = running.stop(config)
    typer.echo(f"{config.name} is stopped" if stopped else f"{config.name} did not run")


@app.command(rich_help_panel=PANEL)
def status(as_json: AsJson = False) -> None:
    """Show each process: its address, since when, how often restarted, and its last error."""
    from commonfarm.installation import status as running

    config = find()
    shown = running.read(config)
    shown["estate"] = _followed() if shown["ready"] else None
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
    else:
        _print_status(shown)
    raise typer.Exit(ExitCode.DONE if shown["ready"] else ExitCode.NO)


def _followed() -> dict[str, object] | None:
    """Return what the hub says of the estate's repository; None without one, or without a word."""
    from commonfarm.http.session import hub

    try:
        return dict(hub().get("/estate/following"))
    except CommonfarmError:
        return None


def _print_status(shown: dict[str, object]) -> None:
    console = Console(highlight=False)
    processes = shown["processes"]
    assert isinstance(processes, list)
    if not processes:
        console.print(f"{shown['installation']} does not run; start it with `commonfarm up`")
        return
    for one in processes:
        since = one["since"][:19].replace("T", " ")
        console.print(
            f"{one['name']:<11} {one['state']:<9} {one['pid'] or '-':>8}  {one['user']:<22}"
            f" since {since}  restarts {one['restarts']:<3} {one['address']}",
            markup=False,
            soft_wrap=True,
        )
    for one in processes:
        if one["last_error"]:
            console.print(f"{one['name']}: {one['last_error']}", markup=False, soft_wrap=True)
    estate = shown["estate"]
    if isinstance(estate, dict) and (estate["refused"] or estate["problem"]):
        what = "is not loaded" if estate["refused"] else "cannot be fetched"
        commit = f"commit {estate['refused']['commit'][:12]}" if estate["refused"] else "the branch"
        console.print(f"estate: {commit} {what}; see `commonfarm estate follow`", soft_wrap=True)
    word = "every process answers" if shown["ready"] else "not every process answers yet"
    console.print(f"{shown['installation']}: {word}; pages at {shown['web']}")
    for what, where in (
        ("published trees", shown["published"]),
        ("mirrors pull at", shown["rsync"] or "no rsync: `commonfarm doctor` says how to have it"),
        ("public keys", shown["public_keys"]),
        ("logs", f"{shown['state']}/log"),
    ):
        console.print(f"  {what:<16} {where}", markup=False, soft_wrap=True)


@app.command(rich_help_panel=PANEL)
def doctor(as_json: AsJson = False) -> None:
    """Check this host, and print for each failing point the command that mends it."""
    from commonfarm.installation.doctor import examine

    findings = examine()
    failed = [one for one in findings if not one.ok]
    if as_json:
        typer.echo(json.dumps([one.shown() for one in findings], indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for one in findings:
            mark = "[green]ok  [/green]" if one.ok else "[red]FAIL[/red]"
            console.print(mark, end=" ")
            console.print(f"{one.name}: {one.found}", markup=False)
            if not one.ok:
                console.print(f"     mend it: {one.mend}", markup=False)
    raise typer.Exit(ExitCode.NO if failed else ExitCode.DONE)
