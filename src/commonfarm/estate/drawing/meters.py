"""A host as bars: for each resource class how much its guests can have, and who takes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element

from commonfarm.estate.drawing.svg import linked, node, stretched
from commonfarm.estate.facts import Facts, Host, Instance, Level
from commonfarm.estate.resources import RESOURCES, resource

HEIGHT = 12
COLOURS = 8
_FIRST = tuple(RESOURCES)

Address = Callable[[str], str | None]
"""Where a thing of this name is shown, None where nowhere."""


def nowhere(_name: str) -> None:
    """Return no address: a drawing that stands alone has no links."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one instance takes of a resource class; `colour` is that of its service."""

    instance: str
    service: str
    amount: int
    colour: int


@dataclass(frozen=True)
class Meter:
    """One resource class of one host: the room for guests, and the parts that are taken."""

    key: str
    room: int
    parts: tuple[Part, ...]

    @cached_property
    def used(self) -> int:
        """How much is taken."""
        return sum(part.amount for part in self.parts)

    @property
    def over(self) -> bool:
        """Say whether more is taken than there is."""
        return self.used > self.room

    @property
    def text(self) -> str:
        """What is taken of how much, for people."""
        kind = resource(self.key)
        return f"{kind.format(self.used)} of {kind.format(self.room)}"

    @property
    def share(self) -> str:
        """Which share is taken of how much, for where there is little place."""
        room = resource(self.key).format(self.room)
        return f"{self.used / self.room:.0%} of {room}" if self.room else f"of {room}"


def meters(host: Host, guests: Iterable[Instance], level: Level, colours: Colours) -> list[Meter]:
    """Return a host's resource classes that are limited, each with what its guests take."""
    taken: dict[str, list[Part]] = {}
    for one in guests:
        for key, amount in host.takes(one.requirement.at(level)).items():
            if amount:
                part = Part(one.name, one.service, amount, colours.of(one.service))
                taken.setdefault(key, []).append(part)
    # Isolated cores are counted among the cores.
    keys = sorted({*host.capacity, *taken} - {"isolated_cores"}, key=_place)
    rooms = ((key, host.room(key)) for key in keys)
    return [Meter(key, room, tuple(taken.get(key, ()))) for key, room in rooms if room is not None]


class Colours:
    """Which of the COLOURS each service has, in the order of their names."""

    def __init__(self, facts: Facts) -> None:
        self._of = {name: number % COLOURS for number, name in enumerate(facts.services)}

    def of(self, service: str) -> int:
        """Return the colour of a service."""
        return self._of.get(service, 0)


def guests(facts: Facts, on: Mapping[str, str]) -> dict[str, list[Instance]]:
    """Return the instances on each host, the largest takers of memory first."""
    found: dict[str, list[Instance]] = {name: [] for name in facts.hosts}
    for name, host in on.items():
        if host in found and name in facts.instances:
            found[host].append(facts.instances[name])
    for those in found.values():
        those.sort(key=lambda one: (one.service, one.name))
    return found


def draw(meter: Meter, host: str, address: Address = nowhere) -> Element:
    """Return a meter as a bar that fills its place; what is too much lies beyond a mark."""
    whole = max(meter.room, meter.used, 1)
    parts: list[Element] = [node("rect", class_="room", x=0, y=0, width=1000, height=HEIGHT)]
    left = 0.0
    kind = resource(meter.key)
    for part in meter.parts:
        width = 1000 * part.amount / whole
        title = node("title", f"{part.instance}: {meter.key} {kind.format(part.amount)}")
        # A gap as wide as a hair tells two of one colour apart.
        box = node(
            "rect",
            title,
            class_=f"part c{part.colour}",
            x=left,
            y=0,
            width=max(width - 2, 1.0),
            height=HEIGHT,
        )
        parts.append(linked(box, address(part.service)))
        left += width
    if meter.over:
        edge = 1000 * meter.room / whole
        parts.append(node("rect", class_="over", x=edge, y=0, width=1000 - edge, height=HEIGHT))
    label = f"{host}: {meter.key} {meter.text}"
    drawn = stretched(HEIGHT, label, *parts)
    drawn.set("class", "meter over" if meter.over else "meter")
    return drawn


def _place(key: str) -> tuple[int, str]:
    return (_FIRST.index(key) if key in _FIRST else len(_FIRST), key)
