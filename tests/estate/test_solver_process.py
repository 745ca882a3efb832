"""The solver's process ends with its parent, whatever ends that, and its own end is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commonfarm.estate.folder import read_facts
from commonfarm.estate.placement.process import Solver
from commonfarm.lib.errors import BadInputError, RefusedError
from commonfarm.lib.units import parse_bytes

BUSY = """
from commonfarm.estate.placement.model import place
from commonfarm.estate.placement.pose import pose
from commonfarm.estate.placement.problem import Effort
from commonfarm.estate.folder import read_facts
from commonfarm.estate.placement.process import Solver
from tests.estate.making import facts, host, instance
hosts = [host(f"h{n}", memory=f"{190 + n} GiB", cores=60 + n) for n in range(20)]
on = {f"x{n}/app/production/1": f"h{n % 16}" for n in range(160)}
instances = [
    instance(name, memory=f"{3 + n * n * 7 % 53} GiB", cores=1 + n * 13 % 17)
    for n, name in enumerate(on)
]
problem = pose(facts(*hosts, *instances), [one.name for one in hosts[:12]], "likely", on)
with Solver() as solver:
    solver.call(max, 1, 2)
    print(solver.pid, flush=True)
    solver.call(place, problem, {}, Effort(limit=1e6), {})
"""


def test_it_answers_calls_and_raises_what_they_raise() -> None:
    with Solver() as solver:
        assert solver.pid is None
        assert solver.call(max, 1, 2) == 2
        first = solver.pid
        assert solver.call(sorted, [2, 1], reverse=True) == [2, 1]
        with pytest.raises(ValueError, match="nonsense"):
            solver.call(parse_bytes, "nonsense")
        assert solver.pid == first
    assert solver.pid is None


def test_what_is_wrong_with_the_input_arrives_whole(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hosts: [{name: a}]\nsites: [{nme: b}]\n")
    with pytest.raises(BadInputError) as here:
        read_facts(tmp_path)
    with Solver() as solver, pytest.raises(BadInputError) as there:
        solver.call(read_facts, tmp_path)
    assert there.value.problems == here.value.problems
    assert str(there.value) == str(here.value)


def only_here() -> None:
    """Do nothing, in a module that the solver's process cannot import."""


def test_what_it_cannot_import_is_told() -> None:
    with Solver() as solver:
        with pytest.raises(ModuleNotFoundError):
            solver.call(only_here)
        assert solver.call(max, 1, 2) == 2


def test_what_it_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    with Solver() as solver:
        assert solver.call(os.system, "echo noise") == 0
        assert solver.call(max, 1, 2) == 2
    assert capfd.readouterr().err == "noise\n"


def test_its_death_is_told_and_the_next_call_has_another() -> None:
    with Solver() as solver:
        with pytest.raises(RefusedError, match="ended by signal 9"):
            solver.call(os.kill, solver.call(os.getpid), signal.SIGKILL)
        assert solver.call(max, 1, 2) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_in_the_middle_of_its_work_when_its_parent_ends(how: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until = time.monotonic() + 20
    while _seconds(pid) < 0.6 and time.monotonic() < until:  # it solves by then
        time.sleep(0.01)
    parent.send_signal(how)
    parent.wait(20)
    parent.stdout.close()
    until = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(pid)


def test_an_interrupt_at_the_terminal_is_the_parents_affair() -> None:
    with Solver() as solver:
        os.kill(solver.call(os.getpid), signal.SIGINT)
        assert solver.call(max, 1, 2) == 2


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
