"""What instances need, with sizes looked up and ratios of other requirements worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from commonfarm.estate import schema
from commonfarm.estate.facts import Range, Requirement
from commonfarm.estate.reader import Declared, Estate, no_such
from commonfarm.estate.resolving.supply import networks_at
from commonfarm.estate.resources import MOST
from commonfarm.lib.errors import Problem

Place = tuple[str | int, ...]
Group = tuple[str, str, str]
Slot = tuple[str, str, str, str]
"""Whose requirement: service, component, environment, and which of those there."""

LADDER = "ladder "
"""Begins the last part of the slot of a rung: nothing is a ratio of what a rung will need."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """One mapping `requires`, and where it stands in a service."""

    service: Declared[schema.Service]
    place: Place
    requires: schema.Requires


@dataclass(slots=True)
class _Entry:
    """A requirement: the later of its layers counts; `of` are those that it is a ratio of."""

    layers: tuple[Written, ...]
    of: tuple[Slot, ...] = ()

    @property
    def amounts(self) -> tuple[Written, ...]:
        """The layers whose amounts count: a size or a ratio says anew what is needed."""
        starts = [
            number
            for number, layer in enumerate(self.layers)
            if layer.requires.size is not None or layer.requires.ratio_of is not None
        ]
        return self.layers[starts[-1] if starts else 0 :]


@dataclass(slots=True)
class Requirements:
    """All requirements of an estate: `add` them, `resolve` once, then `get` them."""

    estate: Estate
    architecture: Callable[[str], str]
    problems: list[Problem]
    sizes: Mapping[str, Mapping[str, Range]] = field(init=False)
    entries: dict[Slot, _Entry] = field(default_factory=dict)
    amounts: dict[Slot, dict[str, Range]] = field(default_factory=dict)
    told: set[Problem] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sizes = {one.thing.name: one.thing.amounts() for one in self.estate.sizes}

    def add(self, slot: Slot, *layers: Written) -> None:
        """Note a requirement; keys of a later layer take the place of an earlier one's."""
        self.entries[slot] = _Entry(layers)

    def get(self, slot: Slot) -> Requirement:
        """Return a requirement; of those with faults, what is known of it."""
        layers = [layer.requires for layer in self.entries[slot].layers]
        traits = _last([layer.traits for layer in layers]) or schema.WantedTraits()
        architectures = _last([layer.architecture for layer in layers]) or []
        return Requirement(
            amounts=dict(sorted(self.amounts.get(slot, {}).items())),
            architectures=tuple(self.architecture(one) for one in architectures),
            required=tuple(tuple(one) for one in traits.required),
            forbidden=tuple(traits.forbidden),
            preferred=tuple(traits.preferred),
            sites=tuple(_last([layer.sites for layer in layers]) or ()),
            addresses=dict(sorted((_last([layer.addresses for layer in layers]) or {}).items())),
            dedicated=bool(_last([layer.dedicated for layer in layers])),
        )

    def check(self, written: Written) -> None:
        """Note what one mapping names and is not there."""
        requires, names = written.requires, self.estate.names
        if requires.size is not None:
            self._missing(written, names.missing("sizes", requires.size), "size")
        for number, site in enumerate(requires.sites or ()):
            self._missing(written, names.missing("sites", site), "sites", number)
        for name in requires.addresses or ():
            sites = requires.sites or list(names.of["sites"])
            known = [networks_at(self.estate, site) for site in sites]
            at_all = frozenset[str]().union(*(one for one in known if one))
            if None not in known and name not in at_all:
                what, to_do = no_such("networks", name, at_all)
                at = f" at {' or '.join(sites)}" if requires.sites else ""
                self._problem(written, what + at, to_do, "addresses", name)

    def resolve(self) -> None:
        """Work out all amounts, each after those it is a ratio of; note cycles, each whole."""
        by_place: dict[Group, list[Slot]] = {}
        for slot in self.entries:
            if not slot[3].startswith(LADDER):
                by_place.setdefault(slot[:3], []).append(slot)
        for slot, entry in self.entries.items():
            entry.of = tuple(self._referred(slot, entry, by_place))
        graph = {slot: set(entry.of) for slot, entry in self.entries.items()}
        while True:
            try:
                order = list(TopologicalSorter(graph).static_order())
                break
            except CycleError as error:
                cycle: list[Slot] = error.args[1]
                self._cycle(cycle)
                for slot in cycle:  # the others are still judged
                    graph[slot], self.entries[slot].of = set(), ()
        for slot in order:
            self.amounts[slot] = self._worked_out(self.entries[slot])

    def _worked_out(self, entry: _Entry) -> dict[str, Range]:
        first, found = entry.amounts[0], dict[str, Range]()
        if first.requires.ratio_of is not None and entry.of:
            others = [self.amounts[other] for other in entry.of]
            if any(other != others[0] for other in others):
                what = "this is a ratio of several requirements that differ"
                self._problem(first, what, "write the amounts out, or make them alike", "ratio_of")
            found = _times(first.requires.ratio_of, others[0])
            for key, amount in found.items():
                if amount.high > MOST:
                    what = f"this comes to more {key} than there is anywhere"
                    self._problem(first, what, "write a smaller factor", "ratio_of", "factor")
                    found = {}
                    break
        for layer in entry.amounts:
            found.update(self.sizes.get(layer.requires.size or "", {}))
            found.update(layer.requires.amounts())
        return found

    def _referred(
        self, slot: Slot, entry: _Entry, by_place: Mapping[Group, list[Slot]]
    ) -> Iterator[Slot]:
        """Yield the requirements that one is a ratio of; note what of that is not there."""
        layer = entry.amounts[0]
        ratio = layer.requires.ratio_of
        if ratio is None:
            return
        service = ratio.service or slot[0]
        missing = self.estate.names.missing("services", service)
        if missing:
            self._missing(layer, missing, "ratio_of", "service")
            return
        thing = next((one.thing for one in self.estate.services if one.thing.name == service), None)
        if thing is None:
            return  # it has faults of its own
        component = ratio.component or slot[1]
        known = [one.name for one in thing.components]
        if component not in known:
            self._missing(layer, no_such("components", component, known), "ratio_of", "component")
            return
        environment = ratio.environment or slot[2]
        found = by_place.get((service, component, environment))
        if not found:
            what = f"{service}/{component} has no instances in `{environment}`"
            there = sorted({key[2] for key in by_place if key[:2] == (service, component)})
            place = "environment" if ratio.environment else "factor"
            if there:  # else its instances have faults of their own
                self._problem(layer, what, f"there are: {', '.join(there)}", "ratio_of", place)
            return
        yield from found

    def _cycle(self, cycle: list[Slot]) -> None:
        # graphlib names it against the arrows; it begins where it is declared first.
        ring = cycle[:-1][::-1]
        start = ring.index(min(ring))
        ring = [*ring[start:], *ring[:start]]
        path = " of ".join("/".join(slot[:3]) for slot in [*ring, ring[0]])
        what = f"the ratios go round: {path}"
        self._problem(
            self.entries[ring[0]].amounts[0], what, "write amounts for one of them", "ratio_of"
        )

    def _missing(self, layer: Written, missing: tuple[str, str] | None, *inside: str | int) -> None:
        if missing:
            self._problem(layer, *missing, *inside)

    def _problem(self, layer: Written, what: str, to_do: str, *inside: str | int) -> None:
        problem = layer.service.problem(what, to_do, *layer.place, "requires", *inside)
        if problem not in self.told:  # a component's is met for each of its instances
            self.told.add(problem)
            self.problems.append(problem)


def _times(ratio: schema.Ratio, amounts: Mapping[str, Range]) -> dict[str, Range]:
    low, likely, high = ratio.factor
    found = {}
    for key, amount in amounts.items():
        step = 1000 if key == "isolated_cores" else 1  # half a core cannot be isolated
        found[key] = Range(
            -(-amount.low * low // step) * step,
            -(-amount.likely * likely // step) * step,
            -(-amount.high * high // step) * step,
        )
    return found


def _last(values: list[T | None]) -> T | None:
    return next((value for value in reversed(values) if value is not None), None)
