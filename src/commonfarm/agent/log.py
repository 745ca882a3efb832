"""A job's log: written to disk first, sent from there in pieces, whole at the end.

The hub may be away for as long as it likes: the build goes on, and what it said waits in the file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Callable

from commonfarm.agent.errors import HubRefusedError, HubUnreachableError, LeaseOverError
from commonfarm.agent.hub import GapError, Hub
from commonfarm.agent.protocol import LOG_PIECE_BYTES
from commonfarm.agent.state import DISK_FULL

_SEND_EVERY_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_LAST_MOMENT_SECONDS = 3.0


class Log:
    """The file, bounded to `limit_bytes`; what comes after the bound is dropped, and said so.

    A full disk ends it, too: the job has to go on to its report.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._notice = (
            f"\ncommonfarm: the log is cut here, at its limit of {limit_bytes} bytes; "
            "the build goes on\n"
        ).encode()
        self._limit = max(limit_bytes, len(self._notice))
        self._file = path.open("wb", buffering=0)
        self._started = time.monotonic()
        self._cut = False
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add output as it came; safe from any byte in it, since nobody here interprets it."""
        if self._cut or not data:
            return
        room = self._limit - len(self._notice) - self.size
        if len(data) > room:
            data = data[:room] + self._notice
            self._cut = True
        try:
            written = self._file.write(data)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            written = 0
        self.size += written
        self._cut = self._cut or written < len(data)

    def heading(self, text: str) -> None:
        """Begin a stage."""
        now = time.strftime("%H:%M:%S", time.gmtime())
        passed = time.monotonic() - self._started
        self.write(f"\n=== {text} ({now} UTC, after {passed:.1f} s) ===\n".encode())

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def size_and_digest(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a file."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while True:
            data = file.read(2**20)
            if not data:
                return size, hasher.hexdigest()
            hasher.update(data)
            size += len(data)


class LogSender(threading.Thread):
    """Sends the file as it grows; `finish` waits until the hub has all of it."""

    def __init__(self, hub: Hub, lease: int, path: Path) -> None:
        super().__init__(name=f"log-{lease}", daemon=True)
        self._hub = hub
        self._lease = lease
        self._path = path
        self._sent = 0
        self._ending = threading.Event()
        self._hurry = threading.Event()
        self.refused = ""

    def run(self) -> None:
        """Send until told to finish and all is sent, or the hub wants no more."""
        pause = _SEND_EVERY_SECONDS
        with self._path.open("rb") as file:
            while True:
                ending = self._ending.is_set()
                file.seek(self._sent)
                piece = file.read(LOG_PIECE_BYTES)
                if not piece:
                    if ending:
                        return
                    self._hurry.wait(_SEND_EVERY_SECONDS)
                    continue
                try:
                    self._sent = self._hub.send_log(self._lease, self._sent, piece).received
                    pause = _SEND_EVERY_SECONDS
                    if len(piece) < LOG_PIECE_BYTES:
                        self._hurry.wait(_SEND_EVERY_SECONDS)
                except GapError as gap:
                    self._sent = gap.received
                except HubUnreachableError:
                    time.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                except (LeaseOverError, HubRefusedError) as error:
                    self.refused = str(error)
                    return

    def finish(self, patience: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Send the rest; say whether the hub has all of it.

        Ends without it after `patience` seconds, or soon after `give_up` says so: then what is
        under way has a moment still.
        """
        self._ending.set()
        self._hurry.set()
        give_up_at = time.monotonic() + patience
        while self.is_alive() and time.monotonic() < give_up_at:
            if give_up():
                self.join(_LAST_MOMENT_SECONDS)
                break
            self.join(_SEND_EVERY_SECONDS)
        return not self.is_alive() and not self.refused
