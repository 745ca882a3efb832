"""`commonfarm estate plan`: what goes where, what does not fit and why, and what ends next."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import typer

from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, FULL, day, judged
from commonfarm.lib.errors import ExitCode

OUT = typer.Option(None, "--out", metavar="FILE", help="Write the plan there, as JSON.")


def plan(
    directory: Path = DIRECTORY,
    at: datetime | None = AT,
    out: Path | None = OUT,
    full: bool = FULL,
    as_json: bool = AS_JSON,
) -> None:
    """Say what goes where, what does not fit and why; exit 1 if something does not fit."""
    from commonfarm.estate import planner
    from commonfarm.estate.folder import read_facts
    from commonfarm.estate.verbs import files
    from commonfarm.estate.verbs.assumed import rests_on
    from commonfarm.estate.verbs.planned import told

    today = day(at)
    facts = read_facts(directory, judged(at))
    with _progress(quiet=as_json) as progress:
        made = planner.plan(facts, today, progress=progress)
    if out is not None:
        files.write(out, made.to_json(), over=True)
    if as_json:
        typer.echo(made.to_json(), nl=False)
    else:
        for line in (*told(facts, made, full), *rests_on(facts.assumptions, full)):
            typer.echo(_wrapped(line) if sys.stdout.isatty() else line)
        if out is not None:
            typer.echo(f"written to {out}; check it with: commonfarm estate verify {out} DIR")
    if made.intervals[0].levels["likely"].unplaced:
        raise typer.Exit(ExitCode.NO)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _wrapped(line: str) -> str:
    """Return a line as a terminal of this width shows it, words whole."""
    inside = " " * (len(line) - len(line.lstrip()) + 4)
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, width, subsequent_indent=inside, break_on_hyphens=False, break_long_words=False
    )
