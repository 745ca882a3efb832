"""Processes that an earlier `up` left behind: found by what they carry, so never a stranger's.

A pid alone may belong to somebody else by now. Our processes carry a variable that names the
installation, which their children inherit; PostgreSQL's are known by the folder they work in.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

VARIABLE = "COMMONFARM_PROCESS"

Belongs = Callable[[int], bool]


def mark(state: Path, process: str) -> str:
    """Return what the variable of `process` holds."""
    return f"{state}:{process}"


def carries(state: Path) -> Belongs:
    """Return a test for the processes that were started for the installation with this state."""
    wanted = f"{VARIABLE}={state}:".encode()

    def belongs(pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return any(entry.startswith(wanted) for entry in environment.split(b"\0"))

    return belongs


def works_in(folder: Path) -> Belongs:
    """Return a test for the processes whose working directory is `folder`, by whatever path."""

    def belongs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").samefile(folder)
        except OSError:
            return False

    return belongs


def pids(belongs: Belongs) -> list[int]:
    """Return the processes that belong, ourselves left out."""
    return [pid for pid in _all() if pid != os.getpid() and belongs(pid)]


def send(pid: int, number: signal.Signals, belongs: Belongs) -> None:
    """Signal `pid` if it still belongs; a pid that was taken over meanwhile is left alone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if belongs(pid):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def stop(belongs: Belongs, number: signal.Signals, seconds: float) -> int:
    """Ask all that belong to end by `number`, kill what is left; return how many there were.

    What they held, such as a port, is free then: a process loses its environment before.
    """
    found = pids(belongs)
    with ExitStack() as held:
        ends = []
        for pid in found:
            with suppress(ProcessLookupError):
                ends.append(os.pidfd_open(pid))
                held.callback(os.close, ends[-1])
        for pid in found:
            send(pid, number, belongs)
        if not wait(belongs, seconds):
            for pid in pids(belongs):
                send(pid, signal.SIGKILL, belongs)
            wait(belongs, 10)
        for end in ends:
            select.select([end], [], [], 10)
    return len(found)


def wait(belongs: Belongs, seconds: float) -> bool:
    """Wait until none that belongs is left; say whether it came to that in time."""
    deadline = time.monotonic() + seconds
    while pids(belongs):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _all() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)
