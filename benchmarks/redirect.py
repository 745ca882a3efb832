"""Redirects: CPU time per request of our redirector beside nginx's `return 302`.

    python benchmarks/redirect.py [--quick] [--json]

nginx answers one constant address and chooses nothing: it is the floor, not an equal. Both run on
one core, the load generator on another, over the same kept connections with one request at a time
each. CPU time is the server process's own, user and system, from /proc.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commonfarm.redirector.mirror_map import (
    File,
    Mirror,
    MirrorMap,
    seal,
    serialise,
    to_be_signed,
    write,
)

CONNECTIONS = 32
RUNS = 5
GOAL_RATIO = 4.0
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {home}/t;
  proxy_temp_path {home}/t; fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t;
  scgi_temp_path {home}/t;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 302 http://mirror.example.org$uri; }}
  }}
}}
"""


@dataclass(frozen=True)
class Size:
    """How large one case is."""

    files: int
    mirrors: int
    seconds: float


FULL, QUICK = Size(200_000, 200, 5.0), Size(20_000, 50, 2.0)


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    cpu_us: float
    per_second: float
    loader_share: float


def a_map(size: Size) -> MirrorMap:
    """Return a map of `size` with 300 distinct sets of mirrors."""
    dice = random.Random(1)  # noqa: S311 - test data
    countries = ["DE", "FR", "US", "JP", "BR", "IN"]
    mirrors = tuple(
        Mirror(
            f"m{number}",
            "demo",
            f"http://m{number}.example.org/demo/",
            countries[number % len(countries)],
            frozenset({4, 6}),
        )
        for number in range(size.mirrors)
    )
    sets = [frozenset(dice.sample(range(size.mirrors), size.mirrors * 3 // 4)) for _ in range(300)]
    files = {path(number): File(number, sets[number % 300]) for number in range(size.files)}
    return MirrorMap(1, "2026-01-01T00:00:00+00:00", mirrors, {"demo": files})


def path(number: int) -> str:
    """Return the path of a file as long as those of a Debian pool are."""
    return f"pool/main/l/lib{number % 997}/libsomething{number}_1.2.3-4_amd64.deb"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], port: int) -> Iterator[int]:
    """Run a server on the first core until the block ends, and give its process id."""
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {0})
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{command[0]} does not answer") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.kill()


@contextmanager
def ours(home: Path, size: Size) -> Iterator[tuple[int, int]]:
    """Run our redirector with a map of `size`; give its process id and port."""
    key, port = Ed25519PrivateKey.generate(), free_port()
    payload = serialise(a_map(size))
    write(home / "map", seal(payload, key.sign(to_be_signed(payload))))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (home / "key").write_bytes(pem)
    (home / "published").mkdir(exist_ok=True)
    places = [str(home / name) for name in ("published", "map", "key")]
    command = [sys.executable, "-m", "commonfarm.redirector", "127.0.0.1", str(port), *places]
    with started(command, port) as pid:
        yield pid, port


@contextmanager
def nginx(home: Path, _size: Size) -> Iterator[tuple[int, int]]:
    """Run nginx with a constant redirect; give its process id and port."""
    program, port = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), free_port()
    if program is None:
        raise SystemExit("nginx is not installed: apt-get install nginx-light")
    (home / "conf").write_text(NGINX.format(home=home, port=port))
    with started([program, "-e", str(home / "error"), "-c", str(home / "conf")], port) as pid:
        yield pid, port


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def pss_mib(pid: int) -> float:
    """Return the memory of a process, shared pages by their share."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def load(port: int, requests: list[bytes], seconds: float) -> int:
    """Keep CONNECTIONS busy for `seconds` and return how many redirects came back."""
    poll, clients = select.epoll(), {}
    for _ in range(CONNECTIONS):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(client, select.EPOLLIN)
        clients[client.fileno()] = client
    next_request = cycle(requests).__next__
    answered, end = 0, time.monotonic() + seconds
    for client in clients.values():
        client.sendall(next_request())
    while time.monotonic() < end:
        for number, _ in poll.poll(1):
            client = clients[number]
            answer = client.recv(8192)
            if not answer.startswith(b"HTTP/1.1 302 "):
                raise SystemExit(f"no redirect: {answer[:200]!r}")
            answered += 1
            client.sendall(next_request())
    for client in clients.values():
        client.close()
    return answered


def measure(
    server: Callable[[Path, Size], Any], size: Size, home: Path
) -> tuple[list[Figures], float]:
    """Measure one server RUNS times; return the figures and its memory in MiB at the end."""
    dice = random.Random(2)  # noqa: S311 - test data
    requests = [
        b"GET /demo/%s HTTP/1.1\r\nHost: download.example.org\r\nUser-Agent: bench\r\n\r\n"
        % path(dice.randrange(size.files)).encode()
        for _ in range(5000)
    ]
    figures = []
    with server(home, size) as (pid, port):
        load(port, requests, 0.5)
        for _ in range(RUNS):
            cpu, own, wall = cpu_seconds(pid), time.process_time(), time.monotonic()
            answered = load(port, requests, size.seconds)
            wall = time.monotonic() - wall
            figures.append(
                Figures(
                    (cpu_seconds(pid) - cpu) / answered * 1e6,
                    answered / wall,
                    (time.process_time() - own) / wall,
                )
            )
        return figures, pss_mib(pid)


def figure(
    mine: list[float], peers: list[float], unit: str, goal: float | None = None
) -> dict[str, Any]:
    """Return one figure as benchmarks report them: medians, ratio, and our spread."""
    our, peer = statistics.median(mine), statistics.median(peers)
    ratio = our / peer
    return {
        "ours": round(our, 2),
        "peer": round(peer, 2),
        "ratio": round(ratio, 2),
        "unit": unit,
        "runs": len(mine),
        "min": round(min(mine), 2),
        "max": round(max(mine), 2),
        "goal": goal,
        "met": None if goal is None else ratio <= goal,
    }


def main(arguments: list[str]) -> int:
    """Measure both servers and report."""
    size = QUICK if "--quick" in arguments else FULL
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("ours", "nginx")]
        for home in homes:
            home.mkdir()
        peers, peer_memory = measure(nginx, size, homes[1])
        mine, memory = measure(ours, size, homes[0])
    report = {
        "name": "redirect",
        "cpu_per_request": figure(
            [one.cpu_us for one in mine], [one.cpu_us for one in peers], "µs", GOAL_RATIO
        ),
        "requests_per_second": figure(
            [one.per_second for one in mine], [one.per_second for one in peers], "1/s"
        ),
        "memory": figure([memory], [peer_memory], "MiB"),
        "loader_share_of_a_core": figure(
            [one.loader_share for one in mine], [one.loader_share for one in peers], ""
        ),
    }
    if "--json" in arguments:
        print(json.dumps(report))
        return 0
    print(
        f"Redirects from a map of {size.files:,} files and {size.mirrors} mirrors, beside nginx's"
        f" constant `return 302`; {RUNS} runs of {size.seconds:.0f} s, {CONNECTIONS} connections"
    )
    for name, one in report.items():
        if isinstance(one, dict):
            goal = f"  goal: ratio ≤ {one['goal']}, met: {one['met']}" if one["goal"] else ""
            print(
                f"{name:<24} ours {one['ours']:>10} {one['unit']} ({one['min']} to {one['max']})"
                f"  nginx {one['peer']:>10}  ratio {one['ratio']}{goal}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
