"""The text data of Ganeti's htools (`hbal -S`, `hscan`), as htools(1) describes it.

Five sections with an empty line after each: groups, nodes, instances, tags, policies. Fields are
separated by `|`; memory and disk are in MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from commonfarm.estate.resources import MOST
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.terminal import harmless

MOST_LINES = 20_000
# Only these templates take disk of a node; others keep theirs elsewhere or have none.
_LOCAL = ("plain", "drbd")
_TO_DO = "take what `hbal -S` or `hscan` writes"


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes among which instances move; `kind` says whether new ones may be put there."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a group: a standard instance, and what each real core and spindle carries."""

    memory: int
    cores: int
    disk: int
    spindles: int
    template: str
    vcpu_ratio: Fraction
    spindle_ratio: Fraction


# What Ganeti takes for a group of which a file names no policy (its ipolicy defaults).
DEFAULT = Policy(128, 1, 1024, 1, "diskless", Fraction(4), Fraction(32))


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that runs instances; `vcpus` are those of its own system."""

    name: str
    memory: int
    own_memory: int
    free_memory: int
    disk: int
    free_disk: int
    cores: int
    offline: bool
    group: str
    spindles: int
    exclusive: bool
    vcpus: int
    line: int


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance of Ganeti: a virtual machine; a copy of its disk is on `secondary`, if any."""

    name: str
    memory: int
    disk: int
    cores: int
    status: str
    primary: str
    secondary: str
    template: str
    spindles: int
    line: int

    @property
    def local_disk(self) -> int:
        """Return how much disk it takes of each of its nodes."""
        return self.disk if self.template in _LOCAL else 0

    @property
    def stopped(self) -> bool:
        """Say whether its memory is in use by no node."""
        return self.status in ("ADMIN_down", "ADMIN_offline", "ERROR_down", "USER_down")


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that one file says. Groups are by their UUIDs, policies by the names of groups."""

    groups: dict[str, Group] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    policies: dict[str, Policy] = field(default_factory=dict)

    def policy(self, node: Node) -> Policy:
        """Return what holds for a node: its group's policy, else Ganeti's own.

        The cluster's is no default for groups here: those that inherit from it are written out.
        """
        return self.policies.get(self.groups[node.group].name, DEFAULT)


class _Reader:
    """Takes lines apart and notes what is wrong with them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.line = 0

    def wrong(self, what: str) -> None:
        self.problems.append(Problem(self.file, self.line, 1, harmless(what), _TO_DO))

    def fields(self, text: str, least: int, last: Sequence[str] = ()) -> list[str]:
        """Return the fields of a line; `last` are those that may be missing at its end."""
        found = text.split("|")
        if len(found) < least:
            self.wrong(f"{len(found)} fields are here, not {least} or more")
            found += ["0"] * (least - len(found))
        return [*found, *last[len(found) - least :]]

    def number(self, text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= MOST // 2**20:
            return int(text)
        self.wrong(f"{text[:40]!r} is no number that a node or an instance could have")
        return 0

    def ratio(self, text: str) -> Fraction:
        try:
            found = Fraction(text[:20])
        except (ValueError, ZeroDivisionError):
            found = Fraction(0)
        if 0 < found <= 10_000:
            return found
        self.wrong(f"{text[:40]!r} is no ratio")
        return Fraction(1)

    def group(self, text: str) -> tuple[str, Group]:
        name, uuid, kind = self.fields(text, 3)[:3]
        return uuid, Group(name, kind)

    def node(self, text: str) -> Node:
        found = self.fields(text, 9, ["1", "", "N", "0", "1", "1.0"])
        unknown = "?" in found[1:7]
        memory, own, free, disk, free_disk, cores = (
            0 if unknown else self.number(size) for size in found[1:7]
        )
        return Node(
            name=found[0],
            memory=memory,
            own_memory=own,
            free_memory=free,
            disk=disk,
            free_disk=free_disk,
            cores=cores,
            offline=unknown or found[7] == "Y",
            group=found[8],
            spindles=self.number(found[9]),
            exclusive=found[11] == "Y",
            vcpus=self.number(found[13]),
            line=self.line,
        )

    def machine(self, text: str) -> Machine:
        found = self.fields(text, 10, ["1", "-", "N"])
        name, status, primary, secondary, template = (found[at] for at in (0, 4, 6, 7, 8))
        memory, disk, cores, spindles = (self.number(found[at]) for at in (1, 2, 3, 10))
        nodes = (primary, secondary)
        return Machine(name, memory, disk, cores, status, *nodes, template, spindles, self.line)

    def policy(self, text: str) -> tuple[str, Policy]:
        owner, standard, _, templates, vcpus, spindles = self.fields(text, 6)[:6]
        spec = standard.split(",")
        if len(spec) != 6:
            self.wrong("the standard of a policy has six numbers")
            spec = ["0"] * 6
        memory, cores, disk, use = (self.number(spec[at]) for at in (0, 1, 2, 5))
        first = templates.partition(",")[0]
        ratios = (self.ratio(vcpus), self.ratio(spindles))
        return owner, Policy(memory, cores, disk, use, first, *ratios)


def cluster(file: str, data: bytes) -> Cluster:
    """Return what a file says; raise BadInputError with all that is wrong with it."""
    reader = _Reader(file)
    made = Cluster()
    section = 0
    for reader.line, text in enumerate(_lines(file, data), 1):
        if not text and section < 4:
            section += 1
        elif text and section == 0:
            made.groups.update([reader.group(text)])
        elif text and section == 1:
            made.nodes.append(reader.node(text))
        elif text and section == 2:
            made.machines.append(reader.machine(text))
        elif text and section == 3:
            made.tags.append(text)
        elif text:
            made.policies.update([reader.policy(text)])
    _check(reader, made)
    if reader.problems:
        raise BadInputError(*reader.problems)
    return made


def _lines(file: str, data: bytes) -> list[str]:
    try:
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise BadInputError(Problem(file, 0, 0, "is no UTF-8", "save it as UTF-8")) from None
    if len(lines) > MOST_LINES:
        what = f"has more than {MOST_LINES} lines"
        raise BadInputError(Problem(file, MOST_LINES, 0, what, "split it"))
    return lines


def _check(reader: _Reader, made: Cluster) -> None:
    """Note what does not agree between lines."""
    reader.line = 1
    if not made.nodes:
        reader.wrong("there is no node in it; the second of five sections has them")
    names = {node.name for node in made.nodes}
    for node in made.nodes:
        reader.line = node.line
        if node.group not in made.groups:
            reader.wrong(f"there is no group {node.group[:80]!r}")
        if node.free_memory > node.memory or node.free_disk > node.disk:
            reader.wrong(f"the node {node.name[:80]} has more free than it has")
    for one in made.machines:
        reader.line = one.line
        for node_name in {one.primary, one.secondary} - names - {""}:
            reader.wrong(f"there is no node {node_name[:80]!r}")
        if not one.primary or one.primary == one.secondary:
            reader.wrong(f"the instance {one.name[:80]} has no primary node of its own")
    for found in (made.nodes, made.machines):
        _twice(reader, found)


def _twice(reader: _Reader, found: Iterable[Node | Machine]) -> None:
    seen: set[str] = set()
    for one in found:
        reader.line = one.line
        if one.name in seen or not one.name:
            reader.wrong(f"the name {one.name[:80]!r} stands here a second time")
        seen.add(one.name)
