"""`commonfarm fleet`: builders, and the tokens by which they enrol; `commonfarm agent` runs one."""

from __future__ import annotations

import json
from typing import Any

import typer

app = typer.Typer()
fleet = typer.Typer(help="Builders, and how they enrol.", no_args_is_help=True)
app.add_typer(fleet, name="fleet")

AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")


@fleet.command()
def builders(as_json: bool = AS_JSON) -> None:
    """List the builders."""
    rows = list(_hub().pages("/fleet/builders"))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo("no builders yet; make a token for one: commonfarm fleet token POOL")
    for row in rows:
        typer.echo(
            f"{row['name']:<20} {row['state']:<9} {row['pool']}, {row['architecture']},"
            f" generation {row['generation']}, {row['running']} of {row['slots']} jobs"
        )


@fleet.command()
def show(name: str, as_json: bool = AS_JSON) -> None:
    """Show one builder."""
    _tell(_hub().get(_path(name)), as_json)


@fleet.command()
def cordon(
    name: str,
    why: str = typer.Option(..., "--why", help="Why it gets no new job."),
    as_json: bool = AS_JSON,
) -> None:
    """Give a builder no new job; what it runs goes on."""
    _tell(_hub().post(f"{_path(name)}/cordon", {"reason": why}), as_json)


@fleet.command()
def uncordon(name: str, as_json: bool = AS_JSON) -> None:
    """Let a builder have jobs again."""
    _tell(_hub().post(f"{_path(name)}/uncordon"), as_json)


@fleet.command()
def token(pool: str, as_json: bool = AS_JSON) -> None:
    """Make a token by which one builder may enrol into POOL, once, within 15 minutes."""
    made = _hub().post("/fleet/enrolment-tokens", {"pool": pool})
    typer.echo(json.dumps(made, indent=2) if as_json else made["token"])


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def agent(context: typer.Context) -> None:
    """Make this host a builder: `agent enrol`, `agent run`, `agent clean`."""
    from commonfarm.agent.__main__ import main

    raise typer.Exit(main(context.args))


def _tell(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    typer.echo(f"{shown['name']} is {shown['state']}")
    if shown["cordoned_at"]:
        typer.echo(f"  cordoned since {_when(shown['cordoned_at'])}: {shown['cordon_reason']}")
    typer.echo(f"  pool {shown['pool']}, {shown['architecture']}, {shown['cleanliness']}")
    typer.echo(f"  generation {shown['generation']}, enrolled {_when(shown['enrolled_at'])}")
    typer.echo(f"  last heard of {_when(shown['last_seen_at'])}")
    typer.echo(f"  runs {shown['running']} of {shown['slots']} jobs")
    typer.echo("  it says of itself:")
    for key, value in shown["claims"].items():
        typer.echo(f"    {key}: {json.dumps(value)}")


def _when(at: str | None) -> str:
    return f"{at[:19].replace('T', ' ')} UTC" if at else "never"


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/fleet/builders/{quote(name, safe='')}"


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()
