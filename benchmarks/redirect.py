"""Redirects: CPU time per request of our redirector beside nginx's `return 302`.

    python benchmarks/redirect.py [--quick] [--json]

A million files on 200 mirrors in 60 countries. Each request is for a random file by a client of a
random one of 5,000 networks, which a trusted proxy names; each answer has five `Link` lines, that
of the metalink, `Digest`, `Repr-Digest` and `ETag`. nginx answers the same requests by header lines
of the same length that are always the same, and chooses nothing: it is the floor, not an equal.

Every client has asked before, as all but the first request of an apt run have: to rank 200 mirrors
for a new network takes about 0.2 ms. Both run on one core, the load generator on another. CPU time
is the server process's own, user and system, from /proc, over kept connections with one request at
a time each. Latency is measured by an open loop at 80% of what we reached just before: a request is
due at its time whether or not earlier ones are answered, and its time counts from when it was due;
nginx's is at the same rate. Maps are swapped at half of the maximum: a delta, a full map in which
every mirror has another address, and for comparison nothing.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from redirecting import (
    CONNECTIONS,
    COUNTRIES,
    FULL,
    NETWORKS,
    QUICK,
    Home,
    Latency,
    Size,
    clients,
    cpu_seconds,
    load_closed,
    load_open,
    nginx,
    ours,
    path,
    pss_mib,
)

RUNS = 5
REQUESTS = 50_000
GOALS = {
    "cpu_per_request": 3.0,
    "p99_at_80_percent": 5.0,
    "swap_slowest": 20.0,
    "memory": round(120e6 / 2**20, 1),
}


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    cpu_us: float
    per_second: float
    loader_share: float


def measure(pid: int, port: int, requests: Sequence[bytes], size: Size) -> Run:
    """Measure one server once, as fast as it goes."""
    cpu, own, wall = cpu_seconds(pid), time.process_time(), time.monotonic()
    answered = load_closed(port, requests, size.seconds)
    wall = time.monotonic() - wall
    share = (time.process_time() - own) / wall
    return Run((cpu_seconds(pid) - cpu) / answered * 1e6, answered / wall, share)


def figure(
    mine: Sequence[float],
    peers: Sequence[float] | None,
    unit: str,
    goal: float | None = None,
) -> dict[str, Any]:
    """Return one figure as benchmarks report them: medians, ratio, and our spread.

    The goal is for the ratio where there is a peer.
    """
    our, peer = statistics.median(mine), statistics.median(peers) if peers else None
    ratio = our / peer if peer else None
    judged = our if ratio is None else ratio
    return {
        "ours": round(our, 2),
        "peer": None if peer is None else round(peer, 2),
        "ratio": None if ratio is None else round(ratio, 2),
        "unit": unit,
        "runs": len(mine),
        "min": round(min(mine), 2),
        "max": round(max(mine), 2),
        "goal": goal,
        "met": None if goal is None else judged <= goal,
    }


def report_of(home: Home, size: Size) -> dict[str, Any]:
    """Measure all of it."""
    dice, addresses = random.Random(2), clients()[0]  # noqa: S311 - test data
    requests = [
        b"GET /%s HTTP/1.1\r\nHost: download.example.org\r\nUser-Agent: Debian APT-HTTP/1.3"
        b" (2.6.1)\r\nX-Forwarded-For: %s\r\n\r\n"
        % (path(dice.randrange(size.files)), address.encode())
        for address in addresses + dice.choices(addresses, k=REQUESTS - NETWORKS)
    ]
    with ours(home) as (pid, port):
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(requests[0])
            answer = one.recv(8192)
        load_closed(port, requests, size.seconds, NETWORKS)  # every client was there before
        mine, calm = list[Run](), list[Latency]()
        for _ in range(RUNS):  # in turn: what is 80% of the maximum changes with the machine
            mine.append(measure(pid, port, requests, size))
            calm.append(load_open(port, requests, mine[-1].per_second * 0.8, size.seconds))
        most, memory = statistics.median(run.per_second for run in mine), pss_mib(pid)
        swaps = {"nothing": load_open(port, requests, most / 2, size.seconds + 3)}
        for name in ("delta", "full"):
            swaps[name] = load_open(
                port, requests, most / 2, size.seconds + 3, 0.5, partial(home.swap, name)
            )
        memory_after = pss_mib(pid)
    with nginx(home, answer) as (pid, port):
        peers = [measure(pid, port, requests, size) for _ in range(RUNS)]
        peer_memory = pss_mib(pid)
        beside = [load_open(port, requests, most * 0.8, size.seconds) for _ in range(RUNS)]
    return {
        "name": "redirect",
        "cpu_per_request": figure(
            [run.cpu_us for run in mine],
            [run.cpu_us for run in peers],
            "µs",
            GOALS["cpu_per_request"],
        ),
        "requests_per_second": figure(
            [run.per_second for run in mine], [run.per_second for run in peers], "1/s"
        ),
        "p99_at_80_percent": figure(
            [one.p99 for one in calm], None, "ms", GOALS["p99_at_80_percent"]
        ),
        "p99_of_nginx_at_that_rate": figure([one.p99 for one in beside], None, "ms"),
        "slowest_of_nginx_at_that_rate": figure([max(one.times) for one in beside], None, "ms"),
        "lost": figure([one.lost for one in (*calm, *swaps.values())], None, "requests", 0),
        **{
            f"slowest_while_{name}_is_swapped": figure(
                [max(one.times)], None, "ms", GOALS["swap_slowest"] if name != "nothing" else None
            )
            for name, one in swaps.items()
        },
        "memory": figure([memory], None, "MiB", GOALS["memory"]),
        "memory_after_swaps": figure([memory_after], None, "MiB"),
        "memory_beside": figure([memory], [peer_memory], "MiB"),
        "loader_share_of_a_core": figure(
            [run.loader_share for run in mine], [run.loader_share for run in peers], ""
        ),
    }


def main(arguments: list[str]) -> int:
    """Measure both servers and report."""
    size = QUICK if "--quick" in arguments else FULL
    if arguments[:1] == ["build"]:
        Home(Path(arguments[1]), size).build()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), size)
        build = [sys.executable, __file__, "build", folder, *arguments]
        subprocess.run(build, check=True)
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)))
        report = report_of(home, size)
    if "--json" in arguments:
        print(json.dumps(report))
        return 0
    print(
        f"Redirects from a map of {size.files:,} files and {size.mirrors} mirrors for clients of"
        f" {NETWORKS:,} networks in {COUNTRIES} countries, beside nginx's constant `return 302`;"
        f" {RUNS} runs of {size.seconds} s, {CONNECTIONS} connections"
    )
    for name, one in report.items():
        if isinstance(one, dict):
            peer = f"  nginx {one['peer']}, ratio {one['ratio']}" if one["peer"] else ""
            goal = f"  goal: at most {one['goal']}, met: {one['met']}" if one["goal"] else ""
            print(
                f"{name:<34} {one['ours']:>10} {one['unit']} ({one['min']} to {one['max']})"
                f"{peer}{goal}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
