"""One lease from its files to its report, over whatever happens to the hub or to us.

The order on disk makes a kill harmless: artifacts and log are complete before `report.json` is
written, and `report.json` is there until the hub has answered it. A folder without one is a job
that was lost, which the hub learns from the agent's next request for work.
"""

from __future__ import annotations

import json
import shutil
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Callable

from commonfarm.agent.build import Build
from commonfarm.agent.decode import source_file_from
from commonfarm.agent.errors import (
    AgentError,
    BrokenError,
    CancelledError,
    FailedError,
    HubRefusedError,
    HubUnreachableError,
    LeaseOverError,
    StoppedError,
)
from commonfarm.agent.hub import Hub
from commonfarm.agent.limits import Means
from commonfarm.agent.log import Log, LogSender, size_and_digest
from commonfarm.agent.protocol import (
    BROKEN,
    CANCELLED,
    FAILED,
    SUCCEEDED,
    Lease,
    Report,
)
from commonfarm.agent.state import DISK_FULL, State, write_atomically

FETCH_PATIENCE_SECONDS = 600.0
REPORT_PATIENCE_SECONDS = 24 * 3600.0
"""How long a finished job waits for its hub. A lease that ends meanwhile ends it by its 410."""


def has_report(folder: Path) -> bool:
    """Say whether that job folder holds a report that the hub has not yet answered."""
    return (folder / "report.json").is_file()


class Renewal(threading.Thread):
    """Renews a lease and remembers why the job should end, if it should.

    `check` raises that reason; it is called from the job's own thread.
    """

    def __init__(self, hub: Hub, lease: int, every_seconds: float, stop: threading.Event) -> None:
        super().__init__(name=f"renew-{lease}", daemon=True)
        self._hub = hub
        self._lease = lease
        self._every = every_seconds
        self._stop_agent = stop
        self._ended = threading.Event()
        self._reason: AgentError | None = None

    def run(self) -> None:
        """Renew until ended. A hub that is away is asked again; the build goes on meanwhile."""
        while not self._ended.wait(self._every):
            try:
                renewed = self._hub.renew(self._lease)
                if renewed.cancel:
                    self._reason = CancelledError(renewed.cancel)
                    # Not the end: the lease has to live until the report is in.
            except (LeaseOverError, HubRefusedError) as error:  # noqa: PERF203 - it waits anyway
                self._reason = LeaseOverError(str(error))
                return
            except AgentError:
                continue

    def check(self) -> None:
        """Raise what should end the job, if anything."""
        if self._reason is not None:
            raise self._reason
        if self._stop_agent.is_set():
            raise BrokenError("the agent was stopped; the job can run elsewhere or after its start")

    def is_over(self) -> bool:
        """Whether the hub has said that the lease is over."""
        return isinstance(self._reason, LeaseOverError)

    def end(self) -> None:
        """Renew no more."""
        self._ended.set()


def _reason_of(error: OSError) -> str:
    """Say what this host refused. None of it is the fault of what is built."""
    if error.errno in DISK_FULL:
        return f"this builder's disk is full; make room below its state directory ({error})"
    return f"this builder failed: {error}"


def _fetch(hub: Hub, lease: Lease, source: Path, check: Callable[[], None]) -> None:
    for file in lease.files:
        check()
        try:
            hub.fetch(lease.id, file, source, FETCH_PATIENCE_SECONDS)
        except (HubUnreachableError, HubRefusedError) as error:
            raise BrokenError(f"the source cannot be fetched: {error}") from None


def _build(
    hub: Hub, state: State, lease: Lease, generation: int, means: Means, log: Log, renewal: Renewal
) -> Report:
    """Do the job and say how it ended; LeaseOverError passes."""
    folder = state.jobs / str(lease.id)
    source, output = folder / "source", folder / "output"
    build = Build(state, lease, means, log, renewal.check)
    outcome, reason = SUCCEEDED, ""
    try:
        log.heading(f"Job {lease.job}: {lease.source_name} {lease.source_version}")
        _fetch(hub, lease, source, renewal.check)
        build.run(source, output)
    except LeaseOverError:
        raise
    except FailedError as error:
        outcome, reason = FAILED, str(error)
    except CancelledError as error:
        outcome, reason = CANCELLED, str(error)
    except (BrokenError, StoppedError) as error:
        outcome, reason = BROKEN, str(error)
    except OSError as error:
        outcome, reason = BROKEN, _reason_of(error)
    except Exception as error:  # whatever it is, the hub must hear of it and the agent go on
        traceback.print_exc()
        outcome, reason = BROKEN, f"the agent failed: {type(error).__name__}: {error}"
    log.heading(f"{outcome.capitalize()} in stage {build.progress.stage}")
    if reason:
        log.write(f"{reason}\n".encode())
    return Report(
        generation=generation,
        outcome=outcome,
        stage=build.progress.stage,
        reason=reason,
        artifacts=build.progress.artifacts if outcome == SUCCEEDED else [],
        facts=build.progress.facts,
    )


def work(
    hub: Hub, state: State, lease: Lease, generation: int, means: Means, stop: threading.Event
) -> Report | None:
    """Do the job of `lease` and bring the hub what came of it; None if the lease ended first.

    What a full disk does not take is told the hub without being kept here: a kill then loses it,
    and the hub learns that as of any lost job.
    """
    folder = state.jobs / str(lease.id)
    path = folder / "log"
    renewal = Renewal(hub, lease.id, lease.renew_seconds, stop)
    renewal.start()
    try:
        try:
            log = _begin(folder, lease)
        except OSError as error:
            report = Report(generation, BROKEN, "root", _reason_of(error))
            return _deliver(hub, folder, lease.id, report, None, renewal.is_over, stop)
        sender = LogSender(hub, lease.id, path)
        sender.start()
        report = _build(hub, state, lease, generation, means, log, renewal)
        log.close()
        size, digest = size_and_digest(path)
        report = replace(report, log_bytes=size, log_sha256=digest)
        document = {"lease": lease.id, "report": asdict(report)}
        with suppress(OSError):
            write_atomically(folder / "report.json", json.dumps(document))
        return _deliver(hub, folder, lease.id, report, sender, renewal.is_over, stop)
    except LeaseOverError:
        shutil.rmtree(folder)
        return None
    finally:
        renewal.end()


def _begin(folder: Path, lease: Lease) -> Log:
    _remove(folder)
    folder.mkdir(mode=0o711)
    for name in ("source", "output"):
        (folder / name).mkdir(mode=0o755)
    return Log(folder / "log", lease.limits.log_bytes)


def _deliver(
    hub: Hub,
    folder: Path,
    lease: int,
    report: Report,
    sender: LogSender | None,
    is_over: Callable[[], bool],
    stop: threading.Event,
) -> Report | None:
    """Upload, finish the log, report; the folder goes when the hub has answered."""

    def give_up() -> bool:
        return is_over() or stop.is_set()

    try:
        try:
            for file in report.artifacts:
                if is_over():
                    raise LeaseOverError("the lease ended during the upload")
                hub.upload(lease, file, folder / "output" / file.name, REPORT_PATIENCE_SECONDS)
        except (HubRefusedError, BrokenError) as error:
            reason = f"the hub did not take an artifact: {error}"
            report = replace(report, outcome=BROKEN, stage="upload", reason=reason, artifacts=[])
        if sender is not None:
            sender.finish(REPORT_PATIENCE_SECONDS, give_up)
        try:
            hub.report(lease, report, REPORT_PATIENCE_SECONDS)
        except HubRefusedError as error:
            if error.status < 400:
                raise  # not the hub's own word, so it may have taken the report
            report = _refused(report, error)
            hub.report(lease, report, REPORT_PATIENCE_SECONDS)
    except (LeaseOverError, HubRefusedError):
        _remove(folder)
        return None
    except (StoppedError, HubUnreachableError):
        return report  # the folder stays: `resume` sends it after the next start
    _remove(folder)
    return report


def _refused(report: Report, error: HubRefusedError) -> Report:
    """Return what to tell a hub instead that said no to `report`: again it would say the same."""
    reason = f"the hub did not take the report ({report.outcome} in {report.stage}): {error}"
    return replace(report, outcome=FAILED, stage="upload", reason=reason, artifacts=[], facts={})


def _remove(folder: Path) -> None:
    if folder.exists():  # on a full disk it may never have been made
        shutil.rmtree(folder)


def resume(hub: Hub, folder: Path, generation: int, stop: threading.Event) -> Report | None:
    """Bring the hub a report that an earlier life of the agent had finished."""
    try:
        document = json.loads((folder / "report.json").read_text("utf-8"))
        data = document["report"]
        files = [source_file_from(file) for file in data["artifacts"]]
        report = Report(**{**data, "artifacts": files})
        lease = int(document["lease"])
    except (OSError, ValueError, KeyError, TypeError, AgentError):
        shutil.rmtree(folder)  # damaged: the hub frees the job when its lease runs out
        return None
    if report.generation != generation:
        shutil.rmtree(folder)
        return None
    renewal = Renewal(hub, lease, 15.0, stop)
    sender = LogSender(hub, lease, folder / "log")
    renewal.start()
    sender.start()
    try:
        return _deliver(hub, folder, lease, report, sender, renewal.is_over, stop)
    finally:
        renewal.end()
