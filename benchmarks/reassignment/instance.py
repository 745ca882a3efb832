"""An instance of machine reassignment, and the files in which it is kept.

A file is integers between white space, and everything is numbered from 0. `model_X.txt`: the
resources (transient?, weight of load); the machines (neighbourhood, location, capacities, safety
capacities, costs of a move to each machine); the services (least number of locations, how many
services they depend on, and which); the processes (service, requirements, cost of a move); the
balances (first resource, second resource, target, weight); the weights of the costs of processes,
services and machines. `assignment_X.sol`: the machine of each process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from commonfarm.lib.errors import BadInputError, Problem

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Balance:
    """`target` units of free `second` are wanted for each free unit of `first`."""

    first: int
    second: int
    target: int
    weight: int


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """R resources, M machines, S services, P processes; `initial` is where each process is."""

    name: str
    transient: Flags  # R
    load_weight: Integers  # R
    neighbourhood: Integers  # M
    location: Integers  # M
    capacity: Integers  # M, R
    safety: Integers  # M, R
    machine_move: Integers  # M, M: from, to
    spread: Integers  # S
    depends: tuple[tuple[int, ...], ...]  # S
    service: Integers  # P
    requirement: Integers  # P, R
    process_move: Integers  # P
    balances: tuple[Balance, ...]
    process_weight: int
    service_weight: int
    machine_weight: int
    initial: Integers  # P

    @property
    def machines(self) -> int:
        """How many machines there are."""
        return len(self.capacity)

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return len(self.service)

    @property
    def services(self) -> int:
        """How many services there are."""
        return len(self.spread)


class _Numbers:
    """The integers of one file, taken in order."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.all = np.array(path.read_text().split(), dtype=np.int64)
        except (OSError, ValueError, OverflowError) as error:
            raise self.bad(f"not readable as integers: {error}") from None

    def bad(self, what: str) -> BadInputError:
        return BadInputError(
            Problem(str(self.path), 0, 0, what, "give a file of the ROADEF 2012 format")
        )

    def take(self, count: int) -> Integers:
        """Return the next `count` numbers; none of this format is negative."""
        if count < 0 or self.at + count > len(self.all):
            raise self.bad(f"it ends after {len(self.all)} numbers, and more are due")
        self.at += count
        part = self.all[self.at - count : self.at]
        if part.size and part.min() < 0:
            raise self.bad("it has a negative number")
        return part

    def one(self) -> int:
        return int(self.take(1)[0])

    def table(self, columns: int) -> Integers:
        """Return a count and then as many rows of `columns` numbers."""
        rows = self.one()
        return self.take(rows * columns).reshape(rows, columns)

    def indices(self, numbers: Integers, below: int, what: str) -> Integers:
        if numbers.size and numbers.max() >= below:
            raise self.bad(f"there are {below} {what}, and one numbered {numbers.max()} is named")
        return numbers

    def end(self) -> None:
        if self.at != len(self.all):
            raise self.bad(f"{len(self.all) - self.at} numbers are left over at its end")


def read_assignment(path: Path, machines: int, processes: int) -> Integers:
    """Return the machine of each process; raise BadInputError."""
    numbers = _Numbers(path)
    taken = numbers.indices(numbers.take(processes), machines, "machines")
    numbers.end()
    return taken


def read(model: Path, assignment: Path) -> Instance:
    """Read an instance; its name is the model file's without `model_` and `.txt`.

    Raise BadInputError if a file is not of the format.
    """
    numbers = _Numbers(model)
    resources = numbers.table(2)
    kinds = len(resources)
    machines = numbers.one()
    row = 2 + 2 * kinds + machines
    hosts = numbers.take(machines * row).reshape(machines, row)
    spread, depends = [], []
    for _ in range(services := numbers.one()):
        spread.append(numbers.one())
        depends.append(
            tuple(numbers.indices(numbers.take(numbers.one()), services, "services").tolist())
        )
    processes = numbers.table(2 + kinds)
    balances = tuple(Balance(*row) for row in numbers.table(4).tolist())
    for one in balances:
        numbers.indices(np.array([one.first, one.second]), kinds, "resources")
    weights = numbers.take(3).tolist()
    numbers.end()
    return Instance(
        name=model.stem.removeprefix("model_"),
        transient=resources[:, 0] != 0,
        load_weight=resources[:, 1],
        neighbourhood=hosts[:, 0],
        location=hosts[:, 1],
        capacity=hosts[:, 2 : 2 + kinds],
        safety=hosts[:, 2 + kinds : 2 + 2 * kinds],
        machine_move=hosts[:, 2 + 2 * kinds :],
        spread=np.array(spread, dtype=np.int64),
        depends=tuple(depends),
        service=numbers.indices(processes[:, 0], services, "services"),
        requirement=processes[:, 1 : 1 + kinds],
        process_move=processes[:, 1 + kinds],
        balances=balances,
        process_weight=weights[0],
        service_weight=weights[1],
        machine_weight=weights[2],
        initial=read_assignment(assignment, machines, len(processes)),
    )


def read_folder(folder: Path) -> list[Instance]:
    """Read each `model_X.txt` of a folder with its `assignment_X.sol`, by name.

    Raise BadInputError if there is none, or one is not of the format.
    """
    models = sorted(folder.glob("model_*.txt"))
    if not models:
        raise BadInputError(
            Problem(str(folder), 0, 0, "no model_X.txt is here", "give a folder that has some")
        )
    return [
        read(model, model.with_name(f"assignment_{model.stem.removeprefix('model_')}.sol"))
        for model in models
    ]
