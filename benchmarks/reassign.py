"""Machine reassignment: the Google/ROADEF challenge 2012, beside a finalist's published result.

    python benchmarks/reassign.py [FOLDER] [NAME ...] [--seconds 300] [--quick] [--json]

FOLDER holds `model_X.txt` and `assignment_X.sol`; without one, instances of the kinds of set A are
made, which have no published result. NAMEs choose among the instances. Each is searched for so many
seconds by two processes, and the answer is counted anew and checked against every rule by code that
shares nothing with the search. The bound holds for every assignment.

What this claims: the planner's way with a change (keep what is, move little, improve parts again
and again under exact counting) is of use at a thousand processes on a hundred machines with a dozen
resources. It says nothing of the planner's speed: the search here is one of its own, for a problem
whose costs are weighted sums, where an estate's are in order of rank.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from reassignment.evaluator import breaches, evaluate, lower_bound
from reassignment.instance import Instance, read_folder
from reassignment.making import KINDS, make
from reassignment.search import search

from commonfarm.lib.errors import BadInputError

GOAL = 1.01
# Where the bound is 0 a ratio says nothing: the cost may be above the reference by so much of the
# initial cost.
ABSOLUTE_GOAL = 1e-6
# Initial cost, and what team S41 reached in 300 s with one seed on an Intel i7-920 (published with
# github.com/circleorange/mrp-approach-analysis): one run, not the best that is known.
REFERENCE = {
    "a1_1": (49_528_750, 44_306_501),
    "a1_2": (1_061_649_570, 777_912_030),
    "a1_3": (583_662_270, 583_006_422),
    "a1_4": (632_499_600, 262_125_116),
    "a1_5": (782_189_690, 727_578_310),
    "a2_1": (391_189_190, 329),
    "a2_2": (1_876_768_120, 746_097_632),
    "a2_3": (2_272_487_840, 1_210_644_572),
    "a2_4": (3_223_516_130, 1_680_615_349),
    "a2_5": (787_355_300, 318_358_949),
    "b_1": (7_644_173_180, 3_353_533_859),
    "b_2": (5_181_493_830, 1_015_569_276),
    "b_3": (6_336_834_660, 157_091_678),
    "b_4": (9_209_576_380, 4_677_962_661),
    "b_5": (12_426_813_010, 924_769_283),
    "b_6": (12_749_861_240, 9_525_888_445),
    "b_7": (37_946_901_700, 14_835_258_465),
    "b_8": (14_068_207_250, 1_214_470_739),
    "b_9": (23_234_641_520, 15_885_647_774),
    "b_10": (42_220_868_760, 18_048_493_393),
}


def measure(instance: Instance, seconds: float, runs: int) -> dict[str, Any]:
    """Search one instance and return its figure; raise SystemExit if an answer breaks a rule."""
    start = instance.initial.tolist()
    initial, bound = evaluate(instance, start).total, lower_bound(instance)
    published = REFERENCE.get(instance.name)
    costs, took = [], []
    for run in range(runs):
        begun = time.monotonic()
        found = search(instance, seconds, seed=1 + 100 * run).tolist()
        took.append(time.monotonic() - begun)
        if broken := breaches(instance, found):
            raise SystemExit(f"{instance.name}: the answer breaks {len(broken)} rules: {broken[0]}")
        costs.append(evaluate(instance, found).total)
    ours = round(statistics.median(costs))
    figure = {
        "ours": ours, "peer": None, "ratio": None, "unit": "cost", "runs": runs,
        "min": min(costs), "max": max(costs), "goal": None, "met": None,
        "initial": initial, "initial_reproduced": None, "bound": bound,
        "gap": round((ours - bound) / bound, 6) if bound else None,
        "seconds": round(max(took), 1),
    }  # fmt: skip
    if published is not None:
        figure["initial_reproduced"] = initial == published[0]
        figure["peer"] = peer = published[1]
        figure["ratio"] = round(ours / peer, 6)
        figure["goal"] = GOAL if bound else peer + round(ABSOLUTE_GOAL * initial)
        figure["met"] = ours <= (GOAL * peer if bound else figure["goal"])
    return figure


def line(name: str, one: dict[str, Any]) -> str:
    """Return a figure as a line of the table."""
    gap = "" if one["gap"] is None else f"  gap {one['gap']:.3%}"
    told = f"{name:<9}{one['initial']:>15,}{one['ours']:>15,}  bound {one['bound']:>14,}{gap:<13}"
    if one["runs"] > 1:
        told += f"  {one['min']:,} to {one['max']:,}"
    if one["peer"] is None:
        return told
    against = f"ratio {one['ratio']:.4f}" if one["bound"] else f"{one['ours'] - one['peer']:+,}"
    told += f"  S41 {one['peer']:,}  {against}  met: {'yes' if one['met'] else 'no'}"
    return told if one["initial_reproduced"] else f"{told}  THE INITIAL COST IS NOT AS PUBLISHED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, help="with model_X.txt and assignment_X.sol"
    )
    parser.add_argument("names", nargs="*", help="which instances, such as a1_2; all by default")
    parser.add_argument("--seconds", type=float, help="for each instance; 300 by default")
    parser.add_argument("--runs", type=int, default=1, help="with other seeds; 1 by default")
    parser.add_argument("--quick", action="store_true", help="10 s for each of the first two")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    asked = parser.parse_args()
    try:
        instances = read_folder(asked.folder) if asked.folder else [make(k, 1) for k in KINDS]
    except BadInputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if asked.names:
        instances = [one for one in instances if one.name in asked.names]
    if not instances:
        parser.error(f"none of the instances is named {' or '.join(asked.names)}")
    if asked.quick:
        instances = instances[:2]
    seconds = asked.seconds or (10.0 if asked.quick else 300.0)
    if not asked.json:
        print(
            f"Machine reassignment, {seconds:.0f} s for each on 2 of {os.cpu_count()} cores;"
            f" {asked.runs} runs\nname             initial           ours"
        )
    result: dict[str, Any] = {"name": "reassign"}
    for instance in instances:
        result[instance.name] = figure = measure(instance, seconds, asked.runs)
        if not asked.json:
            print(line(instance.name, figure), flush=True)
    if asked.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
