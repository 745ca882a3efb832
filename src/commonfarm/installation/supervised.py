"""One process under the supervisor: started, watched, logged, and started again when it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections import deque
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import IO

from commonfarm.installation import users
from commonfarm.installation.launch import Process
from commonfarm.lib.config import Config

LOG_BYTES = 8 * 2**20
BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 15)
SETTLED_SECONDS = 60
HUNG_SECONDS = 60.0


class Log:
    """A log of one process: lines with their time, and one older file kept.

    A line that cannot be written, as on a full disk, is dropped: no process ends for its log.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._out: FileIO | None = None

    def write(self, line: bytes) -> None:
        """Append one line."""
        with contextlib.suppress(OSError):
            if self._out and self._out.tell() > LOG_BYTES:
                self._file.rename(self._file.with_suffix(".log.1"))
                self._out.close()
                self._out = None
            if self._out is None:
                self._out = self._file.open("ab", buffering=0)
            self._out.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} ".encode() + line + b"\n")


class Supervised:
    """A process and what became of it. `wanted` is False while it must wait, for `waits_for`."""

    def __init__(self, process: Process, config: Config, *, wanted: bool = True) -> None:
        self.process = process
        self.wanted = wanted
        self.waits_for = ""
        self.restarts = 0
        self.answers = False
        self.last_error = ""
        self.since = datetime.now(UTC)
        self.running: subprocess.Popen[bytes] | None = None
        self._config = config
        self._log = Log(config.state / "log" / f"{process.name}.log")
        self._tail: deque[str] = deque(maxlen=30)
        self._partial = b""
        self._silent = False
        self._failures = 0
        self._next_start = 0.0
        self._started = 0.0
        self._answered = 0.0

    @property
    def state(self) -> str:
        """What it does now, in a word: waiting, starting, running, silent or ended."""
        if self.running is None:
            return "waiting" if not self.wanted else "ended"
        if self.answers:
            return "running"
        return "silent" if self._answered else "starting"

    @property
    def output(self) -> IO[bytes] | None:
        """What it prints, to be read when there is something; None once that is at its end."""
        return self.running.stdout if self.running and not self._silent else None

    def shown(self) -> dict[str, object]:
        """Return it as `status --json` shows it."""
        return {
            "name": self.process.name,
            "state": self.state,
            "pid": self.running.pid if self.running else None,
            "user": users.user_of(self.process.name),
            "since": self.since.isoformat(timespec="seconds"),
            "restarts": self.restarts,
            "address": self.process.address,
            "last_error": self.last_error or (self.waits_for if not self.wanted else ""),
        }

    def due(self) -> bool:
        """Say whether it should be started now."""
        return self.wanted and self.running is None and time.monotonic() >= self._next_start

    def start(self) -> None:
        """Start it; what it prints comes through a pipe that `read` empties."""
        self.process.before()
        self.running = subprocess.Popen(
            self.process.argv(),
            stdin=subprocess.PIPE if self.process.lifeline else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=self.process.environment(self._config),
            start_new_session=True,
            umask=self.process.umask,
        )
        assert self.running.stdout is not None
        os.set_blocking(self.running.stdout.fileno(), False)
        self._tail.clear()
        self._silent = False
        self.answers = False
        self.since = datetime.now(UTC)
        self._started = time.monotonic()
        self._answered = 0.0

    def read(self) -> bool:
        """Take what it printed by now into the log; say whether there was anything."""
        if self.output is None:
            return False
        try:
            data = os.read(self.output.fileno(), 65536)
        except BlockingIOError:
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > 65536 or not data:
            lines, self._partial = [*lines, self._partial], b""
        for line in filter(None, lines):
            self._log.write(line)
            self._tail.append(line.decode(errors="replace"))
        self._silent = not data
        return bool(data)

    def heard(self, answers: bool) -> None:
        """Take note of a probe; one that answered before and is silent for long is killed."""
        now = time.monotonic()
        self.answers = answers
        if answers:
            self._answered = now
            if now - self._started > SETTLED_SECONDS:
                self._failures = 0
        elif self._answered and now - self._answered > HUNG_SECONDS and self.running:
            self._answered = now
            self._log.write(b"up: it is silent for too long and is killed")
            self.signal(signal.SIGKILL)

    def ended(self) -> int | None:
        """Return the exit code if it has ended since the last call, else None."""
        if self.running is None or (code := self.running.poll()) is None:
            return None
        while self.read():
            pass
        # Its helpers must not outlive it: two hubs would fight for one port.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.running.pid, signal.SIGKILL)
        for stream in (self.running.stdout, self.running.stdin):
            if stream:
                stream.close()
        self.running = None
        self.answers = False
        self.since = datetime.now(UTC)
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self.last_error = ": ".join([how, *self._telling_line()])
        self._log.write(f"up: {how}".encode())
        return code

    def again(self) -> float:
        """Plan the next start, later each time it fails soon; return the seconds until then."""
        wait = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        self.restarts += 1
        self._next_start = time.monotonic() + wait
        return wait

    def ask_to_end(self) -> None:
        """Ask it to end."""
        if self.running and self.running.stdin:
            self.running.stdin.close()
        else:
            self.signal(signal.SIGINT if self.process.stop_signal == "INT" else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Signal it, and for a kill its helpers too."""
        if self.running is None or self.running.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(self.running.pid, number)
            else:
                self.running.send_signal(number)

    def _telling_line(self) -> list[str]:
        """Return the last line that tells what went wrong, if there is one."""
        told = re.compile(r"error|exception|refused|cannot|failed|fatal", re.IGNORECASE)
        lines = [line.strip() for line in self._tail if line.strip()]
        found = [line for line in lines if told.search(line)] or lines
        return found[-1:]
