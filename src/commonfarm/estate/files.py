"""The YAML files of an estate's directory, read so that nothing outside of it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.lib.errors import BadInputError, Problem

MOST_FILES = 200
SUFFIXES = (".yaml", ".yml")


def read_files(directory: Path) -> list[Text]:
    """Return the `*.yaml` and `*.yml` files of `directory`, without its subdirectories.

    Raises BadInputError for all that cannot be read, that are no plain files, or whose symlink
    leaves the directory.
    """
    if not directory.is_dir():
        to_do = "name the directory that holds the YAML files"
        raise BadInputError(Problem(str(directory), 0, 0, "is no directory that I can read", to_do))
    root = directory.resolve()
    try:
        names = sorted(
            entry.name
            for entry in root.iterdir()
            if entry.suffix in SUFFIXES and not entry.name.startswith(".")
        )
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise BadInputError(Problem(str(directory), 0, 0, what, "let me read it")) from None
    if not names or len(names) > MOST_FILES:
        what = f"has {len(names)} YAML files"
        raise BadInputError(Problem(str(directory), 0, 0, what, f"have 1 to {MOST_FILES}"))
    texts, problems = [], []
    for name in names:
        try:
            texts.append(Text(name, _read(root, name)))
        except (OSError, ValueError) as error:
            what = (error.strerror if isinstance(error, OSError) else None) or str(error)
            problems.append(Problem(name, 0, 0, what, "have a plain file there that I can read"))
    if problems:
        raise BadInputError(*problems)
    return texts


def _read(root: Path, name: str) -> bytes:
    real = (root / name).resolve(strict=True)
    if not real.is_relative_to(root):
        raise ValueError("is a symlink that leaves the directory")
    # Neither a FIFO that would block us nor a symlink put there meanwhile is opened.
    handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a plain file")
        return file.read(MOST_BYTES + 1)
