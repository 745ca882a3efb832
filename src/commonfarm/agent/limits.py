"""What of a job's limits this host can enforce, found out by trying each.

A limit that is only believed in is worse than none: each probe sets one, crosses it, and looks
whether the kernel stopped it.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from commonfarm.agent import disk
from commonfarm.agent.oci import Enforced
from commonfarm.agent.protocol import Limits

_MIB = 2**20
_OPEN_FILES = 65536
_EAT_MEMORY = (
    "import sys; open(sys.argv[1], 'w').write('0'); x = bytearray(96 << 20)\n"
    "for i in range(0, len(x), 4096): x[i] = 1"
)
_FORK = (
    "import os, sys, time; open(sys.argv[1], 'w').write('0')\n"
    "for _ in range(8):\n"
    "    try:\n"
    "        if os.fork() == 0: time.sleep(5); os._exit(0)\n"
    "    except OSError: sys.exit(7)"
)


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy that has a controller: version 1 or 2."""

    version: int
    path: Path


@dataclass(frozen=True)
class Means:
    """What enforces each limit here, in the words of `protocol.Facts.limits`."""

    memory: str
    processes: str
    disk: str
    swap_counted: bool
    time: str = "watchdog"

    def names(self) -> dict[str, str]:
        """Return the four as `Facts.limits` wants them."""
        return {
            "memory": self.memory,
            "processes": self.processes,
            "disk": self.disk,
            "time": self.time,
        }

    @property
    def uses_cgroups(self) -> bool:
        """Whether any limit is a cgroup's."""
        return self.memory.startswith("cgroup") or self.processes.startswith("cgroup")

    def enforce(self, limits: Limits, cgroup: str) -> Enforced:
        """Return what to ask of the kernel for `limits`, in the cgroup of that absolute path."""
        memory = limits.memory_bytes if self.memory.startswith("cgroup") else None
        return Enforced(
            cgroup=cgroup if self.uses_cgroups else "",
            memory_bytes=memory,
            swap_bytes=memory if self.swap_counted else None,
            processes=limits.processes if self.processes.startswith("cgroup") else None,
            rlimit_memory_bytes=limits.memory_bytes if self.memory == "rlimit" else None,
            rlimit_processes=limits.processes if self.processes == "rlimit" else None,
            shared_memory_bytes=max(limits.memory_bytes // 2, _MIB),
            # Not more than our own: root may lack CAP_SYS_RESOURCE, as in a container.
            open_files=min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )


def hierarchy(controller: str, mountinfo: str | None = None) -> Hierarchy | None:
    """Return where `controller` is mounted, version 1 first as in hybrid mode; None if nowhere."""
    unified = None
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_text("utf-8")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _source, options = right.split(" ", 2)
        path = Path(left.split()[4])
        if kind == "cgroup" and controller in options.split(","):
            return Hierarchy(1, path)
        if kind == "cgroup2":
            unified = path
    if unified is not None:
        with suppress(OSError):
            if controller in (unified / "cgroup.controllers").read_text("ascii").split():
                return Hierarchy(2, unified)
    return None


def cgroup_folders(relative: str) -> list[Path]:
    """Return the folder of that cgroup in every hierarchy that has it."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] in ("cgroup", "cgroup2"):
            folder = Path(left.split()[4]) / relative
            if folder.is_dir():
                found.append(folder)
    return found


def remove_cgroup(relative: str, patience: float = 5.0) -> bool:
    """End every process in that cgroup and below and remove it; say whether it is gone."""
    end = time.monotonic() + patience
    while True:
        folders = [
            Path(folder)
            for top in cgroup_folders(relative)
            for folder, _, _ in os.walk(top, topdown=False)
        ]
        for folder in folders:
            with suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text("ascii").split():
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):
                folder.rmdir()
        if not cgroup_folders(relative):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.05)


@contextmanager
def _cgroup(where: Hierarchy, controller: str) -> Iterator[Path]:
    name = f"commonfarm-probe-{os.getpid()}"
    if where.version == 2:
        with suppress(OSError):
            (where.path / "cgroup.subtree_control").write_text(f"+{controller}")
    folder = where.path / name
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_cgroup(name)


def _try(script: str, folder: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "cgroup.procs")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return done.returncode


def _memory() -> tuple[str, bool]:
    where = hierarchy("memory")
    if where is None:
        return "rlimit", False
    limit, swap = (
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        if where.version == 1
        else ("memory.max", "memory.swap.max")
    )
    try:
        with _cgroup(where, "memory") as folder:
            (folder / limit).write_text(str(32 * _MIB))
            counts_swap = (folder / swap).exists()
            if counts_swap:
                (folder / swap).write_text(str(32 * _MIB if where.version == 1 else 0))
            if _try(_EAT_MEMORY, folder) == -signal.SIGKILL:
                return f"cgroup{where.version}", counts_swap
    except (OSError, subprocess.SubprocessError):
        pass
    return "rlimit", False


def _processes() -> str:
    where = hierarchy("pids")
    if where is None:
        return "rlimit"
    try:
        with _cgroup(where, "pids") as folder:
            (folder / "pids.max").write_text("3")
            if _try(_FORK, folder) == 7:
                return f"cgroup{where.version}"
    except (OSError, subprocess.SubprocessError):
        pass
    return "rlimit"


def probe(state: Path) -> Means:
    """Try every limit on this host; takes about a second."""
    memory, swap_counted = _memory()
    with tempfile.TemporaryDirectory(dir=state, prefix="probe-") as folder:
        sized = disk.can_limit(Path(folder))
    return Means(
        memory=memory,
        processes=_processes(),
        disk="overlay-size" if sized else "watchdog",
        swap_counted=swap_counted,
    )


def architecture() -> str:
    """Return Debian's name of this host's architecture."""
    try:
        done = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return platform.machine()
    return done.stdout.strip()
