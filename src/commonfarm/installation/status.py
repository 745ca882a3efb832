"""What `up` says of itself while it runs, and how it is told to stop.

A lock in the state folder is held by the running `up`: the kernel names its holder, so a pid is
never guessed, and drops it with the holder, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from commonfarm.installation.supervised import Supervised
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError, UnreachableError

STOP_SECONDS = 90
_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


def _lock_file(config: Config) -> Path:
    return config.state / "lock"


def _status_file(config: Config) -> Path:
    return config.runtime / "status.json"


def holder(config: Config) -> int | None:
    """Return the pid of the `up` that runs this installation, None if none does."""
    try:
        descriptor = os.open(_lock_file(config), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(pid)


def hold(config: Config) -> int:
    """Take the lock until this process ends; RefusedError when another `up` has it.

    The descriptor that is returned must stay open: closing any of that file drops the lock.
    """
    descriptor = os.open(_lock_file(config), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise RefusedError(
            Reason(
                "runs-already",
                f"{config.name} runs already, as process {holder(config)}",
                f"`commonfarm --installation {config.name} down` stops it",
            )
        ) from None
    return descriptor


def write(config: Config, ready: bool, processes: Iterable[Supervised]) -> None:
    """Say how things are, for `read`."""
    shown = _about(config) | {
        "pid": os.getpid(),
        "ready": ready,
        "processes": [one.shown() for one in processes],
    }
    partial = _status_file(config).with_suffix(".partial")
    partial.write_text(json.dumps(shown), encoding="utf-8")
    partial.chmod(0o644)
    partial.rename(_status_file(config))


def read(config: Config) -> dict[str, Any]:
    """Return how things are: `ready`, and each process."""
    pid = holder(config)
    nothing = _about(config) | {"pid": pid, "ready": False, "processes": []}
    try:
        said = dict(json.loads(_status_file(config).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return nothing
    # What an earlier `up` said, before it was killed, is true no more.
    return said if said["pid"] == pid else nothing


def stop(config: Config) -> bool:
    """Stop the running `up` and wait until it has ended; say whether one ran."""
    pid = holder(config)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise RefusedError(
            Reason(
                "another-users",
                f"{config.name} was started by another user",
                f"stop process {pid} as that user, or as root",
            )
        ) from None
    deadline = time.monotonic() + STOP_SECONDS
    while holder(config) == pid:
        if time.monotonic() > deadline:
            raise UnreachableError(
                Reason(
                    "does-not-stop",
                    f"{config.name} (process {pid}) did not stop in {STOP_SECONDS} seconds",
                    "look at `commonfarm status` and its logs",
                )
            )
        time.sleep(0.1)
    return True


def _about(config: Config) -> dict[str, Any]:
    return {
        "installation": config.name,
        "web": config.public_url("hub"),
        "redirector": config.public_url("redirector"),
        "rsync": config.rsync_url,
        "published": str(config.published),
        "public_keys": str(config.public_keys),
        "state": str(config.state),
    }
