"""Real jobs in real sandboxes, against the fake hub: good builds and ill-behaved ones."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonfarm.agent import job, sandbox
from commonfarm.agent.disk import mounts_below
from commonfarm.agent.hub import Hub
from commonfarm.agent.limits import Means, cgroup_folders
from commonfarm.agent.protocol import Lease
from commonfarm.agent.rootfs import BaseRoot
from commonfarm.agent.state import State

from .conftest import LIMITS
from .fake_hub import FakeHub, Given

pytestmark = [pytest.mark.root, pytest.mark.network]
Source = Callable[..., Path]
Leases = Callable[..., tuple[Lease, dict[str, bytes]]]
Work = Callable[..., Given]


def assert_nothing_left(state: State) -> None:
    """No process of the sandbox's ids, no mount, no cgroup of a step, no container."""
    ids = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/status")
        if _uid(path) in range(0x70000000, 0x70000000 + 65536) and _of(path, state)
    ]
    assert ids == []
    assert mounts_below(state.root) == []
    assert list(state.runc.iterdir()) == []
    for folder in cgroup_folders(state.cgroup):
        assert [path for path in folder.iterdir() if path.is_dir()] == []


def _uid(status: Path) -> int:
    try:
        [line] = [x for x in status.read_text().splitlines() if x.startswith("Uid:")]
        return int(line.split()[1])
    except (OSError, ValueError):
        return -1


def _of(status: Path, state: State) -> bool:
    try:
        return state.cgroup in (status.parent / "cgroup").read_text()
    except OSError:
        return False


@pytest.fixture
def work(hub: FakeHub, state: State, means: Means, root: BaseRoot, make_lease: Leases) -> Work:
    """Do one lease from its files to its report, and look that nothing is left."""

    def run(folder: Path, *, using: Means = means, **changes: Any) -> Given:
        given = hub.offer(*make_lease(folder, **changes))
        client = Hub(hub.url, hub.credential)
        job.work(client, state, given.lease, hub.generation, using, threading.Event())
        assert_nothing_left(state)
        assert list(state.jobs.iterdir()) == []
        return given

    return run


def test_a_package_is_built_and_everything_of_it_is_told(
    work: Work, make_source: Source, root: BaseRoot, tmp_path: Path
) -> None:
    depends = "Build-Depends: debhelper-compat (= 13)\n"
    given = work(make_source("id -un; pwd; nproc", depends))
    text = given.log.decode()
    assert given.report is not None, text
    assert given.report["outcome"] == "succeeded", text
    assert given.report["log_bytes"] == len(given.log)
    assert given.report["log_sha256"] == hashlib.sha256(given.log).hexdigest()
    assert "\nbuilder\n/build/probe-1.0\n" in text
    for heading in ("Base root", "Build dependencies", "Build of probe_1.0.dsc", "Artifacts"):
        assert f"=== {heading}" in text
    facts = given.report["facts"]
    assert facts["base_root"]["digest"] == root.digest
    assert any(line.startswith("debhelper ") for line in facts["packages"])
    assert not any(line.startswith("debhelper ") for line in facts["base_root"]["packages"])
    assert set(facts["seconds"]) == {"root", "dependencies", "build", "upload"}
    assert given.renewals > 0
    names = sorted(file["name"] for file in given.report["artifacts"])
    assert [name.rpartition(".")[2] for name in names] == ["buildinfo", "changes", "deb"]
    package = tmp_path / "probe.deb"
    package.write_bytes(given.artifact(".deb"))
    shown = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True)
    assert "./usr/share/probe/greeting" in shown.stdout


def test_two_builds_are_the_same_bytes(work: Work, make_source: Source) -> None:
    folder = make_source("date > /dev/null")
    first = work(folder, id=1).artifact(".deb")
    assert first == work(folder, id=2).artifact(".deb")


def packages(given: Given, deb: Path) -> dict[str, str]:
    """The control of each package that was brought, by name and version; `deb` is a place."""
    assert given.report is not None
    assert given.report["outcome"] == "succeeded", given.log.decode()
    found = {}
    for file in given.report["artifacts"]:
        if file["name"].endswith(".deb"):
            deb.write_bytes(given.uploads[file["sha256"]])
            shown = subprocess.run(
                ["dpkg-deb", "-f", deb], capture_output=True, text=True, check=True
            )
            found[file["name"].rpartition("_")[0]] = shown.stdout
    return found


def test_a_rebuild_suffix_makes_another_version(
    work: Work, make_source: Source, tmp_path: Path
) -> None:
    folder, deb = make_source(indep=["probe-doc"]), tmp_path / "deb"
    assert set(packages(work(folder, id=1), deb)) == {"probe_1.0", "probe-doc_1.0"}
    again = packages(work(folder, id=2, rebuild_suffix=3, build="any"), deb)
    assert set(again) == {"probe_1.0+b3"}  # the other one stays as it was published
    assert "\nSource: probe (1.0)\n" in again["probe_1.0+b3"]


def test_a_rebuild_of_what_is_the_same_everywhere_makes_all_of_it(
    work: Work, make_source: Source, tmp_path: Path
) -> None:
    folder = make_source(architecture="all", indep=["probe-doc"])
    again = packages(work(folder, rebuild_suffix=1), tmp_path / "deb")
    assert set(again) == {"probe_1.0+b1", "probe-doc_1.0+b1"}
    assert "\nDepends: probe (= 1.0+b1)\n" in again["probe-doc_1.0+b1"]


@pytest.mark.parametrize(
    ("recipe", "changes", "reason"),
    [
        ("false", {}, "dpkg-buildpackage failed"),
        (
            "perl -e '$$x .= \"x\" x 1048576 while 1'",
            {"limits": replace(LIMITS, memory_bytes=128 * 2**20)},
            "more memory than the limit of 134217728 bytes",
        ),
        (
            "head -c 200M /dev/zero > big && sleep 10",
            {"limits": replace(LIMITS, disk_bytes=64 * 2**20)},
            "more than the disk limit of 67108864 bytes",
        ),
        (
            "perl -e 'for (1..80) { $$p = fork // die qq(no fork: $$!); sleep 20, exit if !$$p }'",
            {"limits": replace(LIMITS, processes=40)},
            "dpkg-buildpackage failed",
        ),
    ],
)
def test_a_build_that_misbehaves_fails_with_the_reason(
    work: Work, make_source: Source, recipe: str, changes: dict[str, Any], reason: str
) -> None:
    given = work(make_source(recipe), **changes)
    assert given.report is not None
    assert (given.report["outcome"], given.report["stage"]) == ("failed", "build")
    assert reason in given.report["reason"], given.log.decode()
    assert given.report["reason"] in given.log.decode()
    if "fork" in recipe:
        assert "no fork: Resource temporarily unavailable" in given.log.decode()


@pytest.mark.parametrize(
    ("recipe", "limit", "seconds", "reason"),
    [
        ("sleep 600", "silence_seconds", 2, "printed nothing for {} s"),
        (
            "while sleep 0.2; do echo on and on; done",
            "wall_seconds",
            6,
            "longer than the limit of {} s",
        ),
    ],
)
def test_a_build_that_does_not_end_fails_with_the_reason(
    work: Work, make_source: Source, recipe: str, limit: str, seconds: int, reason: str
) -> None:
    # What comes before the build counts as well, and takes its time on a slow machine.
    for most in (seconds, 5 * seconds, 25 * seconds):
        given = work(make_source(recipe), limits=replace(LIMITS, **{limit: most}))
        report, log = given.report, given.log.decode()
        if report is not None and report["stage"] == "build":
            break
    assert report is not None
    assert (report["outcome"], report["stage"]) == ("failed", "build")
    assert reason.format(most) in report["reason"], log
    assert report["reason"] in log


def test_the_disk_is_watched_where_it_cannot_be_sized(
    work: Work, make_source: Source, means: Means
) -> None:
    given = work(
        make_source("head -c 100M /dev/zero > big; sleep 10"),
        using=replace(means, disk="watchdog"),
        limits=replace(LIMITS, disk_bytes=64 * 2**20),
    )
    assert given.report is not None
    assert "more than the disk limit" in given.report["reason"], given.log.decode()


def test_a_build_goes_without_cgroups_by_rlimits(
    work: Work, make_source: Source, means: Means
) -> None:
    using = replace(means, memory="rlimit", processes="rlimit", swap_counted=False)
    given = work(
        make_source("perl -e 'my $$x = \"x\" x 800000000'"),
        using=using,
    )
    assert given.report is not None
    assert given.report["outcome"] == "failed", given.log.decode()
    assert "Out of memory" in given.log.decode()


def test_a_build_has_no_network_but_its_own_loopback(work: Work, make_source: Source) -> None:
    script = (
        "use Socket; for my $$to (@ARGV) { socket(my $$s, PF_INET, SOCK_STREAM, 0);"
        " setsockopt($$s, SOL_SOCKET, SO_REUSEADDR, 1);"
        " print $$to, connect($$s, sockaddr_in(80, inet_aton($$to)))"
        ' ? " connected" : " $$!", "\\n" }'
    )
    given = work(make_source(f"perl -e '{script}' 192.0.2.1 127.0.0.1\ncat /proc/net/dev"))
    text = given.log.decode()
    assert "192.0.2.1 Network is unreachable" in text
    assert "127.0.0.1 Connection refused" in text
    assert "eth0" not in text


def test_a_daemon_that_a_build_leaves_is_ended_and_named(work: Work, make_source: Source) -> None:
    given = work(make_source("setsid sh -c 'setsid sleep 4321 &' &"))
    assert given.report is not None
    assert given.report["outcome"] == "succeeded"
    assert sandbox.LEFT_BEHIND in given.log.decode()
    assert "sleep 4321" in given.log.decode()


def test_a_build_cannot_reach_the_kernel_or_the_root(work: Work, make_source: Source) -> None:
    recipe = (
        "unshare -U true || echo no user namespace\n"
        "mount -t tmpfs x /mnt || echo no mount\n"
        "touch /usr/x || echo no writing to usr\n"
        "echo 1 > /proc/sys/kernel/sysrq || echo no sysctl\n"
        "test -e /sys/kernel || echo no sys\n"
        "su -c true 2> /dev/null || echo no su\n"
        "grep -H CapEff /proc/self/status\n"
        "sync && echo sync returns"
    )
    text = work(make_source(recipe)).log.decode()
    for line in ("no user namespace", "no mount", "no writing to usr", "no sysctl", "no sys"):
        assert f"\n{line}\n" in text
    assert "\nno su\n" in text
    assert "CapEff:\t0000000000000000" in text
    assert "\nsync returns\n" in text


def test_a_log_has_what_was_said_in_its_order(work: Work, make_source: Source) -> None:
    text = work(make_source("for n in $$(seq 300); do echo $$n; echo $$n >&2; done")).log.decode()
    numbers = [line for line in text.splitlines() if line.isdigit()]
    assert numbers == [str(n) for n in range(1, 301) for _ in range(2)]


def test_unsatisfiable_dependencies_fail_in_apts_own_words(work: Work, make_source: Source) -> None:
    given = work(make_source(depends="Build-Depends: no-such-package-anywhere\n"))
    assert given.report is not None
    assert (given.report["outcome"], given.report["stage"]) == ("failed", "dependencies")
    assert "no-such-package-anywhere" in given.report["reason"]


def test_a_build_conflict_is_removed(work: Work, make_source: Source) -> None:
    given = work(make_source("test ! -e /usr/bin/fakeroot", "Build-Conflicts: fakeroot\n"))
    assert given.report is not None
    assert given.report["outcome"] == "succeeded", given.log.decode()


def test_what_a_build_lists_must_be_plain_files(work: Work, make_source: Source) -> None:
    lie = (
        "\tln -sf /etc/shadow ../probe_2.0_all.deb\n"
        "\techo probe_2.0_all.deb misc optional >> debian/files\n"
    )
    given = work(make_source(more=lie))
    assert given.report is not None
    assert given.report["outcome"] == "failed", given.log.decode()
    assert given.report["artifacts"] == []


def test_a_long_log_is_cut_and_the_build_goes_on(work: Work, make_source: Source) -> None:
    given = work(make_source("seq 1 200000"), limits=replace(LIMITS, log_bytes=100_000))
    assert given.report is not None
    assert given.report["outcome"] == "succeeded"
    assert len(given.log) == 100_000 == given.report["log_bytes"]
    assert given.log.decode().endswith("the build goes on\n")


def test_a_cancelled_job_ends_at_once(work: Work, make_source: Source, hub: FakeHub) -> None:
    def cancel() -> None:
        while b"marker-of-the-build" not in hub.given[7].log:
            threading.Event().wait(0.1)
        hub.given[7].cancel = "anna wants it no more"

    folder = make_source("echo marker-of-the-build; sleep 100")
    hub.given.clear()
    thread = threading.Thread(target=lambda: _when_given(hub, cancel), daemon=True)
    thread.start()
    given = work(folder)
    assert given.report is not None
    assert given.report["outcome"] == "cancelled"
    assert given.report["reason"] == "anna wants it no more"


def test_a_lease_that_is_over_is_dropped_without_a_report(
    work: Work, make_source: Source, hub: FakeHub
) -> None:
    def end() -> None:
        while b"marker-of-the-build" not in hub.given[7].log:
            threading.Event().wait(0.1)
        hub.given[7].over = True

    folder = make_source("echo marker-of-the-build; sleep 100")
    threading.Thread(target=lambda: _when_given(hub, end), daemon=True).start()
    given = work(folder)
    assert given.report is None


def _when_given(hub: FakeHub, then: Callable[[], None]) -> None:
    while 7 not in hub.given:
        threading.Event().wait(0.05)
    then()
