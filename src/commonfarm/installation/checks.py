"""The doctor's checks. Each tries the thing itself and returns what it found and the command that
mends it, empty when nothing needs mending.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from commonfarm.installation import configure, status, users
from commonfarm.installation.packages import missing, needed
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.lib.places import state_folder
from commonfarm.lib.units import format_bytes

ENOUGH_DISK = 5 * 2**30
SUPPORTED = {"12", "13"}
NOT_ROOT = "not examined: that needs root; run `sudo .venv/bin/commonfarm doctor`"

_PROBE = """
import json, pathlib, sys
from commonfarm.agent import lifetime, limits

def probe():
    print(json.dumps(limits.probe(pathlib.Path(sys.argv[1])).names()))
    return 0

sys.exit(lifetime.contained(probe))
"""

Result = tuple[str, str]


def system() -> Result:
    """Which Debian, kernel and Python these are."""
    release = platform.freedesktop_os_release()
    found = (
        f"{release.get('PRETTY_NAME', 'unknown system')}, Linux {platform.release()},"
        f" Python {platform.python_version()} ({sys.executable})"
    )
    if release.get("ID") == "debian" and release.get("VERSION_ID") in SUPPORTED:
        return found, ""
    return f"{found}; only Debian 12 and 13 are tried", ""


def packages() -> Result:
    """Whether Debian's packages are installed."""
    wanted = needed()
    lacking = missing(wanted)
    if not lacking:
        return f"all {len(wanted)} are installed", ""
    names = " ".join(one.name for one in lacking)
    why = ", ".join(f"{one.name} ({one.purpose})" for one in lacking)
    return f"missing: {why}", f"{_sudo()}apt-get install --no-install-recommends {names}"


def namespaces() -> Result:
    """Whether processes can be given their own view of the system."""
    if os.getuid():
        return NOT_ROOT, ""
    kinds = ("mount", "pid", "net", "ipc", "uts", "cgroup")
    done = _run("unshare", *(f"--{kind}" for kind in kinds), "--fork", "true")
    if done.returncode == 0:
        return ", ".join(kinds), ""
    return (
        f"refused: {done.stderr.strip()}",
        "run this host as a virtual machine, or its container with `--capability=all`",
    )


def user_namespaces() -> Result:
    """Whether builds can have user ids of their own."""
    file = Path("/proc/sys/user/max_user_namespaces")
    most = int(file.read_text()) if file.exists() else 0
    if most > 0:
        return f"up to {most}", ""
    return "switched off", f"{_sudo()}sysctl -w user.max_user_namespaces=10000"


def overlay() -> Result:
    """Whether an overlay can be mounted where builds are made."""
    if os.getuid():
        return NOT_ROOT, ""
    with tempfile.TemporaryDirectory(dir=_existing(state_folder("doctor"))) as text:
        folder = Path(text)
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir()
        options = ",".join(f"{name}dir={folder / name}" for name in ("lower", "upper", "work"))
        # In a mount namespace of its own, so nothing is left mounted whatever happens.
        mount = ("mount", "-t", "overlay", "-o", options, "overlay", str(folder / "merged"))
        done = _run("unshare", "--mount", *mount)
    if done.returncode == 0:
        return f"mounts on {folder.parent}", ""
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the kernel has none", f"{_sudo()}modprobe overlay"
    return (
        f"refused on {folder.parent}: {done.stderr.strip()}",
        f"mount an ext4 or xfs file system at {folder.parent}",
    )


def sandbox() -> Result:
    """Whether runc is there."""
    program = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return "no runc", f"{_sudo()}apt-get install runc"
    return _run(program, "--version").stdout.splitlines()[0], ""


def limits() -> Result:
    """What can be enforced on builds, found out by crossing each limit."""
    if os.getuid():
        return NOT_ROOT, ""
    with tempfile.TemporaryDirectory(dir=_existing(state_folder("doctor"))) as folder:
        # As the agent does it: in namespaces of its own, where cgroups may be writable.
        done = _run(sys.executable, "-c", _PROBE, folder)
    if done.returncode:
        return (
            f"cannot be found out: {done.stderr.strip()}",
            "run this host as a virtual machine, or its container with `--capability=all`",
        )
    names: dict[str, str] = json.loads(done.stdout)
    found = ", ".join(f"{what} by {by}" for what, by in sorted(names.items()))
    loose = [what for what, by in names.items() if by == "none"]
    if not loose:
        return found, ""
    return (
        f"{found}; a build's {' and '.join(loose)} cannot be limited here",
        (
            "mount the cgroup controllers: boot with systemd.unified_cgroup_hierarchy=1, or give"
            " the container its own writable cgroup"
        ),
    )


def disk(config: Config | None) -> Result:
    """Whether there is room for roots, builds and packages."""
    folder = _existing(config.state if config else state_folder("production"))
    free = shutil.disk_usage(folder).free
    found = f"{format_bytes(free)} free at {folder}"
    if free >= ENOUGH_DISK:
        return found, ""
    return (
        found,
        f"free {format_bytes(ENOUGH_DISK - free)} there: {_sudo()}apt-get clean is a start",
    )


def users_of_processes() -> Result:
    """Which operating system user each process runs as."""
    served = ("hub", "live", "scheduler", "worker", "operator", "signer", "redirector", "rsyncd")
    names = (*served, "postgres", "agent")
    if users.separate():
        return ", ".join(f"{name} as {users.user_of(name)}" for name in names), ""
    return f"agent as root by sudo, all others as {users.user_of('hub')}", ""


def sudo() -> Result:
    """Whether the local builder can be started as root without asking."""
    if shutil.which("sudo") and _run("sudo", "-n", "true").returncode == 0:
        return "sudo works without a password", ""
    user = users.user_of("hub")
    return (
        "sudo is missing or asks for a password, so there is no local builder",
        (
            f"as root: apt-get install sudo && echo '{user} ALL=(ALL) NOPASSWD: ALL'"
            " > /etc/sudoers.d/commonfarm"
        ),
    )


def ports(config: Config) -> Result:
    """Whether the ports of the installation are free, or its own."""
    if status.holder(config) is not None:
        return f"in use by {config.name}, which runs", ""
    try:
        configure.refuse_taken_ports(config)
    except RefusedError as error:
        return error.reason.text, error.reason.lifted_by
    return f"free for {config.name}", ""


def rsync(config: Config) -> Result:
    """Whether mirrors can pull by rsync."""
    if not config.listen.rsync:
        return f"not offered: add `rsync = PORT` to [listen] in {config.file}", ""
    if shutil.which("rsync") is None:
        return "no rsync", f"{_sudo()}apt-get install rsync"
    return f"offered at {config.rsync_url}", ""


def _existing(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _sudo() -> str:
    return "sudo " if os.getuid() else ""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
