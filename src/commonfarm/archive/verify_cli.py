"""`commonfarm tree verify`: whether a copy of a tree is what was published. Needs no hub."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from commonfarm.archive.cli import bad, public_key
from commonfarm.lib.errors import ExitCode, Reason, RefusedError
from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import counted, format_bytes, format_seconds, parse_seconds

_SHOWN = 50


def verify(
    where: str = typer.Argument(metavar="URL_OR_FOLDER", help="Where the copy of the tree is."),
    key: Path | None = typer.Option(
        None, help="The public key; else the chosen installation's statements.pub."
    ),
    sample: int | None = typer.Option(
        None,
        min=0,
        help="Check the bytes of so many files, drawn by chance; sizes are checked of all."
        " Without this: all of a folder, and 100 of a URL.",
    ),
    every: bool = typer.Option(False, "--all", help="Check the bytes of all files."),
    max_age: str | None = typer.Option(
        None, metavar="DURATION", help="The tree must have been signed since: `3 d`, `12 h`."
    ),
    at_least: int = typer.Option(
        0, min=0, metavar="REVISION", help="An earlier revision is wrong: somebody stepped back."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Check that a copy of a release tree is whole, recent, and what this farm signed.

    Ends with 0 when it is, with 1 and the names of what differs when it is not, with 2 when what
    was given cannot be used, with 3 when the copy does not answer.
    """
    from commonfarm.archive import manifest, verifying
    from commonfarm.archive.copies import FolderCopy, open_copy

    public = public_key(key)
    if every and sample is not None:
        bad("--sample", "is given beside --all", "choose one of them")
    try:
        age = timedelta(seconds=parse_seconds(max_age)) if max_age is not None else None
    except (ValueError, OverflowError) as error:
        bad("--max-age", str(error), "write it as `3 d`")
    try:
        copy = open_copy(where)
        if not every and sample is None and not isinstance(copy, FolderCopy):
            sample = verifying.SAMPLE
        with _progress() as progress:
            report = verifying.verify(
                lambda: open_copy(where),
                public,
                verifying.Asked(sample, at_least, age),
                now=datetime.now(UTC),
                choose=random.SystemRandom(),
                progress=progress,
            )
    except (manifest.NoManifestError, manifest.NotTrustedError) as error:
        said = harmless(f"{where}: {error}")
        raise RefusedError(Reason("not-verified", said, "do not use this copy")) from None
    except ValueError as error:
        bad(where, str(error), "name an address or a folder")
    except OSError as error:
        bad(where, f"cannot be read: {error.strerror}", "name a folder that you may read")
    if as_json:
        typer.echo(json.dumps(_as_json(report), indent=2))
    else:
        _tell(where, report)
    if report.wrong:
        raise typer.Exit(ExitCode.NO)


def _tell(where: str, report: Any) -> None:
    found = report.statement
    age = format_seconds(max(0.0, (datetime.now(UTC) - found.made_at).total_seconds()))
    for path, what in report.problems[:_SHOWN]:
        typer.echo(f"{harmless(path)} {harmless(what)}")
    if report.wrong > _SHOWN:
        typer.echo(f"and {report.wrong - _SHOWN} more; --json names them")
    if report.others:
        count = len(report.others) + report.more_others
        names = ", ".join(map(harmless, report.others[:5])) + (", …" if count > 5 else "")
        typer.echo(f"besides, {counted(count, 'file')} that the manifest does not name: {names}")
    result = f"differs in {counted(report.wrong, 'place')}" if report.wrong else "is verified"
    typer.echo(
        f"{where} {result}: {found.tree} of {found.installation}, revision {found.revision}, signed"
        f" {age} ago, valid until {found.valid_until:%Y-%m-%d %H:%M} UTC"
    )
    typer.echo(
        f"  {counted(report.files, 'file')}, {format_bytes(report.size)},"
        f" {counted(report.aliases, 'alias')};"
        f" the bytes of {report.checked} were checked"
    )


def _as_json(report: Any) -> dict[str, Any]:
    found = report.statement
    return {
        "verified": not report.wrong,
        "installation": found.installation,
        "tree": found.tree,
        "revision": found.revision,
        "made_at": found.made_at.isoformat(),
        "valid_until": found.valid_until.isoformat(),
        "files": report.files,
        "bytes": report.size,
        "aliases": report.aliases,
        "checked": report.checked,
        "wrong": report.wrong,
        "problems": [{"path": path, "what": what} for path, what in report.problems],
        "others": report.others,
        "more_others": report.more_others,
    }


@contextmanager
def _progress() -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
