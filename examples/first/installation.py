"""One installation of Commonfarm, driven by its command line as a person drives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from examples.first.command import StoryError, run

START_SECONDS = 120.0
STOP_SECONDS = 60.0
_NOT_PASSED_ON = ("COMMONFARM_CONFIG", "COMMONFARM_INSTALLATION", "DJANGO_SETTINGS_MODULE")
PROGRAM = Path(sys.executable).with_name("commonfarm")


class Installation:
    """The installation `name`; `environment` is added to our own for every command."""

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        # What names another installation to this very process is not meant for that one.
        ours = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
        self.environment = {**ours, **(environment or {})}
        self._command = [str(PROGRAM), "--installation", name]
        self._up: subprocess.Popen[str] | None = None

    def run(self, *arguments: str | Path, accept: tuple[int, ...] = (0,)) -> str:
        """Run `commonfarm ARGUMENTS` and return what it printed."""
        return run(*self._command, *arguments, environment=self.environment, accept=accept)

    def json(self, *arguments: str | Path, accept: tuple[int, ...] = (0,)) -> Any:
        """Run `commonfarm ARGUMENTS --json` and return what it said."""
        return json.loads(self.run(*arguments, "--json", accept=accept))

    def lines(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `commonfarm ARGUMENTS`, whose lines are read as they come."""
        return self._start([*self._command, *map(str, arguments)])

    def _start(self, command: list[str], *, own_session: bool = False) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=own_session,
        )

    def status(self) -> dict[str, Any] | None:
        """Return what `commonfarm status` says, None while nothing of it runs."""
        try:
            said = self.json("status", accept=(0, 1))
        except (StoryError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def status_or_fail(self) -> dict[str, Any]:
        """Return what `commonfarm status` says, whether all of it answers yet or not."""
        return dict(self.json("status", accept=(0, 1)))

    def up(self, estate: Path, say: Callable[[str], None]) -> None:
        """Start all processes in the foreground of a child and return when all of them answer.

        The child is told to stop when we end, even if we are killed.
        """
        self._up = self._start(
            ["setpriv", "--pdeathsig", "TERM", *self._command, "up", "--estate", str(estate)],
            own_session=True,
        )
        said: list[str] = []
        threading.Thread(target=_listen, args=(self._up, said, say), daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._up.poll() is not None:
                raise StoryError("`commonfarm up` ended:\n" + "\n".join(said[-15:]))
            if time.monotonic() > deadline:
                errors = [one["last_error"] for one in self._processes() if one["last_error"]]
                raise StoryError(
                    "`commonfarm up` is not ready:\n" + "\n".join([*said[-15:], *errors])
                )
            time.sleep(0.3)

    def _processes(self) -> list[dict[str, Any]]:
        return list((self.status() or {}).get("processes", []))

    def is_ready(self) -> bool:
        """Say whether every process answers."""
        status = self.status()
        return status is not None and bool(status.get("ready"))

    def down(self) -> None:
        """Stop all processes."""
        if self._up is not None:
            self._up.terminate()
            try:
                self._up.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                raise StoryError(f"`up` did not stop in {STOP_SECONDS:.0f} seconds") from None
            self._up = None

    def kill(self) -> None:
        """Kill `up` as a crash of the machine would, with no chance to tidy up."""
        if self._up is not None:
            self._up.kill()
            self._up.wait()
            self._up = None

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when every process answers; raise StoryError if that takes longer."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise StoryError(f"not ready after {seconds:.0f} seconds: {self.status()}")
            time.sleep(0.3)

    def pid_of(self, process: str) -> int | None:
        """Return the process id of one of the processes that `up` started, None while it is not
        running.
        """
        shown = self.status_or_fail()["processes"]
        (pid,) = [one["pid"] for one in shown if one["name"] == process]
        return None if pid is None else int(pid)

    def kill_one(self, process: str) -> None:
        """Kill one of the processes that `up` started, and return when `up` has noticed."""
        deadline = time.monotonic() + START_SECONDS
        while (pid := self.pid_of(process)) is None:
            if time.monotonic() > deadline:
                raise StoryError(f"{process} does not run after {START_SECONDS:.0f} seconds")
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        while self.pid_of(process) == pid:
            if time.monotonic() > deadline:
                raise StoryError(f"`up` has not noticed that {process} was killed")
            time.sleep(0.1)


def _listen(process: subprocess.Popen[str], said: list[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        say(said[-1])
