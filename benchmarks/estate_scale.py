"""A large estate: how long a verified plan takes, how good it is, and in how much memory.

    python benchmarks/estate_scale.py [--quick] [--json]

Makes an estate of 1,000 hosts and 5,000 instances, with traits, spreads, sites, shared limits,
ranges and pledges that end, most of it running already, and has `commonfarm estate plan` plan it:
reading the YAML, solving each interval at each level, and verifying are all in the time. No peer
plans such an estate; what first-fit decreasing places in the same problem stands beside the gap.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from commonfarm.estate.folder import read_facts
from commonfarm.estate.placement.ledger import Ledger, score
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.plan import Plan
from commonfarm.estate.planner import running
from commonfarm.estate.timeline import intervals

TODAY = date(2026, 11, 21)
GOAL_SECONDS = 60.0
GOAL_MIB = 2048.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is."""

    hosts: int
    instances: int
    runs: int


FULL = Size(hosts=1000, instances=5000, runs=5)
QUICK = Size(hosts=100, instances=500, runs=2)

ARCHITECTURES = ("amd64",) * 7 + ("arm64",) * 2 + ("ppc64el",)
MACHINES = ((8, 32, 500), (16, 64, 1000), (32, 128, 2000), (64, 256, 4000))  # cores, GiB, GB
NEEDS = ((1, 2, 20), (2, 4, 40), (2, 8, 100), (4, 16, 200), (8, 32, 300), (12, 48, 500))
ENVIRONMENTS = ("production",) * 5 + ("staging",) * 2 + ("testing", "devel")


class Making:
    """An estate in the making; knows what is left where, so that what runs does fit."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.chance = random.Random(seed)  # noqa: S311 - makes an estate, no secret
        self.sites = max(2, size.hosts // 50)
        self.pledges = max(4, size.hosts // 20)
        self.left: dict[str, list[float]] = {}
        self.hosts = [self._host(number) for number in range(size.hosts)]

    def _host(self, number: int) -> dict[str, Any]:
        chance = self.chance
        cores, memory, disk = chance.choice(MACHINES)
        name = f"h{number:04}"
        self.left[name] = [cores * 2, memory - 2, disk]
        host: dict[str, Any] = {
            "name": name,
            "site": f"s{number % self.sites:02}",
            "rack": f"r{number // self.sites % 5}",
            "architecture": chance.choice(ARCHITECTURES),
            "cores": cores,
            "memory": f"{memory} GiB",
            "disk": f"{disk} GB",
            "reserved": {"memory": "2 GiB"},
            "allocation_ratio": {"cores": 2},
            "virtualisation": chance.random() < 0.8,
            "traits": [one for one in ("CUSTOM_SSD", "CUSTOM_GPU") if chance.random() < 0.3],
        }
        if chance.random() < 0.8:
            host["pledge"] = f"p{chance.randrange(self.pledges):02}"
        return host

    def files(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the estate's files."""
        yield "supply.yaml", {"sites": [*self._sites()], "sponsors": self._sponsors(),
                              "pledges": [*self._pledges()], "hosts": self.hosts}  # fmt: skip
        yield "demand.yaml", {"services": [*self._services()]}

    def _sites(self) -> Iterator[dict[str, Any]]:
        for number in range(self.sites):
            lan = {"name": "lan", "prefix": f"10.{number}.0.0/23"}
            yield {"name": f"s{number:02}", "bandwidth": "40 Gbit/s", "networks": [lan]}

    def _sponsors(self) -> list[dict[str, Any]]:
        return [{"name": f"giver{number}", "title": f"giver {number}"} for number in range(10)]

    def _pledges(self) -> Iterator[dict[str, Any]]:
        for number in range(self.pledges):
            pledge = {"name": f"p{number:02}", "sponsor": f"giver{number % 10}",
                      "what": "hosts", "from": "2024-01-01"}  # fmt: skip
            # A tenth of all end in the next two years, on three days.
            if number % 10 == 0:
                pledge["until"] = ("2027-03-01", "2027-09-01", "2028-06-01")[number // 10 % 3]
            yield pledge

    def _services(self) -> Iterator[dict[str, Any]]:
        number = made = 0
        while made < self.size.instances:
            service, count = self._service(number, self.size.instances - made)
            number, made = number + 1, made + count
            yield service

    def _service(self, number: int, most: int) -> tuple[dict[str, Any], int]:
        chance = self.chance
        environment = chance.choice(ENVIRONMENTS)
        count = min(most, chance.choice((1, 1, 2, 3, 5, 10, 25)))
        cores, memory, disk = chance.choice(NEEDS)
        architecture = chance.choice(ARCHITECTURES)
        requires: dict[str, Any] = {
            "cores": cores,
            "memory": f"{memory} GiB",
            "disk": f"{disk} GB",
            "architecture": architecture,
            "bandwidth": "20 Mbit/s",
        }
        if chance.random() < 0.1:
            requires["memory"] = {"low": f"{memory // 2} GiB", "likely": f"{memory} GiB",
                                  "high": f"{memory * 2} GiB"}  # fmt: skip
        traits: dict[str, Any] = {}
        if chance.random() < 0.3:
            traits["required"] = ["CUSTOM_VIRTUALISATION"]
        if chance.random() < 0.1:
            traits["forbidden"] = ["CUSTOM_GPU"]
        if chance.random() < 0.1:
            traits["preferred"] = ["CUSTOM_SSD"]
        if traits:
            requires["traits"] = traits
        component: dict[str, Any] = {"name": "app", "requires": requires}
        over = None
        if count > 1 and chance.random() < 0.5:
            over = chance.choice(("host", "rack")) if count <= 25 else "host"
            component["spread"] = [{"over": over, "at_most": 1 if over == "host" else 3}]
        elif count > 1:
            component["spread"] = [{"over": "site", "at_least": 2, "strength": "should"}]
        on = [*self._running(count, (cores, memory, disk), architecture, traits, over is not None)]
        component["instances"] = [{"environment": environment, "count": count, "on": on}]
        service = {"name": f"v{number:04}", "title": f"service {number}",
                   "coordinators": ["anna"], "environments": [{"name": environment}],
                   "components": [component]}  # fmt: skip
        return service, count

    def _running(
        self, count: int, need: tuple[int, int, int], architecture: str,
        traits: dict[str, Any], apart: bool,
    ) -> Iterator[str]:  # fmt: skip
        """Yield where nine in ten of them run, on hosts that take them."""
        used: set[tuple[Any, ...]] = set()
        for host in self.chance.sample(self.hosts, min(len(self.hosts), 40 * count)):
            has = {*host["traits"], *(["CUSTOM_VIRTUALISATION"] if host["virtualisation"] else [])}
            fits = (
                host["architecture"] == architecture
                and has.issuperset(traits.get("required", ()))
                and has.isdisjoint(traits.get("forbidden", ()))
                and all(a >= b for a, b in zip(self.left[host["name"]], need, strict=True))
                and not (apart and (host["site"], host["rack"]) in used)
            )
            if len(used) == count or not fits or self.chance.random() < 0.1:
                continue
            used.add((host["site"], host["rack"]) if apart else (host["name"],))
            left = self.left[host["name"]]
            self.left[host["name"]] = [a - b for a, b in zip(left, need, strict=True)]
            yield host["name"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the command."""

    seconds: float
    mib: float
    plan: Plan


def peak_mib(pid: int, peaks: dict[int, float]) -> None:
    """Note the most memory that a process and its children have had, each."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peaks[pid] = int(line.split()[1]) / 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            peak_mib(int(child), peaks)
    except (FileNotFoundError, ProcessLookupError):
        pass


def run(folder: Path) -> Measured:
    out = folder.parent / "plan.json"
    command = [sys.executable, "-m", "commonfarm.cli.main", "estate", "plan", str(folder)]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--at", TODAY.isoformat(), "--out", str(out)], stdout=subprocess.DEVNULL
    )
    peaks: dict[int, float] = {}
    while process.poll() is None:
        peak_mib(process.pid, peaks)
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    if process.returncode not in (0, 1):
        sys.exit(f"the plan failed with code {process.returncode}")
    return Measured(seconds, sum(peaks.values()), Plan.from_json(out.read_text(), out.name))


def first_fit(folder: Path) -> int:
    """Return the weight that first-fit decreasing by memory places in the first interval."""
    facts = read_facts(folder)
    first = intervals(facts, TODAY)[0]
    problem = pose(facts, first.hosts, "likely", running(facts))
    ledger = Ledger(problem)
    order = sorted(problem.items, key=lambda one: (-one.kind.amounts["memory"], one.name))
    for item in order:
        host = next((one for one in item.kind.hosts if ledger.fits(item, one)), None)
        if host is not None:
            ledger.put(item, host)
    return score(problem, ledger.on).weight


def figure(
    unit: str, values: list[float], goal: float | None = None, peer: float | None = None
) -> dict[str, Any]:
    """Return one figure as benchmarks report them; less is better where there is a goal."""
    ours = statistics.median(values)
    return {
        "ours": round(ours, 4), "peer": peer, "ratio": round(ours / peer, 4) if peer else None,
        "unit": unit, "runs": len(values), "min": round(min(values), 4),
        "max": round(max(values), 4), "goal": goal, "met": None if goal is None else ours <= goal,
    }  # fmt: skip


def main() -> None:
    size = QUICK if "--quick" in sys.argv else FULL
    home = Path(tempfile.mkdtemp(prefix="cf-bench-"))
    try:
        folder = home / "estate"
        folder.mkdir()
        for name, data in Making(size, 1).files():
            # JSON is YAML, too.
            (folder / name).write_text(json.dumps(data, indent=1))
        runs = [run(folder) for _ in range(size.runs)]
        peer = first_fit(folder)
    finally:
        shutil.rmtree(home)
    plan = runs[0].plan
    first = plan.intervals[0].levels["likely"]
    answers = [one.levels["likely"] for one in plan.intervals]
    result: dict[str, Any] = {
        "name": "estate_scale",
        "time": figure("s", [one.seconds for one in runs], GOAL_SECONDS if size is FULL else None),
        "memory": figure("MiB", [one.mib for one in runs], GOAL_MIB),
        "gap": figure("%", [100 * (1 - one.weight / one.bound) for one in answers]),
        "weight": figure("", [float(first.weight)], peer=peer),
        "placed": figure("", [float(len(first.on))]),
        "moves": figure("", [float(len(one.moved)) for one in answers]),
        "different_plans": figure("", [float(len({one.plan.to_json() for one in runs}) - 1)], 0),
    }
    if "--json" in sys.argv:
        print(json.dumps(result))
        return
    print(
        f"{size.hosts:,} hosts, {size.instances:,} instances, {len(plan.intervals)} intervals at"
        f" 3 levels; {size.runs} runs, {os.cpu_count()} cores"
    )
    for name, one in result.items():
        if isinstance(one, dict):
            told = f"  peer: {one['peer']}" if one["peer"] else ""
            told += f"  goal: {one['goal']}, met: {one['met']}" if one["goal"] is not None else ""
            print(
                f"{name:<16} {one['ours']:>12} {one['unit']} ({one['min']} to {one['max']}){told}"
            )


if __name__ == "__main__":
    main()
