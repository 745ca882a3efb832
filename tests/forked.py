"""Processes of ours that many tests start, forked from one that has read their modules.

Reading them takes a second of a processor for each start, a fork hundredths of one. The rest is as
it would be: a process of its own, with its own configuration, environment and connections, that is
killed and waited for. How they start from nothing is tested where `up` starts them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A running process, used as `subprocess.Popen` is."""

    def __init__(self, main: Callable[[], None], config: Path, log: Path) -> None:
        """Run `main` with the configuration in the file `config`, its output appended to `log`."""
        environment = os.environ | {"COMMONFARM_CONFIG": str(config)}
        self._process = _context.Process(target=_run, args=(main, environment, log), daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process), seconds)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def run_script(script: str, *arguments: str, config: Path) -> tuple[int, str]:
    """Run the text `script` as `python -c` would; return how it ended, and what it printed."""
    log = config.with_name("script.log")
    code = Forked(partial(_script, script, arguments), config, log).wait(300)
    return code, log.read_text()


def _script(script: str, arguments: Sequence[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(script, {"__name__": "__main__"})


def _run(main: Callable[[], None], environment: Mapping[str, str], log: Path) -> None:
    """Be the process: nothing that was set before the fork counts."""
    from django.conf import settings

    from commonfarm.lib.config import current

    with log.open("ab") as out:
        os.dup2(out.fileno(), sys.stdout.fileno())
        os.dup2(out.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    settings.COMMONFARM = config = current()
    settings.DATABASES["default"] |= {
        "HOST": config.database.host,
        "PORT": config.database.port,
        "NAME": config.database.name,
        "USER": config.database.user,
    }
    main()
