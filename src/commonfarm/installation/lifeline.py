"""Runs a command as root (through sudo) for an unprivileged `up`, and ends with it.

`up` may not signal root's processes, so it holds the other end of our standard input: when that is
closed, by `up` or by its death, the command is asked to end. Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

STOP_SECONDS = 30


def main() -> int:
    """Run the command given as our arguments until it ends or our input is closed."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: process.terminate())
    ended = os.pidfd_open(process.pid)
    ready, _, _ = select.select([0, ended], [], [])
    if ended not in ready:
        process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
