"""Files that verbs read and write for people: bounded, whole or not at all, errors in our words."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import typer

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import format_bytes

MOST_BYTES = 64 * 1024 * 1024


def read(file: Path, to_do: str = "name another file") -> bytes:
    """Return what is in a file; raise BadInputError where it cannot be read or is too large."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise BadInputError(Problem(str(file), 0, 0, what, to_do)) from None
    if len(data) > MOST_BYTES:
        what = f"is larger than {format_bytes(MOST_BYTES)}"
        raise BadInputError(Problem(str(file), 0, 0, what, to_do))
    return data


def write(file: Path, text: str, *, over: bool) -> None:
    """Write a file; one that is there is asked about first, unless `over` says yes to that.

    A plain file keeps its mode and is never half written. What is no plain file, such as
    `/dev/stdout`, is written to as it is: nothing takes its place.
    """
    try:
        there = _status(file)
        if there and not stat.S_ISREG(there.st_mode):
            with file.open("w", encoding="utf-8") as opened:
                opened.write(text)
            return
        if there and not over:
            typer.confirm(f"Write over {harmless(str(file))}?", abort=True, err=True)
        _replace(file.resolve(), text, stat.S_IMODE(there.st_mode) if there else 0o644)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise BadInputError(Problem(str(file), 0, 0, what, "name another file")) from None


def _status(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _replace(real: Path, text: str, mode: int) -> None:
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name[:200]}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), mode)
            opened.write(text)
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
