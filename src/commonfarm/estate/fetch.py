"""Fetches a source package with apt, away from what this host's apt is told and knows.

apt verifies the index's signature and date and the checksum of every file, the .dsc included; the
files are compared with the .dsc once more when they are here. Of the host's settings only those by
which it reaches the network are kept: proxies, certificates, passwords of mirrors. Date checks are
on, whatever the host says. No Django in here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from commonfarm.estate.apt import PackageSource, run
from commonfarm.estate.keyrings import keyring_of
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.paths import is_file_name

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~:-]*")
_NETWORK = re.compile(
    r"(?i)Acquire::https?::(.*::)?"
    r"(Proxy|Proxy-?Auto-?Detect|CaInfo|CaPath|SslCert|SslKey|IssuerCert)(::.*)?"
)


def fetch_source(name: str, to: Path, sources: Sequence[PackageSource], version: str = "") -> Path:
    """Fetch the newest (or the given) version of source package `name` into the directory `to`.

    Returns the path of its .dsc; its other files lie beside it. Raises BadInputError for a name
    that cannot be one, NotFoundError when `sources` have no such package, UnreachableError when
    apt cannot fetch or verify it.
    """
    if not _NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
        wrong = f"{name}={version}" if version else name
        raise BadInputError(
            Problem(wrong, 0, 0, "is not the name of a source package", "write it like `hello`")
        )
    # Not below the caller's directory: apt's unprivileged fetcher must be able to enter.
    with tempfile.TemporaryDirectory(prefix="commonfarm-apt-") as home:
        work = Path(home)
        work.chmod(0o755)
        environment = {"APT_CONFIG": str(_configure(work, sources))}
        files = work / "files"
        files.mkdir()
        if os.getuid() == 0:
            shutil.chown(files, "_apt")
        wanted = f"{name}={version}" if version else name
        run("apt-get", "--quiet=2", "update", environment=environment)
        run(
            *("apt-get", "--quiet=2", "--only-source", "--download-only", "source", wanted),
            environment=environment,
            cwd=files,
        )
        (dsc,) = files.glob("*.dsc")
        to.mkdir(parents=True, exist_ok=True)
        for file in _verified(dsc):
            shutil.copyfile(file, to / file.name)
        shutil.copyfile(dsc, to / dsc.name)
    return to / dsc.name


def _configure(work: Path, sources: Sequence[PackageSource]) -> Path:
    """Write apt's whole configuration below `work` and return its file."""
    for directory in ("lists/partial", "cache/archives/partial", "parts"):
        (work / directory).mkdir(parents=True)
    (work / "status").touch()
    lines = []
    for number, source in enumerate(sources):
        # A copy: apt reads it as a user of its own, who may not enter every folder.
        keyring = work / f"{number}.gpg"
        shutil.copyfile(keyring_of([source], work / "keyrings"), keyring)
        components = " ".join(source.components)
        lines.append(f"deb-src [signed-by={keyring}] {source.uri} {source.suite} {components}\n")
    (work / "sources.list").write_text("".join(lines), encoding="utf-8")
    settings = {
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::main": work / "none",
        "Dir::Etc::parts": work / "parts",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": work / "parts",
        "Dir::Etc::preferences": work / "none",
        "Dir::Etc::preferencesparts": work / "parts",
        "Dir::Etc::trusted": work / "none",
        "Dir::Etc::trustedparts": work / "parts",
        "Dir::Log": work,
        "Acquire::Check-Date": "true",
        "Acquire::Check-Valid-Until": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Get::List-Cleanup": "false",
    }
    file = work / "apt.conf"
    file.touch(mode=0o600)  # a proxy's address may hold a password
    text = "".join(f'{key} "{value}";\n' for key, value in settings.items())
    file.write_text(text + _network_settings(), encoding="utf-8")
    return file


def _network_settings() -> str:
    """Return the host's own apt settings for proxies, certificates and passwords of mirrors."""
    kept = []
    for line in run("apt-config", "dump", "--format", "%F\t%v%n").splitlines():
        key, _, value = line.partition("\t")
        if _NETWORK.fullmatch(key) and value and '"' not in value:
            kept.append(f'{key} "{value}";\n')
    return "".join(kept)


def _verified(dsc: Path) -> list[Path]:
    """Return the other files that `dsc` lists, each compared with its SHA-256 and size there."""
    listed = re.search(
        r"^Checksums-Sha256:\s*\n((?: .*\n)+)", dsc.read_text(encoding="utf-8"), re.MULTILINE
    )
    files = []
    for line in listed[1].splitlines() if listed else []:
        sha256, size, name = line.split()
        file = dsc.with_name(name)
        good = is_file_name(name) and file.is_file() and file.stat().st_size == int(size)
        if not good or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise RefusedError(
                Reason(
                    "checksum-mismatch",
                    f"{name} is not what {dsc.name} says it is",
                    "fetch it again; if it stays so, tell the mirror's administrator",
                )
            )
        files.append(file)
    if not files:
        raise RefusedError(
            Reason("no-checksums", f"{dsc.name} has no SHA-256 checksums", "ask for a newer one")
        )
    return files
