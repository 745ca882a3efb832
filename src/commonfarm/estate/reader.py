"""Reads an estate from YAML texts: all of its faults at once, each with file, line and column.

Pure: texts in, an `Estate` out. `files.py` brings the texts.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from commonfarm.estate import schema
from commonfarm.estate.explaining import explained, kind_of
from commonfarm.estate.partial import what_is_left
from commonfarm.estate.yaml_nodes import MOST_VALUES, Document, Place, parse
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.hints import hint

T = TypeVar("T", bound=schema.Thing)


@dataclass(frozen=True, slots=True)
class Text:
    """One file of the estate: its name within the directory, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Declared(Generic[T]):
    """A thing, and where it was declared."""

    thing: T
    document: Document
    place: Place

    def problem(self, what: str, to_do: str, *inside: str | int) -> Problem:
        """Return a problem with this thing, or with a part inside it."""
        return self.document.at((*self.place, *inside), what, to_do)

    def where(self, *inside: str | int) -> str:
        """Return `file:line:column` of this thing, or of a part inside it."""
        return self.document.where((*self.place, *inside))


@dataclass(frozen=True, slots=True)
class Names:
    """What is declared in each section, with or without faults.

    So one fault does not make others' references dangle.
    """

    of: Mapping[str, Mapping[str, Any]]
    _told: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def missing(self, section: str, name: str) -> tuple[str, str] | None:
        """Return what is wrong with a reference and what to do; None where the name is known."""
        known = self.of[section]
        if name in known:
            return None
        if (section, name) not in self._told:
            # Likely names are looked for among thousands: after many faults it is not worth while.
            known = {} if len(self._told) > _MOST_HINTS else known
            self._told[section, name] = no_such(section, name, known)
        return self._told[section, name]


@dataclass(frozen=True, slots=True)
class Estate:
    """All that was declared. `repositories` are those of all trees, each with its tree's name."""

    digest: str
    sites: list[Declared[schema.Site]]
    sponsors: list[Declared[schema.Sponsor]]
    pledges: list[Declared[schema.Pledge]]
    hosts: list[Declared[schema.Host]]
    sizes: list[Declared[schema.Size]]
    services: list[Declared[schema.Service]]
    transfers: list[Declared[schema.Transfer]]
    catalogue: list[Declared[schema.HostKind]]
    pools: list[Declared[schema.Pool]]
    targets: list[Declared[schema.Target]]
    projects: list[Declared[schema.Project]]
    trees: list[Declared[schema.Tree]]
    repositories: list[tuple[str, Declared[schema.Repository]]]
    policy: Declared[schema.Policy] | None
    names: Names
    documents: list[Document]


@dataclass(frozen=True, slots=True)
class _Item:
    """What stands in a section's list, whether or not it is what it should be."""

    section: str
    document: Document
    place: Place
    value: Any

    def get(self, key: str) -> Any:
        """Return what stands under `key`, None where this is no mapping."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    @property
    def names(self) -> list[str]:
        """What it is called; `*` stands in it for what is not known before loading."""
        name = self.get("name")
        if name is None and self.section == "targets":
            parts = (self.get("suite"), self.get("architecture"))
            known = (isinstance(part, str) and part != schema.HOST for part in parts)
            return ["-".join(p if k else "*" for p, k in zip(parts, known, strict=True))]
        if not isinstance(name, str):
            return []
        if self.section == "hosts":
            try:
                return schema.expand(name)
            except PydanticCustomError:  # told where the name is checked
                return []
        return [name]

    def at(self, what: str, to_do: str, *inside: str | int) -> Problem:
        """Return a problem at a part of this item."""
        return self.document.at((*self.place, *inside), what, to_do)


MOST_PROBLEMS = 1000
"""Nobody reads more of them, and to look for what was meant takes time."""

MOST_HOSTS = 100_000

_MOST_HINTS = 50

# Which key of which section's items names things of which section: one, or a list of them.
_REFERENCES = (
    ("catalogue", "site", "sites"),
    ("hosts", "pledge", "pledges"),
    ("hosts", "pool", "pools"),
    ("hosts", "site", "sites"),
    ("pledges", "sponsor", "sponsors"),
    ("projects", "repository", "repositories"),
    ("projects", "targets", "targets"),
    ("sites", "jump_host", "hosts"),
    ("transfers", "site", "sites"),
    ("trees", "promotes_to", "trees"),
)


def read(texts: Sequence[Text]) -> Estate:
    """Return the estate that `texts` declare together; raise BadInputError listing all faults."""
    estate, problems = survey(texts)
    if problems:
        raise BadInputError(*problems)
    return estate


def survey(texts: Sequence[Text]) -> tuple[Estate, list[Problem]]:
    """Return all that was declared, and all faults.

    What has faults is there without its faulty parts where it can do without them, so that the rest
    of it can be judged too; nothing but faults is to be told of such an estate.
    """
    documents: list[Document] = []
    left = MOST_VALUES
    for text in texts:
        documents.append(parse(text.name, text.data, left))
        left -= documents[-1].count
    problems = [problem for document in documents for problem in document.problems]
    unread = {problem.place for problem in problems}
    items = [item for document in documents for item in _items(document, problems)]
    too_many = _too_many_hosts(items)
    if too_many:
        problems.append(too_many)
        items = []
    found: dict[str, list[Declared[Any]]] = {section: [] for section in schema.SECTIONS}
    policies: list[Declared[schema.Policy]] = []
    for item in items:
        if len(problems) > MOST_PROBLEMS:
            problems.append(item.at("from here on nothing was judged", "mend the faults before"))
            break
        kind = schema.SECTIONS.get(item.section, schema.Policy)
        document = item.document
        try:
            thing = kind.model_validate(item.value)
        except ValidationError as error:
            wrong = explained(kind, document, item.place, error)
            problems += [one for one in wrong if one.place not in unread]
            rest = what_is_left(kind, document, item.place, item.value, error)
            if rest is None:
                continue
            thing, document = rest
        declared: Declared[Any] = Declared(thing, document, item.place)
        (policies if item.section == schema.POLICY else found[item.section]).append(declared)
    repositories = [
        (tree.thing.name, Declared(one, tree.document, (*tree.place, "repositories", number)))
        for tree in found["trees"]
        for number, one in enumerate(tree.thing.repositories)
    ]
    names = Names(_names([*items, *_repositories(items)], problems))
    told = {problem.place for problem in problems}
    dangling = _dangling(items, names)
    problems += [one for one in dangling if one.place not in told]
    problems += overlapping(repositories)
    problems += unlike_their_pools(found["hosts"], found["pools"])
    problems += _second_policies(items)
    if not any(item.section == "targets" for item in items):
        problems += [
            project.problem("there is no target to build for", "declare one under `targets:`")
            for project in found["projects"]
            if project.thing.targets is None
        ]
    if not problems and not items:
        file = texts[0].name if texts else "the estate"
        to_do = "begin with `hosts:` or `services:`"
        problems.append(Problem(file, 0, 0, "declares nothing", to_do))
    estate = Estate(
        digest_of(texts),
        **found,
        repositories=repositories,
        policy=policies[0] if policies else None,
        names=names,
        documents=documents,
    )
    return estate, problems


def digest_of(texts: Sequence[Text]) -> str:
    """Return the hex SHA-256 over names and bytes of all files, in the order of their names."""
    digest = hashlib.sha256()
    for text in sorted(texts, key=lambda text: text.name):
        for part in (text.name.encode(), text.data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _items(document: Document, problems: list[Problem]) -> Iterator[_Item]:
    """Yield every item of every known section; note what else stands at the top."""
    if document.value is None:
        return
    if not isinstance(document.value, dict):
        problems.append(document.at((), "this is no mapping", "begin with a section: `hosts:`"))
        return
    for section, items in document.value.items():
        if section == schema.POLICY:
            yield _Item(section, document, (section,), items)
        elif section not in schema.SECTIONS:
            to_do = hint(section, [*schema.SECTIONS, schema.POLICY])
            what = f"unknown section `{section[:80]}`"
            problems.append(document.at((section,), what, to_do, key=True))
        elif not isinstance(items, list):
            what = f"`{section}` is {kind_of(items)}, not a list"
            problem = document.at((section,), what, "begin each item with a hyphen")
            if problem.place not in {one.place for one in document.problems}:
                problems.append(problem)
        else:
            yield from (_Item(section, document, (section, i), one) for i, one in enumerate(items))


def _too_many_hosts(items: Sequence[_Item]) -> Problem | None:
    """Return where the estate has more hosts than are worth a name each, a few bytes as it is."""
    hosts = 0
    for item in items:
        name = item.get("name")
        if item.section == "hosts" and isinstance(name, str):
            try:
                hosts += schema.how_many(name)
            except PydanticCustomError:  # told where the name is checked
                continue
            if hosts > MOST_HOSTS:
                return item.at(f"the estate has more than {MOST_HOSTS} hosts", "write fewer")
    return None


def _repositories(items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield the items of the trees' own lists of repositories."""
    for item in items:
        inner = item.get("repositories") if item.section == "trees" else None
        for number, one in enumerate(inner if isinstance(inner, list) else ()):
            place = (*item.place, "repositories", number)
            yield _Item("repositories", item.document, place, one)


def _names(items: Sequence[_Item], problems: list[Problem]) -> dict[str, dict[str, _Item]]:
    """Return the names in each section and whose they are; note those declared twice."""
    sections = (*schema.SECTIONS, schema.POLICY, "repositories")
    first: dict[str, dict[str, _Item]] = {section: {} for section in sections}
    for item in items:
        taken = None
        for name in item.names:
            earlier = first[item.section].setdefault(name, item)
            if earlier is not item and "*" not in name:
                taken = taken or declared_twice(name, earlier, item)
        if taken:  # once, though a range may hold many such names
            problems.append(taken)
    return first


def _second_policies(items: Sequence[_Item]) -> Iterator[Problem]:
    policies = [item for item in items if item.section == schema.POLICY]
    for item in policies[1:]:
        what = f"the policy is declared already, at {policies[0].document.where(policies[0].place)}"
        yield item.document.at(item.place, what, "keep one of them", key=True)


def declared_twice(
    name: str, first: _Item | Declared[Any], second: _Item | Declared[Any]
) -> Problem:
    """Return what is wrong with `second`, which has the name of `first`."""
    kind = _singular(str(second.place[-2]))
    where = first.document.where((*first.place, "name"))
    what = f"the {kind} {name[:80]} is declared already, at {where}"
    place = (*second.place, "name")
    return second.document.at(place, what, "give one of them another name")


def unlike_their_pools(
    hosts: Sequence[Declared[schema.Host]],
    pools: Sequence[Declared[schema.Pool]],
    resolve: Callable[[str], str] = str,
) -> Iterator[Problem]:
    """Yield every host of another architecture than its pool's.

    `resolve` turns `host` into an architecture; what it leaves as it is is not judged.
    """
    # Of two pools with one name, which is a fault of its own, the first counts.
    wanted = {pool.thing.name: pool.thing.architecture for pool in reversed(pools)}
    for host in hosts:
        its, of_pool = host.thing.architecture, wanted.get(host.thing.pool or "")
        if of_pool is None or its == of_pool:
            continue
        its, of_pool = resolve(its), resolve(of_pool)
        if its != of_pool and schema.HOST not in (its, of_pool):
            what = f"the host {host.thing.name} is {its}, and its pool {host.thing.pool} {of_pool}"
            to_do = f"name a pool of {its}, or mend the architecture"
            yield host.problem(what, to_do, "architecture")


def overlapping(
    repositories: Sequence[tuple[str, Declared[schema.Repository]]],
    before: Mapping[tuple[str, str], str] = types.MappingProxyType({}),
) -> Iterator[Problem]:
    """Yield every repository that lies in another of its tree, or holds it.

    `before` are further places that are taken: (tree, path), and what to call who has it.
    """
    taken = dict(before)
    for tree, item in repositories:
        path = item.thing.path
        for other, owner in taken.items():
            if other[0] == tree and f"{path}/".startswith(f"{other[1]}/"):
                yield item.problem(f"the path {path} lies in that of {owner}", "move it", "path")
            elif other[0] == tree and f"{other[1]}/".startswith(f"{path}/"):
                yield item.problem(f"the path {path} holds that of {owner}", "move it", "path")
        taken.setdefault((tree, path), item.thing.name)


def _dangling(items: Sequence[_Item], names: Names) -> Iterator[Problem]:
    """Yield every reference to something that is not declared."""
    not_yet = [name for name in names.of["targets"] if "*" in name]
    declared = Names(
        {**names.of, "targets": {n: i for n, i in names.of["targets"].items() if "*" not in n}}
    )
    references: dict[str, list[tuple[str, str]]] = {}
    for section, key, to in _REFERENCES:
        references.setdefault(section, []).append((key, to))
    for item in items:
        for key, to in references.get(item.section, ()):
            value = item.get(key)
            named = enumerate(value) if isinstance(value, list) else [(None, value)]
            for number, name in named:
                wrong = declared.missing(to, name) if isinstance(name, str) else None
                if wrong is None:
                    continue
                if to != "targets" or not any(fnmatchcase(name, one) for one in not_yet):
                    inside = (key,) if number is None else (key, number)
                    yield item.at(*wrong, *inside)


def no_such(section: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Return what is wrong with a reference to something that is not declared, what to do."""
    return f"there is no {_singular(section)} `{name[:80]}`", hint(name, known) or "declare it"


def _singular(section: str) -> str:
    return "repository" if section == "repositories" else section.removesuffix("s")
