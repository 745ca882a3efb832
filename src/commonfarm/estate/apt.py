"""apt's tools, and where they fetch packages from. No Django in here."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from commonfarm.lib.errors import NotFoundError, Reason, UnreachableError


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Where packages come from: `uri` (with a slash at its end), suite and components.

    `signed_by` is what apt is told of the keys: absolute paths of keyrings, an armored key block,
    fingerprints, or nothing.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def run(*command: str, environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run one of apt's or dpkg's tools and return what it printed.

    Raises UnreachableError with the tool's own words when it fails or is missing.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise UnreachableError(
            Reason("tool-missing", f"{command[0]} is not here", "this needs a Debian host")
        ) from None
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "replace")
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line.removeprefix("E: ") for line in said if line.startswith("E: ")] or said[-3:]
    text = "; ".join(without_password(line) for line in errors) or "it said nothing"
    if "Unable to find a source package" in text:
        raise NotFoundError(
            Reason("no-such-source", text, "look at its spelling, and at the target's components")
        )
    raise UnreachableError(
        Reason("apt-failed", f"{command[0]} failed: {text}", "look at the mirror and at the clock")
    )


def without_password(uri: str) -> str:
    """Return `uri` (or a line with one) without the user and password in it."""
    return re.sub(r"//[^/@]*@", "//", uri)
