"""What an earlier `up` left behind is stopped, and what it held is free then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from commonfarm.installation import leftovers

# A process that loses its environment, as the kernel has it, while it still listens.
LISTENS = """\
import ctypes, os, signal, socket, sys, threading, time

listening = socket.create_server(("127.0.0.1", 0))
asked = threading.Event()

def linger():
    asked.wait()
    time.sleep(0.5)
    os._exit(0)

threading.Thread(target=linger).start()
signal.signal(signal.SIGTERM, lambda *_: (asked.set(), ctypes.CDLL(None).pthread_exit(None)))
print(listening.getsockname()[1], flush=True)
while True:
    signal.pause()
"""


def test_a_port_is_free_when_what_held_it_was_stopped(tmp_path: Path) -> None:
    marked = os.environ | {leftovers.VARIABLE: leftovers.mark(tmp_path, "hub")}
    command = [sys.executable, "-c", LISTENS]
    with subprocess.Popen(command, env=marked, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            belongs = leftovers.carries(tmp_path)
            assert leftovers.pids(belongs) == [process.pid]
            assert leftovers.stop(belongs, signal.SIGTERM, 30) == 1
            with socket.create_server(("127.0.0.1", port)):
                pass
        finally:
            process.kill()
