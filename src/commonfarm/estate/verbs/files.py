"""Files that verbs read and write for people: bounded, whole or not at all, errors in our words."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import typer

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.units import format_bytes

MOST_BYTES = 64 * 1024 * 1024


def read(file: Path) -> bytes:
    """Return what is in a file; raise BadInputError where it cannot be read or is too large."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise BadInputError(Problem(str(file), 0, 0, what, "look at its name")) from None
    if len(data) > MOST_BYTES:
        what = f"is larger than {format_bytes(MOST_BYTES)}"
        raise BadInputError(Problem(str(file), 0, 0, what, "split it"))
    return data


def write(file: Path, text: str, *, over: bool) -> None:
    """Write a file; one that is there is asked about first, unless `over` says yes to that."""
    if file.exists() and not over:
        typer.confirm(f"Write over {file}?", abort=True, err=True)
    real = file.resolve()  # a symlink stays one
    try:
        handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                os.fchmod(opened.fileno(), 0o644)
                opened.write(text)
            Path(name).replace(real)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise BadInputError(Problem(str(file), 0, 0, what, "name another file")) from None
