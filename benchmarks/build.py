"""Building: what a build costs beside the compiling itself, ours and sbuild's.

    python benchmarks/build.py [--quick] [--json]

All three build the source of hello of this machine's own release in turn, once a round, with as
many make jobs as there are cores. Needs root, and a minute or two before the first round.

- floor: `dpkg-buildpackage -b` in a ready root that has the build dependencies. Only it is timed.
- ours: one lease of the agent, from its fetching the source to the hub's having artifacts, log and
  report, and the cleaning behind it. The hub is the stand-in of the agent's tests: over HTTP on
  loopback, without a database. The base root lies unpacked on disk; fetched packages are kept, and
  lists for up to 5 minutes. It looks for upgrades each time. Its sandbox ignores fsync, which the
  two others do not, so its compiling can be quicker than the floor's.
- sbuild: unshare mode with a tarball of mmdebstrap's; no lintian, piuparts or autopkgtest. The
  tarball is all that it keeps: it updates the lists, looks for upgrades and fetches the build
  dependencies each time. How long its apt says it fetched is told beside.

Overhead is the total less the floor of the same round. CPU time is that of all processes, the
benchmark's own included, but not the kernel's for the loop device. `--quick` is one round; the
whole of it, with the preparation, takes three minutes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.agent.fake_hub import FakeHub

from commonfarm.agent import job, limits, loop
from commonfarm.agent.errors import AgentError
from commonfarm.agent.hub import Hub
from commonfarm.agent.packages import host_settings
from commonfarm.agent.protocol import Buildroot, Lease, PackageSource, SourceFile
from commonfarm.agent.state import State
from commonfarm.estate.fetch import fetch_source
from commonfarm.estate.host_apt import (
    host_architecture,
    host_package_sources,
    host_suite,
    keyring_of,
)
from commonfarm.farm.limits import limits_for

RUNS = 5
CORES = len(os.sched_getaffinity(0))
TOOLS = {"sbuild": "sbuild", "newuidmap": "uidmap", "zstd": "zstd", "dpkg-source": "dpkg-dev"}
FETCHED = re.compile(r"^Fetched .* in (?:(\d+)min )?(\d+)s ", re.MULTILINE)
# The subordinate ids that sbuild's user needs are given in a mount namespace that ends with it.
AS_SBUILD = (
    'mount --bind "$1" /etc/subuid; mount --bind "$1" /etc/subgid; shift;'
    ' exec setpriv --reuid=sbuild --regid=sbuild --clear-groups "$@"'
)


@dataclass
class Cost:
    """What one build took in seconds: of wall-clock, of CPU, and by its own count of its parts."""

    wall: float = 0.0
    cpu: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


class Case:
    """One source package, and what all three ways of building it start from."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.sources = host_package_sources()
        self.keyring = keyring_of(self.sources, home / "keyrings")
        self.dsc = fetch_source("hello", home / "source", self.sources)
        self.name, self.version = self.dsc.stem.split("_")
        self.architecture = host_architecture()
        self.tarball = home / "root.tar.zst"

    def make_tarball(self) -> None:
        """Make the root that sbuild and the floor unpack, as the agent makes its base root."""
        options = self.home / "apt.conf"
        options.write_text("".join(f"{line}\n" for line in host_settings()))
        # Without Signed-By: in the root, the keys are those of Debian's keyring package.
        lines = [f"deb {s.uri} {s.suite} {' '.join(s.components)}" for s in self.sources]
        run(
            "mmdebstrap", "--mode=root", "--variant=buildd", "--include=fakeroot",
            f"--keyring={self.keyring}", f"--architectures={self.architecture}",
            f"--aptopt={options}", host_suite(), self.tarball, *lines,
        )  # fmt: skip

    def is_built_in(self, folder: Path) -> bool:
        """Say whether the package is in `folder`."""
        return (folder / f"{self.name}_{self.version}_{self.architecture}.deb").is_file()


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    require_tools()
    load, rounds = os.getloadavg()[0], 1 if "--quick" in sys.argv else RUNS
    home = Path(tempfile.mkdtemp(prefix="cf-build-"))
    home.chmod(0o755)
    try:
        case = Case(home)
        case.make_tarball()
        floor, sbuild = Floor(case), Sbuild(case)
        with FakeHub() as hub:
            ours = Ours(case, hub)
            ours.build()  # makes the base root and fetches the packages: not timed
            ways: dict[str, Callable[[], Cost]] = {
                "floor": floor.build, "ours": ours.build, "sbuild": sbuild.build,
            }  # fmt: skip
            costs: dict[str, list[Cost]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, build in ways.items():
                    costs[name].append(build())
        show(case, load, costs)
    finally:
        shutil.rmtree(home)


def require_tools() -> None:
    """End with the command that installs what is missing."""
    try:
        loop.require_host()
    except AgentError as error:
        sys.exit(str(error))
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"this benchmark lacks tools; run `apt-get install {' '.join(missing)}`")


class Ours:
    """The agent, with a hub that has one job after the other for it."""

    def __init__(self, case: Case, hub: FakeHub) -> None:
        self._case, self._hub = case, hub
        self._state = State(case.home / "agent")
        self._state.prepare()
        self._means = limits.probe(self._state.root)
        self._facts = loop.facts(self._state, self._means)
        self._contents = {
            hashlib.sha256(path.read_bytes()).hexdigest(): path
            for path in case.dsc.parent.iterdir()
        }
        self._leases = 0

    def build(self) -> Cost:
        """Build once."""
        self._leases += 1
        contents = {sha256: path.read_bytes() for sha256, path in self._contents.items()}
        given = self._hub.offer(self._lease(self._leases), contents)
        client = Hub(self._hub.url, self._hub.credential)
        with timed() as cost:
            job.work(client, self._state, given.lease, 1, self._means, threading.Event())
            problems = loop.clean(self._state)
        if problems or given.report is None or given.report["outcome"] != "succeeded":
            sys.exit(f"our build failed: {problems} {given.report}\n{given.log.decode()}")
        cost.parts = dict(given.report["facts"]["seconds"])
        cost.parts["around"] = cost.wall - sum(cost.parts.values())
        return cost

    def _lease(self, number: int) -> Lease:
        case = self._case
        sources = [PackageSource(s.uri, s.suite, list(s.components)) for s in case.sources]
        keyring = base64.b64encode(case.keyring.read_bytes()).decode()
        facts = self._facts
        return Lease(
            id=number,
            job=number,
            deadline_at="2099-01-01T00:00:00Z",
            renew_seconds=15,
            buildroot=Buildroot("host", case.architecture, sources, keyring),
            source_name=case.name,
            source_version=case.version,
            dsc=case.dsc.name,
            files=[
                SourceFile(path.name, path.stat().st_size, sha256)
                for sha256, path in self._contents.items()
            ],
            limits=limits_for(
                memory_bytes=facts.memory_bytes,
                disk_bytes=facts.disk_bytes,
                slots=1,
                needed_memory=0,
                needed_disk=0,
            ),
            parallel=CORES,
        )


class Sbuild:
    """sbuild as its own unprivileged user."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._home = case.home / "sbuild"
        self._home.mkdir()
        (self._home / ".sbuildrc").write_text(
            f"$unshare_tmpdir_template = '{self._home}/root.XXXXXXXXXX';\n1;\n"
        )
        self._ids = self._home / "ids"
        self._ids.write_text(f"sbuild:{0x6F000000}:65536\n")
        self._ids.chmod(0o644)
        shutil.chown(self._home, "sbuild", "sbuild")

    def build(self) -> Cost:
        """Build once."""
        case, out = self._case, self._home / "out"
        out.mkdir()
        shutil.chown(out, "sbuild", "sbuild")
        environment = {"HOME": str(self._home), "LOGNAME": "sbuild", "LC_ALL": "C.UTF-8"}
        with timed() as cost:
            log = run(
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                "sh", "-euc", AS_SBUILD, "sh", self._ids,
                "sbuild", "--chroot-mode=unshare", f"--chroot={case.tarball}",
                f"--dist={host_suite()}", f"--arch={case.architecture}", "--arch-all", "--nolog",
                "--no-run-lintian", "--no-run-piuparts", "--no-run-autopkgtest",
                f"--jobs={CORES}", case.dsc,
                cwd=out, environment=os.environ | environment,
            )  # fmt: skip
        if not case.is_built_in(out):
            sys.exit(f"sbuild made no package:\n{log}")
        shutil.rmtree(out)
        fetched = (60 * int(minutes or 0) + int(rest) for minutes, rest in FETCHED.findall(log))
        cost.parts["fetching"] = float(sum(fetched))
        return cost


class Floor:
    """dpkg-buildpackage alone, in a root where all is ready but the compiling."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._root = case.home / "floor"
        self._root.mkdir()
        run("tar", "-xf", case.tarball, "-C", self._root)
        shutil.copyfile("/etc/resolv.conf", self._root / "etc/resolv.conf")
        shutil.copytree(case.dsc.parent, self._root / "source")
        dsc = f"/source/{case.dsc.name}"
        self._inside(["apt-get", "-q", "update"])
        self._inside(["apt-get", "-qy", "--no-install-recommends", "build-dep", dsc])

    def build(self) -> Cost:
        """Build once; unpacking the source is not timed."""
        folder = self._root / "build"
        folder.mkdir()
        shutil.chown(folder, 1000, 1000)
        user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        tree = f"/build/{self._case.name}"
        self._inside(
            [*user, "dpkg-source", "--no-copy", "-x", f"/source/{self._case.dsc.name}", tree]
        )
        with timed() as cost:
            self._inside([*user, "dpkg-buildpackage", "-us", "-uc", "-b"], tree)
        if not self._case.is_built_in(folder):
            sys.exit("the floor's build made no package")
        shutil.rmtree(folder)
        return cost

    def _inside(self, command: list[str], directory: str = "/") -> None:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/build",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "DEB_BUILD_OPTIONS": f"parallel={CORES}",
        }
        run(
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
            f"--root={self._root}", f"--wd={directory}", *command, environment=environment,
        )  # fmt: skip


@contextmanager
def timed() -> Iterator[Cost]:
    """Fill in what the block took."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    cost, began, used = Cost(), time.perf_counter(), cpu()
    yield cost
    cost.wall, cost.cpu = time.perf_counter() - began, cpu() - used


def run(
    *command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """Return what `command` printed; end with it if the command fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def figure(values: list[float], peer: list[float] | None = None) -> dict[str, Any]:
    """Return one figure as benchmarks report them; the ratio is the median of the rounds'."""
    ratios = [one / other for one, other in zip(values, peer, strict=True)] if peer else []
    return {
        "ours": round(statistics.median(values), 2),
        "peer": round(statistics.median(peer), 2) if peer else None,
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
        "unit": "s", "runs": len(values),
        "min": round(min(values), 2), "max": round(max(values), 2), "goal": None, "met": None,
    }  # fmt: skip


def show(case: Case, load: float, costs: dict[str, list[Cost]]) -> None:
    """Print one line per figure, or one JSON object."""
    floor, ours, sbuild = costs["floor"], costs["ours"], costs["sbuild"]

    def over(many: list[Cost], what: str) -> list[float]:
        return [getattr(a, what) - getattr(b, what) for a, b in zip(many, floor, strict=True)]

    figures = {"floor": figure([one.wall for one in floor])}
    figures["floor_cpu"] = figure([one.cpu for one in floor])
    for what, suffix in (("wall", ""), ("cpu", "_cpu")):
        totals = [[getattr(one, what) for one in many] for many in (ours, sbuild)]
        figures[f"build{suffix}"] = figure(*totals)
        figures[f"sbuild{suffix}"] = figure(totals[1])
        figures[f"overhead{suffix}"] = figure(over(ours, what), over(sbuild, what))
        figures[f"sbuild_overhead{suffix}"] = figure(over(sbuild, what))
    for part in ours[0].parts:
        figures[f"ours_{part}"] = figure([one.parts[part] for one in ours])
    figures["sbuild_fetching"] = figure([one.parts["fetching"] for one in sbuild])
    if "--json" in sys.argv:
        print(json.dumps({"name": "build", **figures}))
        return
    print(
        f"Building {case.name} {case.version} for {host_suite()},"
        f" load {load:.1f} before, on {CORES} cores; {len(ours)} rounds"
    )
    for name, one in figures.items():
        beside = f"  sbuild {one['peer']}, ratio {one['ratio']}" if one["peer"] else ""
        print(f"{name:<20} {one['ours']:>7} s ({one['min']} to {one['max']}){beside}")


if __name__ == "__main__":
    main()
