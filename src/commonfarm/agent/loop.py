"""The agent's life: clean up, finish what an earlier life began, ask for work, do it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
from types import FrameType

from commonfarm.agent import job, limits, rootfs, sandbox
from commonfarm.agent.errors import (
    AgentError,
    HubRefusedError,
    HubUnreachableError,
    LeaseOverError,
    StoppedError,
)
from commonfarm.agent.hub import Hub
from commonfarm.agent.limits import Means
from commonfarm.agent.protocol import EnrolRequest, Facts, Lease, LeaseRequest
from commonfarm.agent.state import Credential, State

VERSION = "0.1.0"
TOOLS = {
    "apt-get": "apt", "dpkg": "dpkg", "mke2fs": "e2fsprogs", "mmdebstrap": "mmdebstrap",
    "mount": "mount", "runc": "runc", "unshare": "util-linux",
}  # fmt: skip
_LONGEST_PAUSE_SECONDS = 60.0


def say(text: str) -> None:
    """Tell the journal of this host."""
    print(text, flush=True)


def require_host() -> None:
    """Raise AgentError that names what is missing and the command that mends it."""
    if os.geteuid() != 0:
        raise AgentError("the agent makes file systems and sandboxes, which takes root; use sudo")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise AgentError(f"this host lacks tools; run `apt-get install {' '.join(missing)}`")


def facts(state: State, means: Means) -> Facts:
    """Return what this host has now."""
    return Facts(
        architecture=limits.architecture(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_bytes=shutil.disk_usage(state.root).free,
        features=["deb", "runc"],
        limits=means.names(),
        agent_version=VERSION,
    )


def enrol(state: State, hub_url: str, token: str, name: str) -> Credential:
    """Spend `token` for a credential and keep that."""
    require_host()
    with state.locked():
        hub = Hub(hub_url)
        given = hub.enrol(EnrolRequest(token, name, facts(state, limits.probe(state.root))))
        credential = Credential(
            hub_url, given.scheduler_urls, given.builder, given.generation, given.credential
        )
        state.save_credential(credential)
    return credential


def clean(state: State) -> list[str]:
    """Remove what a killed agent left; return what could not be removed."""
    problems = sandbox.clean(state, keep=job.has_report)
    rootfs.prune(state)
    return problems


class Loop:
    """Polls, works, and ends on SIGTERM or when this builder's generation is past."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._credential = state.credential()
        self._stop = threading.Event()
        self._waiting = False
        self._hub = Hub(self._credential.hub, self._credential.credential, self._stop)
        self._means = limits.probe(state.root)

    def run(self) -> int:
        """Work until told to stop (0) or until nothing here can be of use (1)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        say(f"{self._credential!r}: limits by {self._means.names()}")
        try:
            problems = clean(self._state)
            for problem in problems:
                say(f"not clean: {problem}")
            self._resume()
            pause = 1.0
            while not self._stop.is_set():
                try:
                    lease = self._poll(clean=not problems)
                    pause = 1.0
                except HubUnreachableError as error:
                    say(str(error))
                    self._sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the load
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                    continue
                if lease is not None:
                    self._work(lease)
                    problems = clean(self._state)
        except StoppedError:
            pass
        except (LeaseOverError, HubRefusedError) as error:
            say(
                f"the hub no longer takes this builder ({error}); ask a coordinator for a token "
                "and run `agent enrol` again"
            )
            return 1
        say("stopped")
        return 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()
        if self._waiting:
            self._waiting = False
            raise StoppedError("stopped")

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError("stopped")

    def _resume(self) -> None:
        for folder in sorted(self._state.jobs.iterdir()):
            if job.has_report(folder):
                say(f"lease {folder.name}: sending the report of before")
                job.resume(self._hub, folder, self._credential.generation, self._stop)

    def _poll(self, *, clean: bool) -> Lease | None:
        request = LeaseRequest(
            generation=self._credential.generation,
            facts=facts(self._state, self._means),
            clean=clean,
        )
        problem: HubUnreachableError | None = None
        for url in self._credential.scheduler_urls:
            self._waiting = True
            try:
                return self._hub.lease(url, request)
            except HubUnreachableError as error:
                problem = error
            finally:
                self._waiting = False
        raise problem or HubUnreachableError("the hub named no scheduler; enrol again")

    def _work(self, lease: Lease) -> None:
        say(f"lease {lease.id}: {lease.source_name} {lease.source_version}")
        report = job.work(
            self._hub, self._state, lease, self._credential.generation, self._means, self._stop
        )
        if report is None:
            say(f"lease {lease.id}: over, dropped")
        else:
            say(f"lease {lease.id}: {report.outcome} in {report.stage}. {report.reason}".rstrip())


def run(state: State) -> int:
    """Be this builder's agent until stopped; the caller has put us into namespaces of our own."""
    try:
        with state.locked():
            return Loop(state).run()
    except AgentError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        print(f"this host refuses: {error}", file=sys.stderr, flush=True)
        return 1
