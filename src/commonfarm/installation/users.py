"""As which operating system user each process runs, and who may read what.

When root starts `up`, each process has a system user of its own, so that a fault in one reaches
neither the keys of another nor its files. Otherwise all run as the one who started it, and only the
agent, which makes root file systems, is root by sudo.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, UnreachableError

STORE_GROUP = "commonfarm"
"""Who writes and reads the store."""
WEB_GROUP = "commonfarm-web"
"""Who reads the key that signs sessions."""
RSYNC_GROUP = "commonfarm-rsyncd"
"""Who reads what is under embargo, and the passwords for it: the own group of rsync's daemon."""

_GROUPS = {
    "hub": (STORE_GROUP, WEB_GROUP),
    "live": (STORE_GROUP, WEB_GROUP),
    "scheduler": (),
    "worker": (STORE_GROUP,),
    "operator": (),
    "signer": (STORE_GROUP,),
    "redirector": (),
    "rsyncd": (),
    "postgres": (),
}


def separate() -> bool:
    """Say whether each process has a user of its own: only root can arrange that."""
    return os.getuid() == 0


def user_of(process: str) -> str:
    """Return the name of the operating system user that `process` runs as."""
    if process == "agent":
        return "root"
    return f"commonfarm-{process}" if separate() else pwd.getpwuid(os.getuid()).pw_name


def ensure() -> None:
    """As root, make the system users and groups that are missing; idempotent."""
    if not separate():
        return
    for group in (STORE_GROUP, WEB_GROUP):
        if not _group_exists(group):
            _tool("groupadd", "--system", group)
    for process, groups in _GROUPS.items():
        name = user_of(process)
        try:
            pwd.getpwnam(name)
        except KeyError:
            _tool(
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir=/nonexistent",
                "--shell=/usr/sbin/nologin",
                f"--comment=Commonfarm {process}",
                name,
            )
        for group in groups:
            if name not in grp.getgrnam(group).gr_mem:
                _tool("usermod", "--append", f"--groups={group}", name)


def peers(config: Config) -> dict[str, list[str]]:
    """Return which database roles each operating system user may take, for `peer`."""
    found: dict[str, list[str]] = {}
    for process in _GROUPS:
        if process in ("redirector", "rsyncd", "postgres"):
            continue
        role = config.database.signer_user if process == "signer" else config.database.user
        found.setdefault(user_of(process), []).append(role)
    # Whoever runs `up` migrates the tables, and owns them by the same role.
    found.setdefault(pwd.getpwuid(os.getuid()).pw_name, []).append(config.database.user)
    return found


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the installation: whose, of which group, with which mode."""

    path: Path
    mode: int
    process: str | None = None
    group: str | None = None


def folders(config: Config) -> list[Folder]:
    """Return every folder that `up` makes, parents first."""
    return [
        Folder(config.state, 0o755),
        Folder(config.runtime, 0o755),
        Folder(config.state / "log", 0o700),
        Folder(config.state / "secrets", 0o750, None, WEB_GROUP),
        Folder(config.store, 0o2770, None, STORE_GROUP),
        Folder(config.published, 0o755, "worker", STORE_GROUP),
        Folder(config.keyring, 0o700, "signer"),
        Folder(config.public_keys, 0o755, "signer"),
        Folder(config.mirror_map.parent, 0o755, "worker", STORE_GROUP),
        # The redirector puts batches there, the worker takes them away.
        Folder(config.counts, 0o2770, "redirector", STORE_GROUP),
        # Their group is kept by what is made in them: the worker writes, rsync's daemon reads.
        Folder(config.published / ".staging", 0o2750, "worker", RSYNC_GROUP),
        Folder(config.rsyncd_config.parent, 0o2750, "worker", RSYNC_GROUP),
        Folder(config.rsyncd_locks.parent, 0o700, "rsyncd"),
        Folder(config.signer_socket.parent, 0o750, "signer", STORE_GROUP),
        Folder(config.state / "agent", 0o711),
        # Where a keyring is kept that was put together from several of the host's: by the hub when
        # it loads a directory, by the worker when it loads a commit.
        Folder(config.state / "keyrings", 0o2775, "hub", STORE_GROUP),
        Folder(config.followed, 0o700, "worker"),
        # Its key is closed by its own mode, and the public half is for everyone.
        Folder(config.operator, 0o755, "operator"),
    ]


def make_folders(config: Config) -> None:
    """Make the folders and set owner, group and mode of each; idempotent."""
    for folder in folders(config):
        folder.path.mkdir(parents=True, exist_ok=True)
        if separate():
            owner = user_of(folder.process) if folder.process else "root"
            shutil.chown(folder.path, owner, folder.group or pwd.getpwnam(owner).pw_gid)
        folder.path.chmod(folder.mode)


def write_private(file: Path, text: str, group: str | None = None) -> None:
    """Write `file` in one step, readable by its owner, and by `group` where users are separate."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    if group and separate():
        shutil.chown(partial, "root", group)
        partial.chmod(0o640)
    partial.rename(file)


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _tool(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnreachableError(
            Reason(
                "users-not-made",
                f"{command[0]} failed: {done.stderr.strip()}",
                f"run it yourself: {' '.join(command)}",
            )
        )
