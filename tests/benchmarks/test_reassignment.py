"""Machine reassignment: the exact cost, the rules, and a search that keeps to both."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from benchmarks.reassignment.evaluator import Cost, breaches, evaluate, lower_bound
from benchmarks.reassignment.instance import Instance, read, read_folder
from benchmarks.reassignment.making import KINDS, Kind, make
from benchmarks.reassignment.search import search
from benchmarks.reassignment.state import State, Terms
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.lib.errors import BadInputError

# Three machines, two services, three processes: the sums in these tests are done by hand.
MODEL = """
2
0 10  1 1
3
0 0  10 8  5 5  0 1 2
0 1  10 10  8 8  1 0 2
1 0  10 10  8 8  2 2 0
2
1 0
2 1 0
3
0  4 3  1
1  3 4  2
1  2 2  3
1
0 1 1
10
1 10 100
"""
SMALL = Kind("small", 3, 1, 6, 20, 9, 5, 3, 2, 1, 0.6)


def write(folder: Path, model: str = MODEL, assignment: str = "0 0 1") -> tuple[Path, Path]:
    files = folder / "model_x.txt", folder / "assignment_x.sol"
    files[0].write_text(model)
    files[1].write_text(assignment)
    return files


@pytest.fixture
def tiny(tmp_path: Path) -> Instance:
    return read(*write(tmp_path))


def test_the_initial_assignment_costs_its_load_over_safety(tiny: Instance) -> None:
    # m0 bears (7, 7) and is safe up to (5, 5): 2 x 10 + 2 x 1. Free there is (3, 1): 1 x 3 - 1.
    assert evaluate(tiny, [0, 0, 1]) == Cost(22, 20, 0, 0, 0, 42)
    assert breaches(tiny, [0, 0, 1]) == []


def test_a_move_costs_its_process_its_service_and_its_way(tiny: Instance) -> None:
    # No load is over safety; free on m0 is (7, 4), on m1 (4, 5): 10 x (7 - 4).
    assert evaluate(tiny, [1, 0, 1]) == Cost(0, 30, 1, 1, 1, 30 + 1 + 10 + 100)
    # p1 and p2 are of one service; p0 goes the dearer way.
    assert evaluate(tiny, [2, 1, 0]).service_move == 2
    assert evaluate(tiny, [2, 1, 0]).machine_move == 2 + 1 + 1


def test_what_left_a_machine_still_takes_of_its_transient_resource(tiny: Instance) -> None:
    # On m0: 3 of p0 and 4 of p1, which left, beside 2 of p2.
    assert breaches(tiny, [1, 1, 0]) == ["machine 0: 9 of resource 1, it has 8"]


def test_conflict_spread_and_dependency_are_told(tiny: Instance) -> None:
    assert breaches(tiny, [0, 1, 1]) == [
        "machine 1: 2 processes of service 1",
        "service 1: in 1 locations, not in 2",
    ]
    assert breaches(tiny, [0, 2, 1]) == ["service 1: without service 0 in neighbourhood 1"]


def test_a_file_that_is_not_of_the_format_says_so(tmp_path: Path) -> None:
    cases = {
        "words": "not readable as integers",
        MODEL + "7": "1 numbers are left over",
        MODEL.rsplit("\n", 2)[0]: "ends after",
        MODEL.replace("0 1 1\n10", "0 2 1\n10"): "there are 2 resources, and one numbered 2",
        MODEL.replace("2 1 0\n3", "2 1 5\n3"): "there are 2 services, and one numbered 5",
        MODEL.replace("0  4 3", "0  -4 3"): "negative",
    }
    for model, said in cases.items():
        with pytest.raises(BadInputError, match=said):
            read(*write(tmp_path, model))
    with pytest.raises(BadInputError, match="there are 3 machines, and one numbered 3"):
        read(*write(tmp_path, assignment="0 3 1"))
    (tmp_path / "assignment_x.sol").unlink()
    with pytest.raises(BadInputError, match="No such file"):
        read_folder(tmp_path)
    with pytest.raises(BadInputError, match=r"no model_X\.txt"):
        read_folder(tmp_path / "none")


def test_the_bound_is_below_each_assignment(tiny: Instance) -> None:
    every = [[a, b, c] for a in range(3) for b in range(3) for c in range(3)]
    assert lower_bound(tiny) <= min(evaluate(tiny, one).total for one in every)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_made_instance_is_of_its_kind_and_starts_feasible(kind: Kind) -> None:
    made = make(kind, seed=1)
    assert (made.machines, made.processes, made.services) == (
        kind.machines, kind.processes, kind.services,
    )  # fmt: skip
    assert sum(map(len, made.depends)) == kind.depends
    assert breaches(made, made.initial.tolist()) == []
    assert evaluate(made, made.initial.tolist()).total >= lower_bound(made)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), moves=st.data())
def test_any_moves_give_the_cost_and_the_rules_of_a_full_count(
    seed: int, moves: st.DataObject
) -> None:
    made = make(SMALL, seed)
    state = State(Terms(made), made.initial)
    processes, machines = st.integers(0, made.processes - 1), st.integers(0, made.machines - 1)
    for _ in range(moves.draw(st.integers(1, 25))):
        before, cost = state.place.tolist(), state.cost
        after, p = list(before), moves.draw(processes)
        limit = moves.draw(st.sampled_from([0.0, 1e6, math.inf]))
        if moves.draw(st.booleans()):
            after[p] = moves.draw(machines)
            done = state.shift(p, after[p], limit)
        else:
            q = moves.draw(processes)
            after[p], after[q] = before[q], before[p]
            done = state.swap(p, q, limit)
        total = evaluate(made, after).total
        wanted = after != before and not breaches(made, after) and total - cost <= limit
        assert done == wanted
        assert state.place.tolist() == (after if wanted else before)
        assert state.cost == (total if wanted else cost)
    anew = State(state.terms, state.place)
    for name in ("excess", "room", "machine_cost", "paid", "on"):
        assert np.array_equal(getattr(state, name), getattr(anew, name)), name
    for name in ("cost", "in_location", "in_neighbourhood", "moved", "with_moved", "most_moved"):
        assert getattr(state, name) == getattr(anew, name), name


@pytest.mark.skipif("ROADEF_2012" not in os.environ, reason="ROADEF_2012 names no folder of data")
def test_the_published_instances_cost_what_is_published() -> None:
    found = {one.name: one for one in read_folder(Path(os.environ["ROADEF_2012"]))}
    first, second = found["a1_1"], found["a1_2"]
    place = first.initial.tolist()
    assert evaluate(first, place) == Cost(36_234_090, 13_294_660, 0, 0, 0, 49_528_750)
    assert evaluate(first, [place[0], 3, *place[2:]]) == Cost(
        32_380_870, 13_294_660, 1, 1, 1, 45_675_641
    )
    assert breaches(first, [place[0], 3, *place[2:]]) == []
    over = [place[0], 1, *place[2:]]
    assert evaluate(first, over) == Cost(36_637_340, 17_352_800, 1, 1, 1, 53_990_251)
    assert len(breaches(first, over)) == 2
    assert lower_bound(first) == 44_306_390
    place = second.initial.tolist()
    assert evaluate(second, place).total == 1_061_649_570
    moved = [4, place[1], 14, *place[3:]]
    assert evaluate(second, moved) == Cost(1_059_917_910, 0, 2, 1, 4, 1_059_918_322)
    assert breaches(second, moved) == []
    assert lower_bound(second) == 777_530_730


def test_the_search_keeps_all_rules_and_finds_the_best_of_a_small_instance() -> None:
    kind = Kind("small", 2, 1, 3, 7, 5, 2, 2, 1, 1, 0.8)
    made = make(kind, seed=3)
    every = product(range(made.machines), repeat=made.processes)
    best = min(evaluate(made, one).total for one in every if not breaches(made, one))
    found = search(made, seconds=0.5).tolist()
    assert breaches(made, found) == []
    assert evaluate(made, found).total == best < evaluate(made, made.initial.tolist()).total


def test_the_benchmark_reports_a_folder_and_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    tiny = read(*write(tmp_path))
    script = Path(__file__).parents[2] / "benchmarks" / "reassign.py"
    command = [sys.executable, str(script), str(tmp_path), "--json", "--seconds=0.2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figure = json.loads(done.stdout)["x"]
    every = [[a, b, c] for a in range(3) for b in range(3) for c in range(3)]
    best = min(evaluate(tiny, one).total for one in every if not breaches(tiny, one))
    assert figure["ours"] == best
    assert (figure["initial"], figure["peer"], figure["met"]) == (42, None, None)
    (tmp_path / "model_x.txt").write_text("1 two")
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "model_x.txt: not readable as integers" in refused.stderr
