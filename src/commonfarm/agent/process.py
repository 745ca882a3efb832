"""A program of this host that may take long, and that a cancel or a deadline has to end."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import BinaryIO, Callable

TICK_SECONDS = 0.5


def run(
    command: list[str],
    environment: dict[str, str],
    stdout: BinaryIO,
    stderr: BinaryIO,
    check: Callable[[], None],
) -> int:
    """Run `command` to its end, its output into open files, and return its exit code.

    `check` is called every half a second; when it raises, the command and all of its process
    group are killed.
    """
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    ) as process:
        try:
            while True:
                try:
                    return process.wait(TICK_SECONDS)
                except subprocess.TimeoutExpired:  # noqa: PERF203 - it waits anyway
                    check()
        except BaseException:
            # apt's methods, which do the fetching, are processes of their own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
