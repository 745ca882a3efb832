"""`commonfarm estate check` and `schema`: what may be written, and whether it holds together."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, day


def check(
    directory: Path = DIRECTORY,
    at: datetime | None = AT,
    as_json: bool = AS_JSON,
) -> None:
    """Read an estate and say all that is wrong with it. Needs no hub."""
    from commonfarm.estate import logos
    from commonfarm.estate.files import read_files
    from commonfarm.estate.folder import resolved
    from commonfarm.estate.schema import SECTIONS
    from commonfarm.estate.verbs.assumed import rests_on

    estate, facts = resolved(read_files(directory), day(at))
    logos.read(facts.sponsors.values(), partial(logos.beside, directory))
    counts = {section: len(getattr(estate, section)) for section in SECTIONS}
    counts |= {"hosts": len(facts.hosts), "instances": len(facts.instances)}
    if as_json:
        assumptions = [asdict(one) for one in facts.assumptions]
        typer.echo(json.dumps({"counts": counts, "assumptions": assumptions}, indent=2))
        return
    said = [f"{section} {number}" for section, number in counts.items() if number]
    typer.echo(f"nothing wrong: {', '.join(said)}")
    for line in rests_on(facts.assumptions, full=True):
        typer.echo(line)


def schema() -> None:
    """Print the JSON Schema of a file of an estate, for editors."""
    from commonfarm.estate.schema.editors import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
