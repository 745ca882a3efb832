"""`commonfarm estate map`: one picture of the estate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import typer

from commonfarm.estate.verbs.options import AT, DIRECTORY, day, judged

OUT = typer.Option(..., "--out", metavar="FILE.svg", help="Where to write the picture.")


def draw_map(directory: Path = DIRECTORY, out: Path = OUT, at: datetime | None = AT) -> None:
    """Draw sites, hosts, what the plan puts on them, and pledges; safe to show to others."""
    from commonfarm.estate import planner
    from commonfarm.estate.disclosure import veiled
    from commonfarm.estate.drawing import map as drawing
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs import files

    today = day(at)
    # Who gives anonymously is not named: pictures are passed on.
    facts = veiled(read_facts(directory, judged(at)))
    placed = planner.plan(facts, today).intervals[0].levels["likely"]
    unplaced = {
        one.instance: one.reasons[0].text if one.reasons else "no reason was found"
        for one in placed.unplaced
    }
    shown = drawing.Shown(facts, today, placed.on, unplaced)
    files.write(out, drawing.draw(shown), over=True)
    typer.echo(f"{out}: hosts {len(facts.hosts)}, instances {len(placed.on)}")
