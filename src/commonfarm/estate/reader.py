"""Reads an estate from YAML texts: all of its faults at once, each with file, line and column.

Pure: texts in, an `Estate` out. `files.py` brings the texts.
"""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from commonfarm.estate import schema
from commonfarm.estate.yaml_nodes import Document, Place, parse
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


@dataclass(frozen=True, slots=True)
class Estate:
    """All that was declared. `repositories` are those of all trees, each with its tree's name."""

    digest: str
    hosts: list[Declared[schema.Host]]
    pools: list[Declared[schema.Pool]]
    targets: list[Declared[schema.Target]]
    projects: list[Declared[schema.Project]]
    trees: list[Declared[schema.Tree]]
    repositories: list[tuple[str, Declared[schema.Repository]]]


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
    def name(self) -> str | None:
        """What it is called; `*` stands in it for what is not known before loading."""
        name = self.get("name")
        if name is None and self.section == "targets":
            parts = (self.get("suite"), self.get("architecture"))
            known = (isinstance(part, str) and part != schema.HOST for part in parts)
            return "-".join(p if k else "*" for p, k in zip(parts, known, strict=True))
        return name if isinstance(name, str) else None

    def at(self, what: str, to_do: str, *inside: str | int) -> Problem:
        """Return a problem at a part of this item."""
        return self.document.at((*self.place, *inside), what, to_do)


# Which key of which section's items names things of which section: one, or a list of them.
_REFERENCES = (
    ("hosts", "pool", "pools"),
    ("projects", "targets", "targets"),
    ("projects", "repository", "repositories"),
)


def read(texts: Sequence[Text]) -> Estate:
    """Return the estate that `texts` declare together; raise BadInputError listing all faults."""
    documents = [parse(text.name, text.data) for text in texts]
    problems = [problem for document in documents for problem in document.problems]
    unread = {(problem.file, problem.line, problem.column) for problem in problems}
    items = [item for document in documents for item in _items(document, problems)]
    found: dict[str, list[Declared[Any]]] = {section: [] for section in schema.SECTIONS}
    for item in items:
        kind = schema.SECTIONS[item.section]
        try:
            thing = kind.model_validate(item.value)
            found[item.section].append(Declared(thing, item.document, item.place))
        except ValidationError as error:
            wrong = [_explained(kind, item, one) for one in error.errors()]
            problems += [one for one in wrong if (one.file, one.line, one.column) not in unread]
    repositories = [
        (tree.thing.name, Declared(one, tree.document, (*tree.place, "repositories", number)))
        for tree in found["trees"]
        for number, one in enumerate(tree.thing.repositories)
    ]
    names = _names([*items, *_repositories(items)], problems)
    problems += _dangling(items, names)
    problems += overlapping(repositories)
    problems += unlike_their_pools(found["hosts"], found["pools"])
    if not any(item.section == "targets" for item in items):
        problems += [
            project.problem("there is no target to build for", "declare one under `targets:`")
            for project in found["projects"]
            if project.thing.targets is None
        ]
    if not problems and not items:
        file = texts[0].name if texts else "the estate"
        problems.append(Problem(file, 0, 0, "declares nothing", "declare targets and a project"))
    if problems:
        raise BadInputError(*problems)
    return Estate(digest_of(texts), **found, repositories=repositories)


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
        problems.append(document.at((), "this is no mapping", "begin with a section: `targets:`"))
        return
    for section, items in document.value.items():
        if section not in schema.SECTIONS:
            to_do = hint(section, schema.SECTIONS)
            what = f"unknown section `{section[:80]}`"
            problems.append(document.at((section,), what, to_do, key=True))
        elif not isinstance(items, list):
            what = f"`{section}` is {_kind(items)}, not a list"
            problems.append(document.at((section,), what, "begin each item with a hyphen"))
        else:
            yield from (_Item(section, document, (section, i), one) for i, one in enumerate(items))


def _repositories(items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield the items of the trees' own lists of repositories."""
    for item in items:
        inner = item.get("repositories") if item.section == "trees" else None
        for number, one in enumerate(inner if isinstance(inner, list) else ()):
            place = (*item.place, "repositories", number)
            yield _Item("repositories", item.document, place, one)


def _names(items: Sequence[_Item], problems: list[Problem]) -> dict[str, set[str]]:
    """Return the names in each section, and note those declared twice.

    Items with other faults count, so that one fault does not make others' references dangle.
    """
    first: dict[tuple[str, str], _Item] = {}
    for item in items:
        if item.name is None:
            continue
        earlier = first.setdefault((item.section, item.name), item)
        if earlier is not item and "*" not in item.name:
            problems.append(declared_twice(item.name, earlier, item))
    sections = (*schema.SECTIONS, "repositories")
    return {section: {name for kind, name in first if kind == section} for section in sections}


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


def _dangling(items: Sequence[_Item], names: dict[str, set[str]]) -> Iterator[Problem]:
    """Yield every reference to something that is not declared."""
    for item in items:
        for section, key, to in _REFERENCES:
            if item.section != section:
                continue
            value = item.get(key)
            named = enumerate(value) if isinstance(value, list) else [(None, value)]
            not_yet = {known for known in names[to] if "*" in known}
            for number, name in named:
                if not isinstance(name, str) or name in names[to] - not_yet:
                    continue
                if not any(fnmatchcase(name, pattern) for pattern in not_yet):
                    inside = (key,) if number is None else (key, number)
                    yield item.at(*no_such(to, name, names[to] - not_yet), *inside)


def _explained(kind: type[BaseModel], item: _Item, error: ErrorDetails) -> Problem:
    """Return pydantic's error as a problem in our words, at the place in the file."""
    # pydantic puts the branch of a union into the place, in brackets; no key of ours looks so.
    inside = tuple(part for part in error["loc"] if not (isinstance(part, str) and "[" in part))
    document, at = item.document, (*item.place, *inside)
    context = error.get("ctx", {})
    last = str(inside[-1]) if inside else ""
    match error["type"]:
        case "estate":
            return document.at(at, context["what"], context["to_do"])
        case "missing":
            return document.at(at[:-1], f"`{last}` is missing", f"add `{last}:`")
        case "extra_forbidden":
            fields = _model_at(kind, inside[:-1])
            return document.at(at, f"unknown key `{last[:80]}`", hint(last, fields), key=True)
        case "string_type":
            what = f"{_named(last)} is {_kind(error['input'])}, not text"
            return document.at(at, what, "write text, in quotes if it looks like a number")
        case "bool_type":
            what = f"{_named(last)} is {_kind(error['input'])}"
            return document.at(at, what, "write true or false")
        case "list_type":
            what = f"{_named(last)} is {_kind(error['input'])}, not a list"
            return document.at(at, what, "write [one, two], or an item a line after hyphens")
        case "literal_error":
            what = f"{_named(last)} is {error['input']!r:.80}"
            return document.at(at, what, f"write {context['expected']}, or a list")
        case "model_type" | "model_attributes_type" | "dict_type":
            what = f"this item is {_kind(error['input'])}, not a mapping"
            return document.at(at, what, "write `name: …` and its other keys")
    return document.at(at, error["msg"], "")


def _model_at(kind: type[BaseModel], inside: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand at `inside` an item of `kind`."""
    model: type[BaseModel] | None = kind
    for part in inside:
        if isinstance(part, str) and model is not None and part in model.model_fields:
            model = _innermost(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _innermost(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside a list, an optional, a union or what is annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (
        list,
        typing.Union,
        types.UnionType,
        typing.Annotated,
    ):
        for part in typing.get_args(annotation):
            found = _innermost(part)
            if found is not None:
                return found
    return None


def no_such(section: str, name: str, known: typing.Iterable[str]) -> tuple[str, str]:
    """Return what is wrong with a reference to something that is not declared, what to do."""
    return f"there is no {_singular(section)} `{name[:80]}`", hint(name, known) or "declare it"


def _named(key: str) -> str:
    return f"item {int(key) + 1}" if key.isdigit() else f"`{key}`"


def _singular(section: str) -> str:
    return "repository" if section == "repositories" else section.removesuffix("s")


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"
