"""`commonfarm mirror override`: where clients of a network are sent, before all else."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from commonfarm.mirrors.verbs.hub import AS_JSON, YES, hub, table, tell

PATH = "/mirrors/overrides"
override = typer.Typer(
    help="Where clients of a network are sent, before all else. Coordinators.", no_args_is_help=True
)


@override.command()
def add(
    network: str = typer.Argument(..., help="As 192.0.2.0/24 or 2001:db8::/32."),
    why: str = typer.Option(..., help="It is shown with the override, and kept."),
    country: Annotated[str, typer.Option(help="Its clients count as of there: as DE.")] = "",
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", help="Its clients get this one first; may come again."),
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="We serve its clients.")] = False,
    as_json: bool = AS_JSON,
) -> None:
    """Say where clients of a network are sent: a country, mirrors, or --origin.

    Networks may lie in each other: for an address the smallest that holds it counts.
    """
    new = {"network": network, "country": country, "mirrors": mirror or [], "origin": origin}
    shown = hub().post(PATH, {**new, "why": why})
    lines = [f"{shown['network']}: {_says(shown)}"]
    if shown["within"]:
        lines.append(f"it lies in {shown['within']}: what is said of that counts no more for it")
    if shown["inside"]:
        lines.append(
            f"not for the {shown['inside']} smaller in it that have an override: they go on"
        )
    tell(shown, "\n".join([*lines, *_problem(shown)]), as_json)


@override.command("list")
def list_overrides(as_json: bool = AS_JSON) -> None:
    """List them by network, each with what it says, why, and what is wrong with it."""
    rows = list(hub().pages(PATH, limit=500))
    rows.sort(key=_place)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [
        (row["network"], _says(row), row["why"], row["within"], *_problem(row)) for row in rows
    ]
    none = "no overrides: clients are sent to what is nearest"
    table(("network", "its clients", "why", "lies in", "problem"), cells, none)


@override.command()
def remove(
    network: str,
    why: Annotated[str, typer.Option(help="Why; it stands in the journal.")] = "",
    yes: bool = YES,
) -> None:
    """Have clients of a network sent as others are."""
    if not yes:
        typer.confirm(f"Remove the override of {network}?", abort=True)
    asked = f"?{urlencode({'why': why})}" if why else ""
    hub().delete(f"{PATH}/{quote(network)}{asked}")
    typer.echo(f"the override of {network} is removed")


def _says(row: dict[str, Any]) -> str:
    from commonfarm.mirrors.wording import overridden

    return overridden(row["country"], row["mirrors"], row["origin"])


def _problem(row: dict[str, Any]) -> list[str]:
    return [f"{row['problem']['text']}; {row['problem']['lifted_by']}"] if row["problem"] else []


def _place(row: dict[str, Any]) -> tuple[int, Any]:
    network = ip_network(row["network"])
    return network.version, network
