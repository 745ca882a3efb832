"""Commands the story runs: as lists, with their own words when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class StoryError(Exception):
    """The story cannot go on; the text says why, for a person."""


def run(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    accept: tuple[int, ...] = (0,),
    timeout: float = 600,
) -> str:
    """Run a command to its end and return what it printed.

    Raises StoryError with the end of its output when its exit code is none of `accept`.
    """
    command = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            command,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise StoryError(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise StoryError(f"{' '.join(command)} took more than {timeout:.0f} seconds") from None
    if done.returncode not in accept:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise StoryError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def as_root(*arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command, through sudo when we are not root ourselves."""
    return arguments if os.getuid() == 0 else ("sudo", "-n", *arguments)
