"""Scans of a mirror: listed by rsync and by web index, compared and stored, beside rsync itself.

    python benchmarks/scan.py [--quick] [--json]

A mirror of 200,000 files as a Debian pool has them (seven to a folder, no bytes on disk, sizes
made up), served on loopback by rsync's daemon and by nginx on one core; we scan it from the other.
The peer is `rsync --list-only` into /dev/null in the same run, in turns with ours. Ours includes
the rsync that we start, and where it says `kept` also the comparison with the tree's files and the
holdings' row in an embedded PostgreSQL; before each of these runs a hundredth of the files changes
its size, back and forth. CPU time is that of the scanning process and the rsync client below it.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanning import Listed, list_http, list_rsync

RUNS = 5
AT_ONCE = 10
GOAL_RATIO, GOAL_FILES_PER_SECOND = 3.0, 5000.0
LOCAL = Policy(loopback_allowed=True, own_ports=frozenset())

RSYNC = """
use chroot = no
address = 127.0.0.1
port = {port}
log file = {home}/rsyncd.log
pid file = {home}/rsyncd.pid
uid = {uid}
[tree]
path = {tree}
"""
NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {home}/t; proxy_temp_path {home}/t;
  fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  server {{ listen 127.0.0.1:{port}; root {tree}; autoindex on; }}
}}
"""

Keep = Callable[[Iterable[Listed]], int]
"""Compares a listing with what should be there, stores what is, and returns how many files are."""


@dataclass(frozen=True)
class Spent:
    """What one run took, and how many files it found."""

    wall: float
    cpu: float
    files: int


def path(number: int) -> str:
    """Return the path of a file as a Debian pool has them: seven to a folder."""
    source = number // 7
    return f"pool/main/{source % 26}/lib{source}/libsomething{number}_1.2.3-4_amd64.deb"


def size_of(number: int, run: int) -> int:
    """Return the size of a file in a run: a hundredth have another one every other time."""
    return 1000 + number * 37 + (number % 100 == 0 and run % 2)


def made(tree: Path, files: int) -> None:
    """Make the mirror's files, without bytes."""
    for number in range(files):
        file = tree / path(number)
        if number % 7 == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as empty:
            empty.truncate(size_of(number, 0))


def changed(tree: Path, files: int, run: int) -> None:
    """Give a hundredth of the files the size of this run."""
    for number in range(0, files, 100):
        os.truncate(tree / path(number), size_of(number, run))


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(program: str, home: Path, tree: Path, config: str) -> Iterator[int]:
    """Serve the tree by nginx or rsync on the last core until the block ends; give the port."""
    command = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if command is None:
        raise SystemExit(f"{program} is not installed")
    port, file = free_port(), home / f"{program}.conf"
    file.write_text(config.format(home=home, port=port, tree=tree, uid=os.getuid()))
    arguments = {
        "nginx": [command, "-e", str(home / "error"), "-c", str(file)],
        "rsync": [command, "--daemon", "--no-detach", f"--config={file}"],
    }
    core = {max(os.sched_getaffinity(0))}
    with subprocess.Popen(
        arguments[program],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{program} does not answer") from None
                    time.sleep(0.05)
            yield port
        finally:
            process.kill()


def holdings(home: Path, files: int, stop: ExitStack) -> Keep:
    """Start a PostgreSQL with a tree of these files and a mirror; return what records a listing."""
    from commonfarm.installation.postgres import EmbeddedPostgres
    from commonfarm.lib.config import Listen, default, dump

    listen = Listen("127.0.0.1", 0, 0, 0, 0)
    config = default("bench", home / "config.toml", home / "s", home / "run", listen)
    config.file.write_text(dump(config))
    os.environ["COMMONFARM_CONFIG"] = str(config.file)
    os.environ["DJANGO_SETTINGS_MODULE"] = "commonfarm.web.settings"
    postgres = EmbeddedPostgres(
        data=home / "pg",
        socket_directory=Path(config.database.host),
        runs_as="nobody" if os.getuid() == 0 else None,
        peers={pwd.getpwuid(os.getuid()).pw_name: ["commonfarm"]},
    )
    postgres.prepare()
    server = postgres.start(home / "pg.log")
    stop.callback(lambda: postgres.stop(server))
    postgres.create("commonfarm", "commonfarm")

    import logging

    import django
    from django.core.management import call_command

    logging.disable(logging.INFO)
    django.setup()
    call_command("migrate", verbosity=0)

    from commonfarm.archive.interface import TreeFile
    from commonfarm.estate.interface import ReleaseTree
    from commonfarm.mirrors.holdings import record_listing
    from commonfarm.mirrors.models import Mirror

    tree = ReleaseTree.objects.create(name="demo")
    rows = (
        TreeFile(tree=tree, path=path(number), size=size_of(number, 0), since_revision=1)
        for number in range(files)
    )
    TreeFile.objects.bulk_create(rows, batch_size=5000)
    mirror = Mirror.objects.create(name="north", tree=tree, country="DE", added_by="bench")

    def keep(listed: Iterable[Listed]) -> int:
        scan = record_listing(mirror, 1, listed)
        assert scan.ok, scan.problem
        return int(scan.files_found)

    return keep


def count(listed: Iterable[Listed]) -> int:
    """Return how many files are listed."""
    return sum(1 for _ in listed)


def measured(run: Callable[[], int]) -> Spent:
    """Run it, and return what it took here and in the processes that it started and that ended."""

    def cpu() -> float:
        used = [
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        ]
        return sum(one.ru_utime + one.ru_stime for one in used)

    began_cpu, began = cpu(), time.perf_counter()
    files = run()
    return Spent(time.perf_counter() - began, cpu() - began_cpu, files)


def rsync_itself(url: str) -> int:
    """Run the peer."""
    command = ["rsync", "--list-only", "--recursive", "--no-motd", url]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return 0


def longest_pause(work: Callable[[], None]) -> float:
    """Run `work` beside a thread that wants to do something every millisecond; return the longest
    time in seconds that it could not.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        longest, last = 0.0, time.perf_counter()
        while not working.done():
            time.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        working.result()
    return longest


def many(list_one: Callable[[], Iterable[Listed]]) -> None:
    """List ten mirrors at once, each in a thread as the worker does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: count(list_one()), range(AT_ONCE)))


def figure(
    unit: str,
    ours: list[float],
    peer: list[float] | None = None,
    goal: float | None = None,
    *,
    less: bool = True,
) -> dict[str, Any]:
    """Return one figure as benchmarks report them; with a peer the goal is for the ratio."""
    middle = statistics.median(ours)
    other = statistics.median(peer) if peer else None
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True)) if peer else None
    judged = middle if ratio is None else ratio
    met = None if goal is None else (judged <= goal if less else judged >= goal)
    return {
        "ours": round(middle, 3),
        "peer": None if other is None else round(other, 3),
        "ratio": None if ratio is None else round(ratio, 2),
        "unit": unit,
        "runs": len(ours),
        "min": round(min(ours), 3),
        "max": round(max(ours), 3),
        "goal": goal,
        "met": met,
    }


def measure(home: Path, files: int, *, whole: bool) -> dict[str, Any]:
    """Serve the mirror, scan it in turns with the peer, and return the figures."""
    tree = home / "tree"
    made(tree, files)
    with ExitStack() as stop:
        rsync = f"rsync://127.0.0.1:{stop.enter_context(served('rsync', home, tree, RSYNC))}/tree/"
        web = f"http://127.0.0.1:{stop.enter_context(served('nginx', home, tree, NGINX))}/"
        keep = holdings(home, files, stop)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        runs: dict[str, list[Spent]] = {}
        keep(list_rsync(rsync, LOCAL))
        for run in range(1, RUNS + 1):
            changed(tree, files, run)
            good = files - (files // 100 if run % 2 else 0)
            for name, work, expected in (
                ("peer", lambda: rsync_itself(rsync), 0),
                ("rsync", lambda: count(list_rsync(rsync, LOCAL)), files),
                ("rsync_kept", lambda: keep(list_rsync(rsync, LOCAL)), good),
                ("http", lambda: count(list_http(web, LOCAL)), files),
                ("http_kept", lambda: keep(list_http(web, LOCAL)), good),
            ):
                runs.setdefault(name, []).append(measured(work))
                assert runs[name][-1].files == expected, (name, runs[name][-1])
        few = f"{rsync}pool/main/1/"
        paused = [longest_pause(lambda: many(lambda: list_rsync(few, LOCAL))) for _ in range(RUNS)]
    wall = {name: [one.wall for one in some] for name, some in runs.items()}
    cpu = {name: [one.cpu for one in some] for name, some in runs.items()}
    peer = runs["peer"]
    return {
        "rsync_listed": figure("s", wall["rsync"], wall["peer"]),
        "rsync_listed_cpu": figure("s", cpu["rsync"], [one.cpu for one in peer]),
        "rsync_kept": figure("s", wall["rsync_kept"], wall["peer"], GOAL_RATIO if whole else None),
        "rsync_kept_cpu": figure("s", cpu["rsync_kept"], [one.cpu for one in peer]),
        "http_listed": figure("files/s", [files / one for one in wall["http"]]),
        "http_listed_cpu": figure("files/s of CPU", [files / one for one in cpu["http"]]),
        "http_kept": figure(
            "files/s",
            [files / one for one in wall["http_kept"]],
            goal=GOAL_FILES_PER_SECOND if whole else None,
            less=False,
        ),
        "longest_pause_of_ten_at_once": figure("s", paused),
    }


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    files = 20_000 if "--quick" in sys.argv else 200_000
    home = Path(tempfile.mkdtemp(prefix="cf-scan-"))
    home.chmod(0o755)
    try:
        figures = measure(home, files, whole="--quick" not in sys.argv)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if "--json" in sys.argv:
        print(json.dumps({"name": "scan", **figures}))
        return
    print(f"Scans of a mirror of {files:,} files; {RUNS} runs in turns with rsync --list-only")
    for name, one in figures.items():
        peer = f"; rsync {one['peer']}, ratio {one['ratio']}" if one["peer"] else ""
        goal = f"; goal {one['goal']:g}, met: {one['met']}" if one["goal"] is not None else ""
        print(
            f"{name:<29} {one['ours']:>9} {one['unit']} ({one['min']} to {one['max']}){peer}{goal}"
        )


if __name__ == "__main__":
    main()
