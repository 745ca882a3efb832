"""The YAML files of an estate's directory, read so that nothing outside of it is."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.units import format_bytes

MOST_FILES = 200
MOST_TOGETHER = 16 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")


def read_files(directory: Path) -> list[Text]:
    """Return the `*.yaml` and `*.yml` files of `directory`, without its subdirectories.

    Raises BadInputError for all that cannot be read, that are no plain files, or whose symlink
    leaves the directory.
    """
    try:
        root = directory.resolve(strict=True)
        names = sorted(
            entry.name
            for entry in root.iterdir()
            if entry.suffix in SUFFIXES and not entry.name.startswith(".")
        )
    except NotADirectoryError:
        to_do = "name the directory that holds the YAML files"
        raise BadInputError(Problem(str(directory), 0, 0, "is no directory", to_do)) from None
    except (OSError, RuntimeError) as error:  # the latter for symlinks that go round
        raise BadInputError(_unreadable(str(directory), error)) from None
    if not names or len(names) > MOST_FILES:
        what = f"has {len(names)} files *.yaml or *.yml"
        raise BadInputError(Problem(str(directory), 0, 0, what, f"have 1 to {MOST_FILES}"))
    texts: list[Text] = []
    problems = []
    together = 0
    for name in names:
        if not name.isprintable():
            # Also what is no UTF-8, of which Python makes surrogates.
            shown, what = ascii(name), "its name has characters that cannot be printed"
            problems.append(Problem(shown, 0, 0, what, "give it a plain name"))
            continue
        try:
            texts.append(Text(name, _read(root, name)))
            together += len(texts[-1].data)
        except ValueError as error:
            problems.append(Problem(name, 0, 0, str(error), "put a plain file there"))
        except (OSError, RuntimeError) as error:
            problems.append(_unreadable(name, error))
        if together > MOST_TOGETHER:
            what = f"the files together are larger than {format_bytes(MOST_TOGETHER)}"
            problems.append(Problem(name, 0, 0, what, "make the estate smaller"))
            break
    if problems:
        raise BadInputError(*problems)
    return texts


def _unreadable(name: str, error: OSError | RuntimeError) -> Problem:
    what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not isinstance(error, PermissionError):
        return Problem(name, 0, 0, what, "look at its spelling, and where its symlinks lead")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a number that has no name
        user = str(os.geteuid())
    to_do = f"let the user {user} read it and enter the folders above it"
    return Problem(name, 0, 0, what, to_do)


def _read(root: Path, name: str) -> bytes:
    real = (root / name).resolve(strict=True)
    if not real.is_relative_to(root):
        raise ValueError("is a symlink that leaves the directory")
    if not real.is_file():
        raise ValueError("is not a plain file")
    # Neither a FIFO that would block us nor a symlink put there meanwhile is opened.
    handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a plain file")
        return file.read(MOST_BYTES + 1)
