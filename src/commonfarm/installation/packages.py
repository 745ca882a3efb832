"""Which Debian packages are needed, and which of them are missing here."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("debian-packages")


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, the part that needs it (`run`, `demo` or `test`), and what for."""

    name: str
    part: str
    purpose: str


def needed() -> list[Package]:
    """Return all packages of the list."""
    found, part = [], ""
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            part = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, purpose = line.partition(" ")
            found.append(Package(name, part, purpose.strip()))
    return found


def missing(packages: list[Package]) -> list[Package]:
    """Return those of `packages` that dpkg does not have installed."""
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${binary:Package}\\n"],
        capture_output=True,
        text=True,
        check=False,
    )
    here = {line[4:].partition(":")[0] for line in done.stdout.splitlines() if line[1] == "i"}
    return [package for package in packages if package.name not in here]
