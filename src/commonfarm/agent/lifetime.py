"""Ties everything the agent starts and mounts to its own life.

The agent works in a PID and a mount namespace of its own. When it dies, even by `kill -9`, the
kernel ends every process it started, and the mounts go with the last of them: there is nothing to
find and tidy but files and empty cgroups. See pid_namespaces(7) and mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Callable

_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY = 0x1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_PR_SET_PDEATHSIG = 1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    result = _libc.mount(
        text(source), text(target), text(kind), ctypes.c_ulong(flags), ctypes.c_void_p(None)
    )
    _check(result, f"mount {target}")


def _forward_to(pid: int) -> None:
    def forward(number: int, _frame: FrameType | None) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    for number in _FORWARDED:
        signal.signal(number, forward)


def _exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _writable_cgroups() -> None:
    """Make cgroup mounts writable here: a booted nspawn guest has them read-only."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.split()[0] in ("cgroup", "cgroup2") and "ro" in fields[5].split(","):
            try:
                _mount(None, fields[4], None, _MS_REMOUNT | _MS_BIND)
            except OSError:
                continue  # then limits.py finds it unusable and says so


def contained(main: Callable[[], int]) -> int:
    """Run `main` in namespaces of its own and return its exit code, leaving no process or mount.

    SIGTERM, SIGINT and SIGHUP are handed on to `main`. Needs root; raises OSError where the kernel
    refuses.
    """
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID), "unshare")
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    first = os.fork()
    if first:
        _forward_to(first)
        return _exit_code(os.waitpid(first, 0)[1])
    code = 1
    try:
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        _mount("proc", "/proc", "proc", 0)
        _writable_cgroups()
        code = _init(main)
    finally:
        os._exit(code)


def _init(main: Callable[[], int]) -> int:
    """Be process 1: start `main`, gather orphans, end with it; the kernel ends the rest."""
    worker = os.fork()
    if worker == 0:
        for number in _FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        code = 1
        try:
            code = main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in ("stdout", "stderr"):
                getattr(__import__("sys"), stream).flush()
            os._exit(code)
    _forward_to(worker)
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == worker:
            return _exit_code(status)
