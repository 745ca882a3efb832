"""Services and their instances: environments, counts, what runs where today, rules of spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from commonfarm.estate import schema
from commonfarm.estate.facts import (
    LEVELS,
    Environment,
    Growth,
    Host,
    Instance,
    Level,
    Observed,
    Pledge,
    Range,
    Rung,
    Service,
    Spread,
    Step,
)
from commonfarm.estate.reader import Declared, Estate, no_such
from commonfarm.estate.resolving.requirements import LADDER, Place, Requirements, Slot, Written
from commonfarm.estate.timeline import ends_on
from commonfarm.lib.errors import Problem

PRODUCTION = "production"
PRIORITIES = {"production": 1000, "staging": 300, "testing": 100, "devel": 30}
OTHER_PRIORITY = 100
MOST_INSTANCES = 100_000


@dataclass(slots=True)
class Demand:
    """What services need, as facts."""

    services: dict[str, Service] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    spreads: list[Spread] = field(default_factory=list)
    observed: list[Observed] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    too_many: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """Instances that are alike: one item of a component's `instances`."""

    slot: Slot
    component: schema.Component
    environment: str
    written: schema.Instances
    place: Place


@dataclass(frozen=True, slots=True)
class Supply:
    """The hosts there are and the pledges they stand by, and the day it is."""

    hosts: Mapping[str, Host]
    pledges: Mapping[str, Pledge]
    today: date | None


def demand(
    estate: Estate, supply: Supply, requirements: Requirements, problems: list[Problem]
) -> Demand:
    """Return services, instances and rules; note all that does not hold together."""
    groups = {one.thing.name: list(_groups(one, requirements, problems)) for one in estate.services}
    requirements.resolve()
    found = Demand()
    for one in sorted(estate.services, key=lambda one: one.thing.name):
        _Reading(estate, supply, requirements, problems, found, one).read(groups[one.thing.name])
    for things in (found.spreads, found.observed, found.growth, found.steps):
        things.sort(key=_but_where)  # in no order of files
    found.instances = dict(sorted(found.instances.items()))
    return found


def _but_where(fact: Any) -> str:
    return repr([getattr(fact, key) for key in type(fact).__slots__ if key != "where"])


def _groups(
    one: Declared[schema.Service], requirements: Requirements, problems: list[Problem]
) -> Iterator[_Group]:
    """Yield what a service's components have instances of; note their requirements."""
    service = one.thing
    environments = [each.name for each in service.environments or ()] or [PRODUCTION]
    written_so = requirements.estate.names.of["services"][service.name].get("environments")
    if isinstance(written_so, list):  # a name alone is a fault, told where it stands
        environments += [each for each in written_so if isinstance(each, str)]
    for number, component in enumerate(service.components):
        place: Place = ("components", number)
        base = Written(one, place, component.requires)
        requirements.check(base)
        for entry, written in enumerate(component.instances or (schema.Instances(),)):
            inside = (*place, "instances", entry) if component.instances else place
            environment = written.environment or _default_environment(service)
            if environment not in environments:
                missing = no_such("environments", environment, environments)
                if written.environment is None:
                    missing = ("it is not said in which environment", "add `environment:`")
                problems.append(one.problem(*missing, *inside, "environment"))
                continue
            slot = (service.name, component.name, environment, str(entry))
            layers = [base]
            if written.requires is not None:
                layers.append(Written(one, inside, written.requires))
                requirements.check(layers[-1])
            requirements.add(slot, *layers)
            yield _Group(slot, component, environment, written, inside)
    for number, rung in enumerate(service.ladder):
        if rung.requires is not None:
            layer = Written(one, ("ladder", number), rung.requires)
            requirements.check(layer)
            requirements.add(_of_rung(service, number), layer)


def _of_rung(service: schema.Service, number: int) -> Slot:
    component = service.ladder[number].component
    return (service.name, component, _default_environment(service), f"{LADDER}{number}")


def _default_environment(service: schema.Service) -> str:
    environments = service.environments or ()
    return environments[0].name if len(environments) == 1 else PRODUCTION


@dataclass(slots=True)
class _Reading:
    """Turns one service into facts."""

    estate: Estate
    supply: Supply
    requirements: Requirements
    problems: list[Problem]
    found: Demand
    one: Declared[schema.Service]

    def read(self, groups: Sequence[_Group]) -> None:
        """Add the service, its instances, and what is said of both."""
        service, where = self.one.thing, self.one.where()
        self.twice("environments", service.environments or ())
        self.twice("components", service.components)
        environments = [
            Environment(
                name=each.name,
                code_tree=each.code_tree,
                database=each.database,
                file_store=each.file_store,
                shared_with=tuple(each.shared_with),
                where=self.one.where("environments", number),
            )
            for number, each in enumerate(service.environments or ())
        ] or [Environment(PRODUCTION, None, None, None, (), where)]
        self.found.services[service.name] = Service(
            name=service.name,
            title=service.title or service.name,
            coordinators=tuple(service.coordinators),
            components=tuple(sorted(component.name for component in service.components)),
            environments={each.name: each for each in sorted(environments, key=lambda e: e.name)},
            ladder=tuple(self.ladder()),
            where=where,
            source=service.source_text,
        )
        numbers: dict[tuple[str, str], list[str]] = {}
        for group in groups:
            names = numbers.setdefault((group.component.name, group.environment), [])
            for instance in self.instances(group, len(names)):
                if len(self.found.instances) >= MOST_INSTANCES:
                    if not self.found.too_many:
                        what = f"the estate has more than {MOST_INSTANCES} instances"
                        self.problems.append(self.one.problem(what, "lower a count", *group.place))
                    self.found.too_many = True
                    return
                self.found.instances[instance.name] = instance
                names.append(instance.name)
        self.spreads(numbers)
        self.future()

    def twice(self, section: str, things: Sequence[schema.Named]) -> None:
        """Note names that stand twice in a list."""
        names: set[str] = set()
        for number, thing in enumerate(things):
            if thing.name in names:
                what = f"{thing.name} stands twice among the {section}"
                place = (section, number, "name")
                self.problems.append(self.one.problem(what, "give one another name", *place))
            names.add(thing.name)

    def instances(self, group: _Group, before: int) -> Iterator[Instance]:
        """Yield the instances of a group, numbered after those `before` them."""
        service, written = self.one.thing, group.written
        said = written.status or service.status
        priority = (
            written.priority
            or service.priority
            or PRIORITIES.get(group.environment, OTHER_PRIORITY)
        )
        requirement = self.requirements.get(group.slot)
        where = self.one.where(*group.place)
        hosts = written.hosts()
        told: set[int] = set()
        for host, item in hosts:
            if item not in told and not self.judge(host, *group.place, "on", item):
                told.add(item)  # once, though a range may hold many such hosts
        for index in range(written.count.high):
            on = hosts[index][0] if index < len(hosts) else None
            number = before + index + 1
            yield Instance(
                name="/".join((*group.slot[:3], str(number))),
                service=service.name,
                component=group.component.name,
                environment=group.environment,
                number=number,
                requirement=requirement,
                level=_from(index, written.count),
                on=on,
                status=said or ("existing" if on else "needed"),
                priority=priority,
                disruption_budget=written.disruption_budget,
                where=where,
                source=written.source_text or group.component.source_text or service.source_text,
            )

    def judge(self, name: str, *inside: str | int) -> bool:
        """Say whether something can run on a host today; note why not."""
        missing = self.estate.names.missing("hosts", name)
        host = self.supply.hosts.get(name)
        if missing is None and host is not None:
            if host.status != "existing":
                to_do = "take it away, or say `status: existing` at the host"
                missing = f"the host {name} is only {host.status}, so nothing runs there", to_do
            pledge = self.supply.pledges.get(host.pledge or "")
            ended = ends_on(pledge) if pledge else None
            today = self.supply.today
            if pledge and ended and today and ended <= today:
                what = f"the pledge {pledge.name} of the host {name} ended on {ended}"
                missing = what, "take it away, or say until when the host is lent"
            begins = pledge.start if pledge else None
            comes = max((day for day in (begins, host.available_from) if day), default=None)
            if comes and today and comes > today:
                what = f"the host {name} is there from {comes} on, so nothing runs there yet"
                missing = what, "take it away, or mend the day"
        if missing:
            self.problems.append(self.one.problem(*missing, *inside))
        return missing is None

    def spreads(self, numbers: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Add the rules of the service and of its components, for each environment."""
        in_environment: dict[str, list[str]] = {}
        for (component, environment), names in sorted(numbers.items()):
            in_environment.setdefault(environment, []).extend(names)
            for number, each in enumerate(self.one.thing.components):
                if each.name == component:
                    self.rules(each.spread, names, "components", number, "spread")
        for _, names in sorted(in_environment.items()):
            self.rules(self.one.thing.spread, names, "spread")

    def rules(
        self, spreads: Sequence[schema.Spread], names: Sequence[str], *inside: str | int
    ) -> None:
        """Add rules over these instances; one alone has nothing to keep away from."""
        instances = tuple(sorted(names))
        for number, each in enumerate(spreads if len(names) > 1 else ()):
            at_most = each.at_most
            if at_most is None and each.at_least is None:
                at_most = 1
            where = self.one.where(*inside, number)
            must = each.strength == "must"
            rule = Spread(
                instances,
                each.over,
                must,
                at_most,
                each.at_least,
                where,
                each.source_text,
            )
            self.found.spreads.append(rule)

    def known(self, component: str | None, *inside: str | int) -> None:
        """Note a component that the service does not have."""
        names = [each.name for each in self.one.thing.components]
        if component is not None and component not in names:
            problem = self.one.problem(*no_such("components", component, names), *inside)
            self.problems.append(problem)

    def ladder(self) -> Iterator[Rung]:
        """Yield the splits to come, in their order."""
        for number, rung in enumerate(self.one.thing.ladder):
            self.known(rung.component, "ladder", number, "component")
            requirement = None
            if rung.requires is not None:
                requirement = self.requirements.get(_of_rung(self.one.thing, number))
            yield Rung(
                service=self.one.thing.name,
                number=number + 1,
                component=rung.component,
                resource=rung.resource,
                above=rung.above,
                requirement=requirement,
                change=rung.change,
                where=self.one.where("ladder", number),
                source=rung.source_text,
            )

    def future(self) -> None:
        """Add growth, steps, and what was observed."""
        service = self.one.thing
        for number, grows in enumerate(service.growth):
            self.known(grows.component, "growth", number, "component")
            self.found.growth.append(
                Growth(
                    service.name,
                    grows.component,
                    tuple(sorted(grows.resources)),
                    grows.rate,
                    grows.since,
                    self.one.where("growth", number),
                    grows.source_text,
                )
            )
        for number, step in enumerate(service.steps):
            self.known(step.component, "steps", number, "component")
            self.found.steps.append(
                Step(
                    step.event,
                    step.on,
                    service.name,
                    step.component,
                    tuple(sorted(step.resources)),
                    *step.factor,
                    where=self.one.where("steps", number),
                    source=step.source_text,
                )
            )
        measured: dict[Any, int] = {}
        for number, seen in enumerate(service.observed):
            self.known(seen.component, "observed", number, "component")
            first = measured.setdefault((seen.component, seen.resource, seen.on), number)
            if first != number:
                where = self.one.where("observed", first)
                of = seen.component or service.name
                what = f"{seen.resource} of {of} on {seen.on} is said already, at {where}"
                self.problems.append(self.one.problem(what, "keep one of them", "observed", number))
            self.found.observed.append(
                Observed(
                    service.name,
                    seen.component,
                    seen.resource,
                    seen.measured(),
                    seen.share,
                    seen.on,
                    self.one.where("observed", number),
                    seen.source_text,
                )
            )


def _from(index: int, count: Range) -> Level:
    """Return the level from which on the instance of an index is there."""
    return next(level for level in LEVELS if index < count.at(level))
