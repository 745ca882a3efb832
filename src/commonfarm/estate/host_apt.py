"""What this host's own apt configuration says of Debian: suite, architecture, package sources.

The address of the Debian mirror is never written in code; it is read from here. apt itself is
asked (`apt-get indextargets`), so one-line and deb822 entries, options and included files mean what
they mean to apt. Only Debian's own archive for the host's own suite, its updates and its security
fixes is taken: never a third party's entry, and never a backport. No Django in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from commonfarm.estate.apt import PackageSource, run, without_password
from commonfarm.estate.fetch import fetch_source
from commonfarm.estate.keyrings import keyring_of
from commonfarm.lib.errors import Reason, RefusedError

__all__ = [
    "PackageSource",
    "fetch_source",
    "host_architecture",
    "host_package_sources",
    "host_suite",
    "keyring_of",
]

OS_RELEASE = Path("/etc/os-release")
_SOURCE_HINT = "write the package sources out in the estate, under the target's `packages`"


@dataclass(frozen=True, slots=True)
class IndexTarget:
    """One index that apt has fetched; `origin` and `codename` are those of its Release file."""

    uri: str
    suite: str
    component: str
    origin: str = ""
    codename: str = ""
    signed_by: str = ""


def host_suite(os_release: Path = OS_RELEASE) -> str:
    """Return the codename of the Debian release that this host runs, such as `bookworm`."""
    fields = {}
    for line in os_release.read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            fields[key.strip()] = value.strip().strip("\"'")
    codename = fields.get("VERSION_CODENAME", "")
    if fields.get("ID") != "debian" or not re.fullmatch(r"[a-z]+", codename):
        raise RefusedError(
            Reason(
                "host-not-debian",
                f"this host is {fields.get('PRETTY_NAME', 'of an unknown kind')},"
                " not a release of Debian with a codename",
                "name a suite in place of `host`",
            )
        )
    return codename


def host_architecture() -> str:
    """Return this host's own Debian architecture, such as `amd64`."""
    return run("dpkg", "--print-architecture").strip()


def host_package_sources() -> list[PackageSource]:
    """Return Debian's own archive as this host's apt is told of it, in apt's order.

    Raises RefusedError naming each entry that was looked at, if none for the host's suite is left.
    """
    suite = host_suite()
    sources, excluded = choose(_index_targets(), suite)
    if not any(source.suite == suite for source in sources):
        seen = "; ".join(excluded) or "it has fetched no index"
        raise RefusedError(
            Reason(
                "no-debian-source",
                f"this host's apt has nothing usable of Debian {suite}: {seen}",
                f"add an entry to /etc/apt/sources.list.d, `apt-get update`, or {_SOURCE_HINT}",
            )
        )
    return sources


def choose(targets: Sequence[IndexTarget], host: str) -> tuple[list[PackageSource], list[str]]:
    """Return Debian's own sources for the suite `host` among `targets`, and why others are not.

    Pure but for `mirror+file:`, whose list of mirrors is read.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    excluded: dict[str, None] = {}
    for target in targets:
        label = f"{without_password(target.uri)} {target.suite}"
        why_not = _not_debian(target, host)
        if not why_not:
            uri, why_not = _usable(target.uri)
        if why_not:
            excluded[f"{label} {why_not}"] = None
            continue
        key = (uri, target.codename or target.suite, target.signed_by)
        components = found.setdefault(key, [])
        if target.component not in components:
            components.append(target.component)
    sources = [
        PackageSource(uri, suite, tuple(components), signed_by)
        for (uri, suite, signed_by), components in found.items()
    ]
    return sources, list(excluded)


def _not_debian(target: IndexTarget, host: str) -> str:
    """Say why `target` is not Debian's own archive for `host` or its fixes; empty if it is."""
    suites = (host, f"{host}-updates", f"{host}-security")
    if not target.component:
        return "is a flat repository"
    if (target.codename or target.suite) not in suites:
        return f"is for {target.codename or target.suite}, not for {host}"
    if target.origin != "Debian":
        return f"is of {target.origin or 'nobody who says so'}, not of Debian"
    return ""


def _usable(uri: str) -> tuple[str, str]:
    """Return `uri` as a builder elsewhere can use it, or why it cannot."""
    scheme, _, rest = uri.partition(":")
    if scheme == "mirror+file":
        return _first_mirror(Path(rest))
    if scheme not in ("http", "https"):
        return "", f"is reached by {scheme}:, which only this host can"
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "", "is no address"
    if parts.username or parts.password:
        return "", "has a password in its address; move it to /etc/apt/auth.conf.d"
    return uri.rstrip("/") + "/", ""


def _first_mirror(file: Path) -> tuple[str, str]:
    """Return the first HTTP mirror of a list as apt-transport-mirror(1) reads it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return "", f"names the mirror list {file}, which cannot be read: {error}"
    for line in lines:
        uri = line.split("#", 1)[0].split("\t")[0].strip()
        if uri.startswith(("http://", "https://")):
            return _usable(uri)
    return "", f"names the mirror list {file}, which has no HTTP mirror"


def _index_targets() -> list[IndexTarget]:
    """Ask apt which package indices it has; it leaves out what it never fetched."""
    text = run("apt-get", "indextargets", "Created-By: Packages")
    targets = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if "Repo-URI" not in fields:
            continue
        targets.append(
            IndexTarget(
                uri=fields["Repo-URI"],
                suite=fields.get("Release", ""),
                component=fields.get("Component", ""),
                origin=fields.get("Origin", ""),
                codename=fields.get("Codename", ""),
                signed_by=signed_by(fields.get("Sourcesentry", "")),
            )
        )
    return targets


def signed_by(entry: str) -> str:
    """Return the Signed-By of an entry that apt names as `FILE:NUMBER`; empty if there is none.

    The number counts lines of a one-line file and stanzas of a deb822 file (sources.list(5)).
    """
    file, _, number = entry.rpartition(":")
    if not file or not number.isdigit():
        return ""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    place = int(number) - 1
    if file.endswith(".sources"):
        stanzas = list(_stanzas(lines))
        return stanzas[place].get("signed-by", "") if place < len(stanzas) else ""
    options = re.search(r"\[(.*?)\]", lines[place]) if place < len(lines) else None
    found = re.search(r"(?i)\bsigned-by=(\S+)", options[1]) if options else None
    return found[1] if found else ""


def _stanzas(lines: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the stanzas of a deb822 file; names in lower case, comments left out (deb822(5))."""
    stanza: dict[str, str] = {}
    name = ""
    for line in (*(line for line in lines if not line.startswith("#")), ""):
        if not line.strip():
            if stanza:
                yield stanza
            stanza, name = {}, ""
        elif line[0] in " \t":
            if name:
                text = line.strip()
                stanza[name] += "\n" + ("" if text == "." else text)
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza[name] = value.strip()
