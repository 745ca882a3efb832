"""A user's machine: a clean root of Debian that knows no package source but the one it is told.

It is made by mmdebstrap from the target's own package sources, kept as a tarball, and unpacked anew
for each use. Nothing of the host's apt configuration gets into it: some hosts switch apt's date
checks off, and the checks are part of what is to be proved.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from examples.first.command import as_root, run

_ENVIRONMENT = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
)


class CleanRoot:
    """A clean root below `home`, for the suite and architecture of `target`.

    `target` is what `commonfarm estate show --json` says of it.
    """

    def __init__(self, home: Path, target: dict[str, Any]) -> None:
        self._home = home
        self._target = target
        text = json.dumps([target[key] for key in ("suite", "architecture", "package_sources")])
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._tarball = home / f"root-{target['suite']}-{key}.tar"
        self.path = home / "root"

    @property
    def is_cached(self) -> bool:
        """Whether the next `unpack` needs no network."""
        return self._tarball.exists()

    def unpack(self) -> None:
        """Make a pristine root of it, whatever was there before."""
        self._home.mkdir(parents=True, exist_ok=True)
        if not self.is_cached:
            self._make()
        run(*as_root("rm", "--recursive", "--force", "--one-file-system", self.path))
        run(*as_root("mkdir", self.path))
        run(
            *as_root(
                "tar", "--extract", "--numeric-owner", "--file", self._tarball, "-C", self.path
            )
        )
        # Only what is written below may be a package source here.
        run(*as_root("rm", "--force", self.path / "etc/apt/sources.list"))

    def add_source(self, url: str, suite: str, key: Path) -> None:
        """Name one apt repository as the only package source, believed by `key` alone."""
        keyring = "/etc/apt/keyrings/commonfarm.asc"
        entry = self._home / "commonfarm.sources"
        entry.write_text(
            f"Types: deb\nURIs: {url}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
        )
        folder = self.path / "etc/apt/sources.list.d"
        run(*as_root("install", "-D", "-m", "0644", key, f"{self.path}{keyring}"))
        run(*as_root("install", "-D", "-m", "0644", entry, folder / "commonfarm.sources"))

    def run(self, *arguments: str) -> str:
        """Run a command in it, on the host's network, and return what it printed.

        Its mounts and processes are in namespaces of their own, so that none outlives it.
        """
        return run(
            *as_root("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            f"--mount-proc={self.path}/proc",
            *("chroot", str(self.path), "/usr/bin/env", "-i", *_ENVIRONMENT, *arguments),
        )

    def _make(self) -> None:
        lines: list[str] = []
        for source in self._target["package_sources"]:
            words = " ".join(source["components"])
            lines.append(f"deb {source['uri']} {source['suite']} {words}")
        partial = self._tarball.with_suffix(".partial")
        run(
            *as_root("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
            f"--architectures={self._target['architecture']}",
            f"--keyring={self._target['keyring']}",
            *_proxies(),
            self._target["suite"],
            partial,
            *lines,
        )
        run(*as_root("chown", f"{os.getuid()}:{os.getgid()}", partial))
        partial.rename(self._tarball)


def _proxies() -> list[str]:
    """Return the host's proxies as options of mmdebstrap that leave no trace in the root."""
    options = []
    for line in run("apt-config", "dump").splitlines():
        name, _, value = line.rstrip(";").partition(" ")
        if name.lower() in ("acquire::http::proxy", "acquire::https::proxy") and value != '""':
            options.append(f"--aptopt={name} {value}")
    if options:
        options.append("--customize-hook=rm $1/etc/apt/apt.conf.d/99mmdebstrap")
    return options
