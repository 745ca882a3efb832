"""Runs one step of a job in a sandbox, with limits, and leaves no process, mount or cgroup.

The sandbox is a runc container: namespaces of its own for users (65,536 ids), processes, network
(loopback only), IPC, host name, mounts and cgroups; no new privileges; a seccomp filter. Process 1
is a few lines of Perl (every Debian root has it) that gather orphans, end with the step's command
and name what it left running; the kernel ends that with the namespace.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from commonfarm.agent.disk import Layer, unmount_below
from commonfarm.agent.errors import BrokenError, FailedError
from commonfarm.agent.limits import Means, cgroup_folders, remove_cgroup
from commonfarm.agent.oci import Step, configuration
from commonfarm.agent.protocol import Limits
from commonfarm.agent.state import State

LEFT_BEHIND = "commonfarm: still running when the step ended, and ended with it: "
_INIT = r"""
# One stream: runc would carry two side by side, and mix what was said first with what came later.
open(STDERR, '>&', \*STDOUT);
$| = 1;
my $main = fork // exit 126;
if (!$main) { exec { $ARGV[0] } @ARGV; print STDERR "cannot run $ARGV[0]: $!\n"; exit 127 }
my $status = 0;
while ((my $gone = wait) != -1) { if ($gone == $main) { $status = $?; last } }
opendir(my $all, '/proc');
for my $pid (grep { /^\d+$/ && $_ != $$ } readdir $all) {
    open(my $stat, '<', "/proc/$pid/stat") or next;
    next if (<$stat> // '') =~ /\) [ZX] /;
    open(my $file, '<', "/proc/$pid/cmdline") or next;
    my $command = substr(<$file> // '', 0, 200);
    $command =~ s/[^ -~]/ /g;
    print STDERR "LEFT$pid $command\n";
}
exit(($status & 127) ? 128 + ($status & 127) : $status >> 8);
""".replace("LEFT", LEFT_BEHIND)
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
_TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Ended:
    """How a step ended: its exit code, and its peak memory in bytes where a cgroup counted it."""

    code: int
    peak_memory_bytes: int | None = None


class Sandbox:
    """The steps of one job, over one writable layer.

    `write` takes the output as it comes. `check` is called at least twice a second and ends the
    step by raising (a cancel, a stop, a lease that is over).
    """

    def __init__(
        self,
        state: State,
        name: str,
        layer: Layer,
        limits: Limits,
        means: Means,
        write: Callable[[bytes], None],
        check: Callable[[], None],
    ) -> None:
        self._state = state
        self._name = name
        self._layer = layer
        self._limits = limits
        self._means = means
        self._write = write
        self._check = check
        self._ends_at = time.monotonic() + limits.wall_seconds

    def run(self, step: Step) -> Ended:
        """Run `step` to its end; raise FailedError when it crosses a limit of the job.

        A step that ends by itself is returned with its exit code, whatever that is; BrokenError
        says that runc could not start it.
        """
        container = f"{self._state.cgroup}-{self._name}-{step.name}"
        cgroup = f"{self._state.cgroup}/{self._name}-{step.name}"
        bundle = self._state.jobs / self._name / f"bundle-{step.name}"
        bundle.mkdir(mode=0o711)
        try:
            self._bundle(bundle, step, cgroup)
            return self._supervise(container, cgroup, bundle)
        finally:
            _delete(self._state, container)
            if not remove_cgroup(cgroup):
                raise BrokenError(f"the cgroup {cgroup} of a sandbox cannot be removed")
            shutil.rmtree(bundle)

    def _bundle(self, bundle: Path, step: Step, cgroup: str) -> None:
        step = Step(
            name=step.name,
            arguments=step.arguments,
            as_root=step.as_root,
            directory=step.directory,
            environment={**_ENVIRONMENT, **step.environment},
            read_only=step.read_only,
        )
        config = configuration(
            root=str(self._layer.root),
            step=step,
            enforced=self._means.enforce(self._limits, f"/{cgroup}"),
            init=["/usr/bin/perl", "-e", _INIT, "--"],
        )
        (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def _runc(self) -> list[str]:
        command = ["runc", "--root", str(self._state.runc)]
        # Where no cgroup can be written, runc goes on without only if it is told it is rootless.
        return command if self._means.uses_cgroups else [*command, "--rootless=true"]

    def _supervise(self, container: str, cgroup: str, bundle: Path) -> Ended:
        errors = bundle / "runc.log"
        command = [
            *self._runc(), "--log", str(errors), "--log-format", "json",
            "run", "--keep", "--no-new-keyring", "--bundle", str(bundle), container,
        ]  # fmt: skip
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", _ENVIRONMENT["PATH"])},
        ) as process:
            try:
                self._read(process)
            except BaseException:
                _kill(self._state, container)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                raise
        code = process.returncode
        words = _runc_errors(errors)
        if code != 0 and words:
            raise BrokenError(f"runc could not run the sandbox: {words}")
        peak, killed = _memory_of(cgroup)
        if code != 0 and killed:
            raise FailedError(
                f"it needed more memory than the limit of {self._limits.memory_bytes} bytes "
                f"({killed} processes were killed for it); raise the job's memory limit"
            )
        if code != 0 and self._layer.is_full():
            raise self._full()
        return Ended(code, peak)

    def _full(self) -> FailedError:
        return FailedError(
            f"it wrote more than the disk limit of {self._layer.limit_bytes} bytes; "
            "raise the job's disk limit"
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        spoke_at = time.monotonic()
        looked_at = spoke_at
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                ready = selector.select(_TICK_SECONDS)
                now = time.monotonic()
                if ready:
                    data = os.read(pipe, 64 * 1024)
                    if not data:
                        break
                    spoke_at = now
                    self._write(data)
                self._check()
                if now > self._ends_at:
                    raise FailedError(
                        f"it ran longer than the limit of {self._limits.wall_seconds} s; "
                        "raise the job's time limit"
                    )
                if now - spoke_at > self._limits.silence_seconds:
                    raise FailedError(
                        f"it printed nothing for {self._limits.silence_seconds} s; "
                        "make it print, or raise the job's silence limit"
                    )
                if self._means.disk == "watchdog" and now - looked_at > 2:
                    if self._layer.used_bytes() > self._layer.limit_bytes:
                        raise self._full()
                    looked_at = time.monotonic()
                if process.poll() is not None and not ready:
                    break
        process.wait()


def _runc_errors(log: Path) -> str:
    """Return what runc itself complained of."""
    words = []
    with suppress(OSError):
        for line in log.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("level") in ("error", "fatal"):
                    words.append(str(entry.get("msg", "")))
    return "; ".join(words)


def _memory_of(cgroup: str) -> tuple[int | None, int]:
    """Return the peak memory in bytes (None if not counted) and how many the kernel killed."""
    peak, killed = None, 0
    for folder in cgroup_folders(cgroup):
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            with suppress(OSError, ValueError):
                peak = int((folder / name).read_text("ascii"))
        for name in ("memory.oom_control", "memory.events"):
            with suppress(OSError, ValueError):
                for line in (folder / name).read_text("ascii").splitlines():
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        killed = max(killed, int(value))
    return peak, killed


def _call(state: State, *arguments: str) -> str:
    done = subprocess.run(
        ["runc", "--root", str(state.runc), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def _kill(state: State, container: str) -> None:
    _call(state, "kill", container, "KILL")


def _delete(state: State, container: str) -> None:
    if (state.runc / container).exists():
        _call(state, "delete", "--force", container)
        shutil.rmtree(state.runc / container, ignore_errors=True)


def clean(state: State, keep: Callable[[Path], bool]) -> list[str]:
    """Remove what an agent that was killed left behind; return what could not be removed.

    Job folders for which `keep` says yes hold a finished report that is still to be sent: of
    these only mounts go.
    """
    problems = []
    for container in sorted(state.runc.iterdir()):
        _delete(state, container.name)
    if not remove_cgroup(state.cgroup):
        problems.append(f"the cgroup {state.cgroup} has processes that do not end")
    try:
        unmount_below(state.root)
    except BrokenError as error:
        problems.append(str(error))
        return problems  # deleting below a mount could reach what is not ours
    left = [folder for folder in state.jobs.iterdir() if not keep(folder)]
    left += [folder for top in (state.root, state.roots) for folder in top.glob("*-making-*")]
    left += list(state.root.glob("probe-*"))
    for folder in left:
        try:
            shutil.rmtree(folder)
        except OSError as error:  # noqa: PERF203 - each on its own
            problems.append(f"{folder} cannot be removed: {error.strerror}")
    return problems
