"""One job: base root, build dependencies, build, artifacts; each stage in the log with its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from commonfarm.agent import artifacts
from commonfarm.agent.disk import Layer
from commonfarm.agent.errors import BrokenError, FailedError
from commonfarm.agent.limits import Means
from commonfarm.agent.log import Log
from commonfarm.agent.oci import Step
from commonfarm.agent.packages import Apt, Solution, installed
from commonfarm.agent.protocol import ANY, Lease, SourceFile
from commonfarm.agent.rootfs import BaseRoot, base_root
from commonfarm.agent.sandbox import Sandbox
from commonfarm.agent.state import State

_SOURCE = "/run/commonfarm/source"
_PACKAGES = "/run/commonfarm/packages"
_SIGNED = "Commonfarm <nobody@localhost>"
# $1 suffix, $2 architecture, $3 the maintainer named, $4 the kind of build. The date is that of the
# entry before, so that two rebuilds of one version have the same SOURCE_DATE_EPOCH. To dpkg
# ${source:Version} is always the version without +bN, which the packages not built again have;
# where all are built again, they could not be installed beside each other by it.
_REBUILD_ENTRY = r"""
set -eu
field() { dpkg-parsechangelog -S "$1"; }
{
  printf '%s (%s+b%s) %s; urgency=low, binary-only=yes\n\n' \
    "$(field Source)" "$(field Version)" "$1" "$(field Distribution)"
  printf '  * Binary-only rebuild for %s; no source changes.\n\n' "$2"
  printf ' -- %s  %s\n\n' "$3" "$(field Date)"
  cat debian/changelog
} > ../changelog.rebuild
cat ../changelog.rebuild > debian/changelog
rm ../changelog.rebuild
test "$4" = any || sed -i 's/${source:Version}/${binary:Version}/g' debian/control
"""


@dataclass
class Progress:
    """How far a job is: its stage, and the facts that go into the provenance."""

    stage: str = "root"
    facts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[SourceFile] = field(default_factory=list)


class Build:
    """The work of one lease. `run` raises a JobError; `progress` says how far it came."""

    def __init__(
        self, state: State, lease: Lease, means: Means, log: Log, check: Callable[[], None]
    ) -> None:
        self._state = state
        self._lease = lease
        self._means = means
        self._log = log
        self._check = check
        self._folder = state.jobs / str(lease.id)
        self.progress = Progress(
            facts={
                "limits": means.names(),
                "seconds": {},
                "target": lease.buildroot.target,
                "package_sources": [vars(s) for s in lease.buildroot.package_sources],
            }
        )

    @property
    def _directory(self) -> str:
        version = self._lease.source_version.partition(":")[2] or self._lease.source_version
        return f"/build/{self._lease.source_name}-{version}"

    def run(self, source: Path, output: Path) -> None:
        """Build the source in `source` (a folder of the lease's files), artifacts into `output`."""
        self._ready_by = time.monotonic() + self._lease.limits.wall_seconds
        with self._stage("root", f"Base root for {self._lease.buildroot.target}"):
            root_context = base_root(
                self._state, self._lease.buildroot, self._log.write, self._check_fetching
            )
            root = root_context.__enter__()
        try:
            self.progress.facts["base_root"] = {"digest": root.digest, "packages": root.packages}
            self._say(f"{len(root.packages)} packages, digest {root.digest}")
            self._in_layer(root, source, output)
        finally:
            root_context.__exit__(None, None, None)

    def _in_layer(self, root: BaseRoot, source: Path, output: Path) -> None:
        limits = self._lease.limits
        sized = self._means.disk == "overlay-size"
        with Layer(self._folder, root.tree, limits.disk_bytes, sized) as layer:
            sandbox = Sandbox(
                self._state, str(self._lease.id), layer, limits, self._means,
                self._log.write, self._check,
            )  # fmt: skip
            with self._stage("dependencies", "Build dependencies"):
                self._install(sandbox, root, source)
                self.progress.facts["packages"] = installed(artifacts.status(layer.root))
            with self._stage("build", f"Build of {self._lease.dsc}"):
                self._build(sandbox, source)
                self.progress.facts["disk_bytes"] = layer.used_bytes()
            with self._stage("upload", "Artifacts"):
                found = artifacts.collect(layer.root / "build", output, limits.disk_bytes)
                for file in found:
                    self._say(f"{file.sha256}  {file.name} ({file.size} bytes)")
                self.progress.artifacts = found

    @contextmanager
    def _stage(self, stage: str, heading: str) -> Iterator[None]:
        self._check()
        self.progress.stage = stage
        self._log.heading(heading)
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.progress.facts["seconds"]
            seconds[stage] = round(time.monotonic() - started, 3)

    def _check_fetching(self) -> None:
        """End what comes before the sandbox, too, when the job's time is over."""
        self._check()
        if time.monotonic() > self._ready_by:
            raise BrokenError(
                "base root and build dependencies were not there within the "
                f"{self._lease.limits.wall_seconds} s that the job may take; look whether the "
                "mirror of the buildroot answers this builder fast enough"
            )

    def _say(self, text: str) -> None:
        self._log.write(f"{text}\n".encode())

    def _install(self, sandbox: Sandbox, root: BaseRoot, source: Path) -> None:
        apt = Apt(self._state, self._lease.buildroot, self._check_fetching)
        only_arch = self._lease.build == ANY
        wanted = apt.build_dependencies(source / self._lease.dsc, root.status, only_arch)
        self._say(f"{len(wanted.files)} packages to install, {len(wanted.remove)} to remove")
        if wanted.is_empty:
            return
        step = Step(
            name="dependencies",
            arguments=_installation(wanted),
            as_root=True,
            environment={"DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
            read_only={_PACKAGES: str(apt.archives)},
        )
        self._must(sandbox, step, "the build dependencies could not be installed")
        apt.prune()

    def _build(self, sandbox: Sandbox, source: Path) -> None:
        lease = self._lease
        environment = {
            "HOME": "/build",
            "USER": "builder",
            "LOGNAME": "builder",
            "DEB_BUILD_OPTIONS": f"parallel={lease.parallel}",
        }
        unpack = ["dpkg-source", "--no-copy", "-x", f"{_SOURCE}/{lease.dsc}", self._directory]
        unpacking = Step(
            name="unpack",
            arguments=unpack,
            directory="/build",
            environment=environment,
            read_only={_SOURCE: str(source)},
        )
        self._must(sandbox, unpacking, "the source cannot be unpacked")
        if lease.rebuild_suffix is not None:
            entry = Step(
                name="rebuild-entry",
                arguments=["sh", "-c", _REBUILD_ENTRY, "sh", str(lease.rebuild_suffix),
                           lease.buildroot.architecture, _SIGNED, lease.build],
                directory=self._directory,
                environment=environment,
            )  # fmt: skip
            self._must(sandbox, entry, "the rebuild suffix cannot be written into debian/changelog")
        building = Step(
            name="build",
            arguments=["dpkg-buildpackage", "-us", "-uc", f"--build={lease.build}"],
            directory=self._directory,
            environment=environment,
        )
        self._must(sandbox, building, "dpkg-buildpackage failed")

    def _must(self, sandbox: Sandbox, step: Step, otherwise: str) -> None:
        ended = sandbox.run(step)
        if ended.peak_memory_bytes is not None:
            peaks = self.progress.facts.setdefault("peak_memory_bytes", {})
            peaks[step.name] = ended.peak_memory_bytes
        if ended.code != 0:
            raise FailedError(f"{otherwise} (exit code {ended.code}); the log says why")


def _installation(wanted: Solution) -> list[str]:
    """Return the command that makes exactly the changes that were resolved outside, offline."""
    return [
        "apt-get", "install", "-y", "--no-install-recommends", "--allow-downgrades",
        "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0",
        "-o", "Dpkg::Options::=--force-confold", "-o", "Acquire::Languages=none",
        "-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null",
        *(f"{_PACKAGES}/{name}" for name in wanted.files),
        *(f"{name}-" for name in wanted.remove),
    ]  # fmt: skip
