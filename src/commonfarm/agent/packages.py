"""Debian packages for a buildroot: the host's apt, told of nothing but that buildroot.

apt runs on the builder's host with a configuration, lists and a status file of its own, so the
sandbox never needs a network. What it fetched and verified is then installed inside, offline. Of
the host's own apt configuration only the proxies and the trusted certificates are used: without
them some hosts cannot fetch at all. In particular, date checks stay on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Callable

from commonfarm.agent import process
from commonfarm.agent.errors import BrokenError, FailedError
from commonfarm.agent.protocol import Buildroot, PackageSource
from commonfarm.agent.state import State, write_atomically

LISTS_FRESH_SECONDS = 300
ARCHIVES_KEPT_BYTES = 4 * 2**30
_HOST_SETTING = re.compile(
    r'(Acquire::https?::(?:Proxy|CAInfo|CAPath)(?:::[A-Za-z0-9.-]+)?) "([^"\\\n]*)";'
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_/-]*")
_URI = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._~:/%+@-]*")
_INST = re.compile(r"Inst (\S+)(?: \[[^]]*\])? \((\S+) .*\[([a-z0-9-]+)\]\)")
_REMV = re.compile(r"Remv (\S+) ")


@dataclass(frozen=True)
class Solution:
    """What has to change in a root: files in apt's cache to install, names to remove."""

    files: list[str]
    remove: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether the root is already as wanted."""
        return not self.files and not self.remove


def check_buildroot(buildroot: Buildroot) -> None:
    """Raise BrokenError for a description that apt or a path could misread."""

    def fits(pattern: re.Pattern[str], text: str, what: str) -> None:
        if pattern.fullmatch(text) is None or ".." in text:
            raise BrokenError(f"the buildroot's {what} {text!r} is not allowed; mend the target")

    fits(_WORD, buildroot.target, "target")
    fits(_WORD, buildroot.architecture, "architecture")
    if not buildroot.package_sources:
        raise BrokenError("the buildroot has no package sources; give the target some")
    for source in buildroot.package_sources:
        fits(_URI, source.uri, "package source")
        fits(_WORD, source.suite, "suite")
        for component in source.components:
            fits(_WORD, component, "component")


def key_of(buildroot: Buildroot) -> str:
    """Return the name of all that depends on `buildroot` alone."""
    text = json.dumps(asdict(buildroot), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def source_line(source: PackageSource, architecture: str, keyring: str) -> str:
    """Return one line of sources.list(5)."""
    components = " ".join(source.components)
    options = f"arch={architecture} signed-by={keyring}"
    return f"deb [{options}] {source.uri} {source.suite} {components}".rstrip()


def host_settings() -> list[str]:
    """Return the lines of the host's apt configuration that fetching needs: proxies, trust."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if _HOST_SETTING.fullmatch(line)]


class Apt:
    """The host's apt for one buildroot. One at a time may use it.

    `check` is called twice a second while it works, and ends that by raising.
    """

    def __init__(self, state: State, buildroot: Buildroot, check: Callable[[], None]) -> None:
        check_buildroot(buildroot)
        self._buildroot = buildroot
        self._check = check
        self._folder = state.apt / key_of(buildroot)
        self.archives = state.apt / "archives"
        self.keyring = self._folder / "keyring.gpg"
        self._updated = self._folder / "updated"
        self._prepare()

    def _prepare(self) -> None:
        try:
            key = base64.b64decode(self._buildroot.keyring, validate=True)
        except (binascii.Error, ValueError):
            raise BrokenError("the buildroot's keyring is not base64; mend the target") from None
        if key.startswith(b"-----BEGIN"):
            self.keyring = self.keyring.with_suffix(".asc")
        lists = self._folder / "lists"
        for folder in (self._folder, self.archives, lists, lists / "partial"):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.archives / "partial").mkdir(mode=0o755, exist_ok=True)
        (self._folder / "etc").mkdir(mode=0o755, exist_ok=True)
        (self._folder / "empty-status").touch()
        self.keyring.write_bytes(key)
        self.keyring.chmod(0o644)
        (self._folder / "sources.list").write_text("\n".join(self.source_lines()) + "\n", "utf-8")

    def source_lines(self, keyring: str = "") -> list[str]:
        """Return sources.list of the buildroot, signed by `keyring` (by default this host's)."""
        return [
            source_line(source, self._buildroot.architecture, keyring or str(self.keyring))
            for source in self._buildroot.package_sources
        ]

    def _configuration(self, status: Path) -> Path:
        """Write apt.conf(5); the order matters: everything named here replaces a built-in."""
        folder, architecture = self._folder, self._buildroot.architecture
        lines = [
            f'Dir::Etc "{folder}/etc";',
            'Dir::Etc::main "/dev/null";',
            f'Dir::Etc::sourcelist "{folder}/sources.list";',
            'Dir::Etc::sourceparts "/dev/null";',
            'Dir::Etc::preferences "/dev/null";',
            'Dir::Etc::preferencesparts "/dev/null";',
            f'Dir::Etc::trusted "{folder}/etc/none.gpg";',
            f'Dir::Etc::trustedparts "{folder}/etc/";',
            f'Dir::State "{folder}";',
            f'Dir::State::lists "{folder}/lists/";',
            f'Dir::State::status "{status}";',
            f'Dir::State::extended_states "{folder}/extended_states";',
            f'Dir::Cache "{folder}";',
            f'Dir::Cache::archives "{self.archives}/";',
            f'APT::Architecture "{architecture}";',
            f'APT::Architectures {{ "{architecture}"; }};',
            'APT::Install-Recommends "false";',
            'Acquire::Languages "none";',
            'Acquire::Retries "2";',
            'Acquire::http::Timeout "30";',
            'Acquire::https::Timeout "30";',
            'Acquire::Check-Valid-Until "true";',
            'Acquire::Check-Date "true";',
            'APT::Get::AllowUnauthenticated "false";',
            *host_settings(),
        ]
        path = folder / "apt.conf"
        write_atomically(path, "\n".join(lines) + "\n", 0o644)  # apt's own user reads it
        return path

    def run(self, *arguments: str, status: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run apt-get for this buildroot, judging by the dpkg status file `status`."""
        configuration = self._configuration(status or self._folder / "empty-status")
        environment = {
            "APT_CONFIG": str(configuration),
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        command = ["apt-get", *arguments]
        with tempfile.TemporaryFile(dir=self._folder) as out:
            with tempfile.TemporaryFile(dir=self._folder) as err:
                code = process.run(command, environment, out, err, self._check)
                return subprocess.CompletedProcess(command, code, _text(out), _text(err))

    def update(self, at_most_seconds: float = LISTS_FRESH_SECONDS) -> None:
        """Fetch the lists unless they are younger than that; raise BrokenError when it fails."""
        if self._updated.exists():
            age = time.time() - self._updated.stat().st_mtime
            if 0 <= age < at_most_seconds:
                return
        done = self.run("-o", "APT::Update::Error-Mode=any", "update")
        # Before apt 2.1 there is no Error-Mode: a list that could not be fetched is a warning.
        if done.returncode != 0 or "Failed to fetch" in done.stderr:
            raise BrokenError(f"package lists cannot be fetched: {_words(done)}")
        write_atomically(self._updated, "")

    def upgrades(self, status: Path) -> Solution:
        """Return what would change in the root of that status file, with the lists as they are."""
        done = self.run("-s", "-y", "dist-upgrade", status=status)
        if done.returncode != 0:
            raise BrokenError(f"apt cannot judge the base root: {_words(done)}")
        return _solution(done.stdout)

    def build_dependencies(self, dsc: Path, status: Path, only_arch: bool) -> Solution:
        """Return what `dsc` needs to build; FailedError in apt's words if that cannot be."""
        arguments = ["-y", "build-dep", *(["--arch-only"] if only_arch else []), str(dsc)]
        done = self.run("-s", *arguments, status=status)
        if done.returncode != 0:
            raise FailedError(f"build dependencies cannot be satisfied: {_words(done)}")
        solution = _solution(done.stdout)
        fetched = self.run("--download-only", *arguments, status=status)
        missing = [name for name in solution.files if not (self.archives / name).is_file()]
        if fetched.returncode != 0 or missing:
            words = _words(fetched) if fetched.returncode else f"{missing[0]} did not arrive"
            raise BrokenError(f"build dependencies cannot be fetched: {words}")
        for name in solution.files:
            os.utime(self.archives / name)
        return solution

    def prune(self, keep_bytes: int = ARCHIVES_KEPT_BYTES) -> None:
        """Remove the packages used longest ago until what is left fits."""
        files = sorted(self.archives.glob("*.deb"), key=lambda p: p.stat().st_mtime, reverse=True)
        total = 0
        for file in files:
            total += file.stat().st_size
            if total > keep_bytes:
                file.unlink()


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _solution(simulated: str) -> Solution:
    files, remove = [], []
    for line in simulated.splitlines():
        installed, removed = _INST.match(line), _REMV.match(line)
        if installed:
            name = installed[1].partition(":")[0]
            version = installed[2].replace("%", "%25").replace("_", "%5f").replace(":", "%3a")
            files.append(f"{name}_{version}_{installed[3]}.deb")
        elif removed:
            remove.append(removed[1])
    return Solution(files, remove)


def _words(done: subprocess.CompletedProcess[str]) -> str:
    """Return apt's own words for what went wrong, on one line."""
    lines = done.stderr.splitlines()
    marks = ("E: ", "W: Failed")
    start = done.stdout.find("The following packages have unmet dependencies")
    unmet = done.stdout[start:].splitlines() if start >= 0 else []
    words = [line.strip() for line in unmet[1:] if line.startswith(" ")]
    words += [line[3:] for line in lines if line.startswith(marks)]
    return " | ".join(words) or f"apt ended with code {done.returncode}"


def installed(status: str) -> list[str]:
    """Return `name version architecture` of each package installed by that status file, sorted.

    Raises FailedError for one that dpkg would not have written.
    """
    found = []
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if line[:1] != " " and ": " in line
        )
        if fields.get("Status", "").endswith(" installed"):
            values = [fields.get(name, "") for name in ("Package", "Version", "Architecture")]
            if not all(value and value.isprintable() for value in values):
                raise FailedError(
                    "dpkg's status file names a package without name, version or architecture; "
                    "a script of a build dependency changed it"
                )
            found.append(" ".join(values))
    return sorted(found)


def digest(packages: list[str]) -> str:
    """Return the SHA-256 of that list, a line each."""
    return hashlib.sha256("".join(f"{line}\n" for line in packages).encode()).hexdigest()
