"""Base roots: the pristine file system that every job starts from, made once and kept.

Made by mmdebstrap, moved into place in one step, and never written to again: a job sees it through
an overlay. It belongs to the ids of the sandbox's user namespace, by one chown when it is made,
since idmapped mounts below an overlay need Linux 5.19 and Debian 11's kernel is older.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from commonfarm.agent import process
from commonfarm.agent.errors import BrokenError
from commonfarm.agent.oci import BUILDER_ID, FIRST_ID
from commonfarm.agent.packages import Apt, digest, host_settings, installed, key_of
from commonfarm.agent.protocol import Buildroot
from commonfarm.agent.state import State, write_atomically

INSTALLER_VERSION = 1
"""Raised when the same description would make another root."""

_KEYRING = "usr/share/keyrings/commonfarm-buildroot"


@dataclass(frozen=True)
class BaseRoot:
    """A root in place: its tree, the digest of its package list, and that list."""

    tree: Path
    digest: str
    packages: list[str]

    @property
    def status(self) -> Path:
        """dpkg's list of what is installed."""
        return self.tree / "var/lib/dpkg/status"


def _read(folder: Path) -> BaseRoot:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return BaseRoot(folder / "tree", manifest["digest"], manifest["packages"])


@contextmanager
def base_root(
    state: State,
    buildroot: Buildroot,
    write: Callable[[bytes], None],
    check: Callable[[], None],
) -> Iterator[BaseRoot]:
    """Yield an up-to-date base root for `buildroot`, made if need be, and kept while in use.

    `write` takes what is said while it is made; `check` may end it by raising. Raises BrokenError
    when it cannot be made: that is never the fault of what is to be built.
    """
    apt = Apt(state, buildroot, check)
    key = f"{key_of(buildroot)}-{INSTALLER_VERSION}"
    current = state.roots / key
    with (state.roots / f"{key}.lock").open("w") as lock:
        _wait_for(lock.fileno(), check)
        apt.update()
        if not _is_fresh(apt, current, write):
            made = _make(state, apt, buildroot, key, write, check)
            link = state.roots / f"{key}-making-link"
            link.unlink(missing_ok=True)
            link.symlink_to(made.name)
            link.replace(current)
        in_use = os.open(current.resolve(strict=True), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(in_use, fcntl.LOCK_SH)
            root = _read(current.resolve())
        except BaseException:
            os.close(in_use)
            raise
    try:
        yield root
    finally:
        os.close(in_use)


def _wait_for(lock: int, check: Callable[[], None]) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # noqa: PERF203 - it waits anyway
            check()
            time.sleep(process.TICK_SECONDS)


def _is_fresh(apt: Apt, current: Path, write: Callable[[bytes], None]) -> bool:
    if not current.exists():
        return False
    root = _read(current.resolve())
    changes = apt.upgrades(root.status)
    if changes.is_empty:
        return True
    names = ", ".join(changes.files + changes.remove)
    write(f"The base root is made anew: an upgrade would change {names}\n".encode())
    return False


def _make(
    state: State,
    apt: Apt,
    buildroot: Buildroot,
    key: str,
    write: Callable[[bytes], None],
    check: Callable[[], None],
) -> Path:
    """Make a root in a folder of its own and move it into place; return where it is."""
    making = state.roots / f"{key}-making-{os.getpid()}"
    if making.exists():
        shutil.rmtree(making)
    making.mkdir(mode=0o755)
    try:
        _bootstrap(apt, buildroot, making, write, check)
        tree = making / "tree"
        packages = installed((tree / "var/lib/dpkg/status").read_text("utf-8", "replace"))
        _finish(tree, apt)
        manifest = {"digest": digest(packages), "packages": packages}
        write_atomically(making / "manifest.json", json.dumps(manifest), 0o644)
        os.sync()  # a root that a power cut left half written would be believed for ever
        made = state.roots / f"{key}-{manifest['digest'][:16]}-{time.time_ns()}"
        making.rename(made)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return made


def _bootstrap(
    apt: Apt,
    buildroot: Buildroot,
    making: Path,
    write: Callable[[bytes], None],
    check: Callable[[], None],
) -> None:
    sources = making / "sources.list"
    sources.write_text("\n".join(apt.source_lines()) + "\n", encoding="utf-8")
    options = making / "apt.conf"
    checks = ['Acquire::Check-Valid-Until "true";', 'Acquire::Check-Date "true";']
    options.write_text("\n".join([*checks, *host_settings()]) + "\n", encoding="utf-8")
    command = [
        # Its mounts below the new root live in a namespace that ends with it.
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "slave",
        "mmdebstrap", "--mode=root", "--variant=buildd", "--format=directory",
        f"--architectures={buildroot.architecture}", "--include=fakeroot",
        f"--aptopt={options}", buildroot.package_sources[0].suite, str(making / "tree"),
        str(sources),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(making),
    }
    output = making / "mmdebstrap.log"
    with output.open("wb") as sink, output.open("rb") as said:

        def check_and_tell() -> None:
            check()
            write(said.read())

        code = process.run(command, environment, sink, sink, check_and_tell)
        write(said.read())
    if code != 0:
        text = output.read_text("utf-8", "replace").splitlines()
        words = [line for line in text if line.startswith("E:")] or text[-3:]
        raise BrokenError(f"the base root cannot be made: {' | '.join(words)}")
    for path in (sources, options, output):
        path.unlink()


def _finish(tree: Path, apt: Apt) -> None:
    """Make of mmdebstrap's tree a buildroot: nothing of this host in it, the user `builder`, ids.

    The tree came from signed packages and nothing hostile has run in it yet, so plain paths below
    it are safe here (and nowhere else).
    """
    configuration = tree / "etc/apt/apt.conf.d/99mmdebstrap"
    configuration.unlink(missing_ok=True)  # it holds this host's proxies
    keyring = f"{_KEYRING}{apt.keyring.suffix}"
    (tree / keyring).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    shutil.copyfile(apt.keyring, tree / keyring)
    (tree / keyring).chmod(0o644)
    lines = apt.source_lines(f"/{keyring}")
    _write(tree / "etc/apt/sources.list", "\n".join(lines) + "\n")
    _write(tree / "etc/hostname", "builder\n")
    _write(tree / "etc/hosts", "127.0.0.1 localhost builder\n::1 localhost builder\n")
    _write(tree / "etc/resolv.conf", "")
    # Maintainer scripts ask this before they start a service: in a buildroot they may not.
    _write(tree / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    user = f"builder:x:{BUILDER_ID}:{BUILDER_ID}:builder:/build:/bin/sh\n"
    for name, line in (
        ("passwd", user),
        ("group", f"builder:x:{BUILDER_ID}:\n"),
        ("shadow", "builder:!:1::::::\n"),
        ("gshadow", "builder:!::\n"),
    ):
        path = tree / "etc" / name
        if path.exists():
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
    (tree / "build").mkdir(mode=0o755)
    os.chown(tree / "build", BUILDER_ID, BUILDER_ID)
    for name in ("run/commonfarm/source", "run/commonfarm/packages"):
        (tree / name).mkdir(mode=0o755, parents=True)
    _shift(tree)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)  # it may be a link to somewhere
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _shift(tree: Path) -> None:
    """Give every file to the sandbox's ids. A chown drops the set-id bits: they are put back.

    Raises OSError; a folder that cannot be read would else keep this host's ids below it.
    """

    def fail(error: OSError) -> None:
        raise error

    _shift_one(str(tree))
    for folder, names, files in os.walk(tree, onerror=fail):
        for name in names + files:
            _shift_one(f"{folder}/{name}")


def _shift_one(path: str) -> None:
    found = os.lstat(path)
    if found.st_uid >= FIRST_ID:
        return  # a file with two names, met a second time
    os.chown(path, found.st_uid + FIRST_ID, found.st_gid + FIRST_ID, follow_symlinks=False)
    if found.st_mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))  # noqa: PTH101 - strings: 13,000 of them


def prune(state: State) -> None:
    """Remove roots that are nobody's current one and that no job uses."""
    current = {path.resolve() for path in state.roots.iterdir() if path.is_symlink()}
    for folder in state.roots.iterdir():
        if folder.is_symlink() or not folder.is_dir() or folder in current:
            continue
        if "-making-" in folder.name:
            continue  # a maker's, or for `clean`
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
