"""Where the agent keeps what it must find again: one directory per enrolled builder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from commonfarm.agent.errors import AgentError

DEFAULT = Path("/var/lib/commonfarm-agent")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""The numbers of the errors by which a file system says that it takes no more."""


@dataclass(frozen=True)
class Credential:
    """What enrolment gave: where the hub is, who we are, and how we prove it."""

    hub: str
    scheduler_urls: list[str]
    builder: str
    generation: int
    credential: str

    def __repr__(self) -> str:
        return f"Credential({self.builder}@{self.generation} of {self.hub})"


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` by `text` in one step that outlives a power cut."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class State:
    """The agent's directory. Its folders are 0711: the sandbox's ids must be able to pass."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        # Mount options and apt's configuration are lines with separators of their own.
        if re.fullmatch(r"[A-Za-z0-9/._+@-]+", str(self.root)) is None:
            raise AgentError(
                f"the state directory {str(self.root)!r} has characters that mount options or "
                "apt.conf would misread; choose another"
            )
        self.roots = self.root / "roots"
        self.apt = self.root / "apt"
        self.jobs = self.root / "jobs"
        self.runc = self.root / "runc"
        self.credential_file = self.root / "credential.json"

    @property
    def cgroup(self) -> str:
        """The cgroup below which all sandboxes of this state directory run."""
        return "commonfarm-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:12]

    def prepare(self) -> None:
        """Make the folders; raise AgentError when the sandbox's ids could not pass to them."""
        for folder in (self.root, self.roots, self.apt, self.jobs):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.chmod(0o711)
        self.runc.mkdir(mode=0o700, exist_ok=True)
        for folder in self.root.parents:
            if not folder.stat().st_mode & stat.S_IXOTH:
                raise AgentError(
                    f"{folder} shuts out the unprivileged ids that builds run as; "
                    f"run `chmod o+x {folder}`, or choose another state directory"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this directory for one agent; raise AgentError when another has it."""
        self.prepare()
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AgentError(
                    f"another agent works in {self.root}; stop it, or choose another --state"
                ) from None
            yield

    def save_credential(self, credential: Credential) -> None:
        """Keep what enrolment gave, readable by root alone."""
        write_atomically(self.credential_file, json.dumps(asdict(credential)), 0o600)

    def credential(self) -> Credential:
        """Return what enrolment gave; raise AgentError when this agent is not enrolled."""
        try:
            data: dict[str, Any] = json.loads(self.credential_file.read_text("utf-8"))
            return Credential(**data)
        except FileNotFoundError:
            raise AgentError(
                "this builder is not enrolled; ask a coordinator for a token and run "
                "`agent enrol --hub URL --token -`"
            ) from None
        except (ValueError, TypeError) as error:
            raise AgentError(f"{self.credential_file} is damaged ({error}); enrol again") from None
