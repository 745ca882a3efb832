"""Keeps the processes of an installation running, and stops them all together."""

from __future__ import annotations

import contextlib
import select
import signal
import threading
import time
from collections.abc import Callable

from commonfarm.installation import status
from commonfarm.installation.errands import Errands, Say
from commonfarm.installation.supervised import Supervised
from commonfarm.lib.config import Config

PROBE_SECONDS = 0.3
PROBE_SETTLED_SECONDS = 3.0
STOP_SECONDS = 30.0


class Supervisor:
    """Runs `processes`, in the order of their start, until `stop` is called or a signal comes."""

    def __init__(self, config: Config, processes: list[Supervised], say: Say) -> None:
        self.processes = processes
        self.stopping = False
        self._config = config
        self._say = say
        self._ready = False
        self._shown: object = None

    def run(self, errands: Errands, when_ready: Callable[[], None]) -> None:
        """Keep all running; call `when_ready` once when all answer.

        Raises what the errands failed by, after everything is stopped.
        """
        prober = threading.Thread(target=self._probe, name="prober", daemon=True)
        prober.start()
        errands.start()
        try:
            while not self.stopping and errands.failed is None:
                self._turn()
                ready = errands.done and all(
                    one.state == "running" or not one.wanted for one in self.processes
                )
                if ready and errands.wants_builder and not self._agent().wanted:
                    ready = False
                if ready and not self._ready:
                    when_ready()
                self._ready = ready
                self._show()
        finally:
            errands.end()
            self.stop()
        if errands.failed is not None:
            raise errands.failed

    def stop(self) -> None:
        """End all: the agent while the hub still takes its report, PostgreSQL after the rest."""
        self.stopping = True
        last = {"postgres"}
        first = {"agent"}
        for turn in (
            [one for one in self.processes if one.process.name in first],
            [one for one in self.processes if one.process.name not in first | last],
            [one for one in self.processes if one.process.name in last],
        ):
            self._end(turn)
        self._show()

    def _agent(self) -> Supervised:
        return next(one for one in self.processes if one.process.name == "agent")

    def _turn(self) -> None:
        for one in self.processes:
            if one.due():
                one.start()
        outputs = {one.output: one for one in self.processes if one.output}
        readable, _, _ = select.select(list(outputs), [], [], 0.1)
        for output in readable:
            outputs[output].read()
        for one in self.processes:
            if one.ended() is not None:
                wait = one.again()
                self._say(f"{one.process.name} {one.last_error}; it is started again in {wait:g} s")
                if one.process.name == "agent":
                    # Its credential may have ended with it: it is looked at before the next start.
                    one.wanted = False

    def _probe(self) -> None:
        """Ask every process whether it answers, again and again, apart from the main loop."""
        due: dict[str, float] = {}
        while not self.stopping:
            for one in self.processes:
                asked, now = one.running, time.monotonic()
                if asked is None or now < due.get(one.process.name, 0):
                    continue
                answers = one.process.answers()
                if one.running is asked:  # and not another by now, which has yet to answer
                    one.heard(answers)
                wait = PROBE_SETTLED_SECONDS if answers else PROBE_SECONDS
                due[one.process.name] = time.monotonic() + wait
            time.sleep(0.05)

    def _end(self, processes: list[Supervised]) -> None:
        for one in processes:
            one.ask_to_end()
        deadline = time.monotonic() + STOP_SECONDS
        while any(one.running for one in processes):
            for one in processes:
                one.read()
                one.ended()
            if time.monotonic() > deadline:
                deadline = float("inf")
                for one in processes:
                    if one.running:
                        self._say(f"{one.process.name} does not end and is killed")
                        one.signal(signal.SIGKILL)
            time.sleep(0.05)

    def _show(self) -> None:
        shown = (self._ready, [one.shown() for one in self.processes])
        if shown != self._shown:
            # Where the disk is full, it is written once there is room again.
            with contextlib.suppress(OSError):
                status.write(self._config, self._ready and not self.stopping, self.processes)
                self._shown = shown


def stop_on_signals(supervisor: Supervisor) -> None:
    """End on Ctrl-C and on SIGTERM."""

    def stop(_number: int, _frame: object) -> None:
        supervisor.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
