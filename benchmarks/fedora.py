"""Three hosts of a distribution announced to leave, and any one host lost.

    python benchmarks/fedora.py [DATA] [--quick] [--json]

DATA is the folder with `estate.json` of the Fedora infrastructure; without it a farm of the same
kind is made, always the same. Capacities are recorded nowhere: each host is said to have what its
machines need and a quarter more. The three x86_64 hosts of the largest site with most memory in use
get notice; how many machines are placed then, and the moves, are planned as `estate plan` does:
where the network of a machine's address is (leave), at any site (anywhere), and with production
worth more than staging, as it is where nobody says otherwise (weighted). Then each host is lost,
one at a time. With --quick, a smaller farm.

Peer: Ganeti's hbal, which empties the same nodes of the same instances in the same run, so by
memory and cores alone: it knows no weights and plans no disk that is not a node's own, so ours is
asked the same, each instance counting 1. What is lost with a host hbal does not say.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from benchmarks.fedora_estate import FACTOR, estate_of, made_data

from commonfarm.estate import planner
from commonfarm.estate.answers.solving import cliffs_of
from commonfarm.estate.facts import Facts, Period, Pledge, Requirement
from commonfarm.estate.folder import read_facts
from commonfarm.estate.placement import search
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Effort

T = TypeVar("T")
TODAY = date(2026, 11, 21)
GOAL_SECONDS = 30.0
MEMORY, MIB = "memory", 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="Plans the leaving of hosts on a real estate.")
    parser.add_argument("data", nargs="?", type=Path, help="the folder with estate.json")
    parser.add_argument("--quick", action="store_true", help="a smaller farm, one run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    runs = 1 if asked.quick else 5
    home = Path(tempfile.mkdtemp(prefix="cf-bench-"))
    try:
        result = measured(data_of(asked.data, quick=asked.quick), home, runs)
    finally:
        shutil.rmtree(home)
    if asked.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        if isinstance(value, dict):
            told = f"  peer: {value['peer']}" if value["peer"] is not None else ""
            if value["goal"] is not None:
                told += f"  goal: {value['goal']}, met: {value['met']}"
            spread = f"({value['min']} to {value['max']})"
            print(f"{key:<22} {value['ours']:>10} {value['unit']} {spread}{told}")
        elif key != "name":
            print(f"{key}: {value}")


def data_of(folder: Path | None, *, quick: bool) -> Mapping[str, Any]:
    if folder is not None:
        return dict(json.loads((folder / "estate.json").read_text()))
    return made_data(hosts=12, machines=70) if quick else made_data()


def measured(data: Mapping[str, Any], home: Path, runs: int) -> dict[str, Any]:
    """Return all figures."""
    weighted, anywhere = (
        read(data, home / name, name == "anywhere") for name in ("at", "anywhere")
    )
    facts = alike(weighted)
    leaving = largest(facts)
    left = {
        "leave": left_by(facts, leaving, runs),
        "anywhere": left_by(alike(anywhere), leaving, min(runs, 3), limit=30.0),
        "weighted": left_by(weighted, leaving, 1),
    }
    losses = [timed(lambda: cliffs_of(facts, TODAY)) for _ in range(runs)]
    hosts = [one for one in losses[0][1].today if one.who == "host"]
    ours, peer = emptied(facts, leaving), hbal(facts, leaving, home)
    return {
        "name": "fedora",
        "assumed": f"each host has {FACTOR:g} times what its machines need",
        "leaving": ", ".join(leaving),
        **{f"{name}_{key}": one for name, some in left.items() for key, one in some.items()},
        "lost_time": figure("s", [one for one, _ in losses], GOAL_SECONDS),
        "lost_answered": figure("hosts", [len(hosts)], len(facts.hosts), more=True),
        "lost_proven": figure("hosts", [sum(one.proven for one in hosts)]),
        "emptied_placed": figure("instances; peer: hbal", [ours[0]], peer=peer[0]),
        "emptied_moves": figure("moves; peer: hbal", [ours[1]], peer=peer[1]),
    }


def read(data: Mapping[str, Any], folder: Path, anywhere: bool) -> Facts:
    folder.mkdir()
    estate_of(data, folder, anywhere=anywhere)
    return read_facts(folder)


def alike(facts: Facts) -> Facts:
    """Return the facts with each instance counting 1."""
    instances = {name: replace(one, priority=1) for name, one in facts.instances.items()}
    return replace(facts, instances=instances)


def left_by(
    facts: Facts, leaving: Sequence[str], runs: int, limit: float = 9.0
) -> dict[str, dict[str, Any]]:
    """Return the figures of hosts that leave; `limit` is the effort of `estate plan`, or more."""
    then = announced(facts, leaving)
    plans = [timed(lambda: planner.plan(then, TODAY, limit=limit)) for _ in range(runs)]
    placed = plans[0][1].intervals[1].levels["likely"]
    forced = sum(one.on in leaving and name in placed.on for name, one in facts.instances.items())
    return {
        "time": figure("s", [one for one, _ in plans], GOAL_SECONDS),
        "placed": figure(f"of {len(facts.instances)}", [len(placed.on)]),
        "weight": figure("weight; peer: the bound", [placed.weight], peer=placed.bound),
        "most_proven": figure("", [placed.most_placed == "proven"], 1, more=True),
        "moves": figure("moves; peer: those that had to", [len(placed.moved)], peer=forced),
        "fewest_proven": figure("", [placed.fewest_moves == "proven"], 1, more=True),
        "different_plans": figure("", [len({one.to_json() for _, one in plans}) - 1], 0),
    }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    answer = work()
    return time.perf_counter() - begun, answer


def largest(facts: Facts) -> list[str]:
    """Return the three amd64 hosts of the largest site with most memory in use."""
    used: Counter[str] = Counter()
    for one in facts.instances.values():
        used[one.on or ""] += one.requirement.at("likely")[MEMORY]
    ((site, _),) = Counter(one.site for one in facts.hosts.values() if one.site).most_common(1)
    there = [one for one in facts.hosts.values() if (one.site, one.architecture) == (site, "amd64")]
    there.sort(key=lambda one: (-used[one.name], one.name))
    return [one.name for one in there[:3]]


def announced(facts: Facts, leaving: Sequence[str]) -> Facts:
    """Return the facts with notice given today of hosts; they go three months later."""
    pledge = Pledge(
        name="announced",
        sponsor="whose hosts leave",
        what="hosts that leave",
        start=None,
        until=None,
        minimum_term=Period(0),
        notice=Period(3),
        notice_given_on=TODAY,
        terms="goodwill",
        disclosure="public",
        where="fedora.py:1:1",
    )
    hosts = {name: replace(facts.hosts[name], pledge=pledge.name) for name in leaving}
    pledges = {**facts.pledges, pledge.name: pledge}
    return replace(facts, hosts={**facts.hosts, **hosts}, pledges=dict(sorted(pledges.items())))


def amd64(facts: Facts) -> Facts:
    """Return one architecture's hosts and instances: memory and cores, each instance counts 1."""
    keys = ("cores", MEMORY)
    instances = {
        name: replace(
            one,
            priority=1,
            requirement=Requirement({key: one.requirement.amounts[key] for key in keys}),
        )
        for name, one in facts.instances.items()
        if facts.hosts[one.on or ""].architecture == "amd64"
    }
    hosts = {name: one for name, one in facts.hosts.items() if one.architecture == "amd64"}
    return replace(facts, hosts=hosts, instances=instances)


def emptied(facts: Facts, leaving: Sequence[str]) -> tuple[int, int]:
    """Return how many instances have a place without these hosts, and how many of them moved."""
    some = amd64(facts)
    current = planner.running(some)
    problem = pose(some, [name for name in some.hosts if name not in leaving], "likely", current)
    on = search.solve(problem, Effort(limit=10.0)).on
    return len(on), sum(current[name] != host for name, host in on.items())


def hbal(facts: Facts, leaving: Sequence[str], home: Path) -> tuple[int, int] | tuple[None, None]:
    """Return the same of hbal, the better of its two ways; nothing where it is not installed."""
    if shutil.which("hbal") is None:
        return None, None
    some = amd64(facts)
    file, out = home / "cluster.data", home / "after"
    file.write_text(ganeti(some))
    found = []
    for way in ([], ["--evac-mode"]):
        command = ["hbal", "-t", str(file), "-S", str(out), *way, "-e", "0", "-g", "0"]
        subprocess.run(
            [*command, *(f"-O{one}" for one in leaving)], capture_output=True, check=True
        )
        _, _, rows, *_ = Path(f"{out}.balanced").read_text().split("\n\n")
        on = {row.split("|")[0]: row.split("|")[6] for row in rows.splitlines()}
        kept = {name: host for name, host in on.items() if host not in leaving}
        moves = sum(some.instances[name].on != host for name, host in kept.items())
        found.append((len(kept), moves))
    return max(found, key=lambda one: (one[0], -one[1]))


def ganeti(facts: Facts) -> str:
    """Return one group of nodes, disks elsewhere, as htools' text data."""
    used: dict[str, Counter[str]] = {name: Counter() for name in facts.hosts}
    rows = []
    for one in facts.instances.values():
        amounts = one.requirement.at("likely")
        used[one.on or ""].update(amounts)
        memory, cores = amounts[MEMORY] // MIB, amounts["cores"] // 1000
        rows.append(f"{one.name}|{memory}|1|{cores}|running|Y|{one.on}||ext||1|-|N")
    nodes = []
    for host in facts.hosts.values():
        memory, cores = (host.room(MEMORY) or 0) // MIB, (host.room("cores") or 0) // 1000
        free = memory - used[host.name][MEMORY] // MIB
        nodes.append(f"{host.name}|{memory}|0|{free}|9999999|9999999|{cores}|N|uuid|1||N|0|0|1.0")
    policy = "128,1,1,1,1,1|1,1,1,1,1,1;9999999,9999,9999999,16,8,12|ext|1.0|9999.0"
    groups, policies = ["all|uuid|preferred||"], [f"|{policy}", f"all|{policy}"]
    no_tags: list[str] = []
    sections = (groups, nodes, rows, no_tags, policies)
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def figure(
    unit: str,
    values: Sequence[float],
    goal: float | None = None,
    peer: float | None = None,
    *,
    more: bool = False,
) -> dict[str, Any]:
    """Return one figure as benchmarks report them; less is better unless `more` is."""
    ours = statistics.median(values)
    met = None if goal is None else (ours >= goal if more else ours <= goal)
    return {
        "ours": round(ours, 4), "peer": peer, "ratio": round(ours / peer, 4) if peer else None,
        "unit": unit, "runs": len(values), "min": round(min(values), 4),
        "max": round(max(values), 4), "goal": goal, "met": met,
    }  # fmt: skip


if __name__ == "__main__":
    main()
