"""The logos that sponsors name: plain files beside the estate's YAML, of known kinds and size.

A logo is hostile: it is shown as an image only, under a policy that lets nothing in it run.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from commonfarm.estate.facts import Sponsor
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.paths import is_file_name
from commonfarm.lib.units import format_bytes

KINDS = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
MOST_BYTES = 256 * 1024
MOST_TOGETHER = 16 * 1024 * 1024


def read(sponsors: Iterable[Sponsor], other: Callable[[str], bytes]) -> dict[str, bytes]:
    """Return the logos that these sponsors name; raise BadInputError with all that is wrong.

    `other` returns the bytes of a file beside the YAML, or raises ValueError.
    """
    found: dict[str, bytes] = {}
    problems = []
    together = 0
    for sponsor in sponsors:
        if sponsor.logo is None or sponsor.logo in found:
            continue
        try:
            found[sponsor.logo] = _checked(sponsor.logo, other)
            together += len(found[sponsor.logo])
            if together > MOST_TOGETHER:
                raise ValueError(f"and those before are larger than {format_bytes(MOST_TOGETHER)}")
        except ValueError as error:
            to_do = f"put a file *{', *'.join(KINDS)} beside the estate's files, and name it"
            what = f"the logo {sponsor.logo[:80]!r} of {sponsor.name} {error}"
            problems.append(Problem(*_place(sponsor.where), what, to_do))
        if together > MOST_TOGETHER:
            break
    if problems:
        raise BadInputError(*problems)
    return found


def beside(folder: Path, name: str) -> bytes:
    """Return the plain file `name` of a folder; raise ValueError for all else."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is no plain file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(MOST_BYTES + 1)
    finally:
        os.close(handle)


def kind_of(name: str) -> str:
    """Return the media type of a logo; raise KeyError for what is none."""
    return KINDS[PurePosixPath(name).suffix.lower()]


def _checked(name: str, other: Callable[[str], bytes]) -> bytes:
    if not is_file_name(name) or PurePosixPath(name).suffix.lower() not in KINDS:
        raise ValueError("is of no kind that is shown")
    data = other(name)
    if len(data) > MOST_BYTES:
        raise ValueError(f"is larger than {format_bytes(MOST_BYTES)}")
    return data


def _place(where: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"(.*):(\d+):(\d+)", where)
    return (found[1], int(found[2]), int(found[3])) if found else (where, 0, 0)
