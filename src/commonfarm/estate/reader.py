"""Reads an estate from YAML texts: all of its faults at once, each with file, line and column.

Pure: texts in, an `Estate` out. `files.py` brings the texts.
"""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from commonfarm.estate import schema
from commonfarm.estate.yaml_nodes import Document, Place, parse
from commonfarm.lib.errors import BadInputError, Problem

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


def read(texts: Sequence[Text]) -> Estate:
    """Return the estate that `texts` declare together; raise BadInputError listing all faults."""
    documents = [parse(text.name, text.data) for text in texts]
    problems = [problem for document in documents for problem in document.problems]
    found: dict[str, list[Declared[Any]]] = {section: [] for section in schema.SECTIONS}
    names: dict[str, set[str]] = {section: set() for section in (*schema.SECTIONS, "repositories")}
    for document in documents:
        for section, place, value in _items(document, problems):
            _note_names(section, value, names)
            kind = schema.SECTIONS[section]
            try:
                found[section].append(Declared(kind.model_validate(value), document, place))
            except ValidationError as error:
                problems += [_explained(kind, document, place, one) for one in error.errors()]
    repositories = [
        (tree.thing.name, Declared(one, tree.document, (*tree.place, "repositories", number)))
        for tree in found["trees"]
        for number, one in enumerate(tree.thing.repositories)
    ]
    for section, items in found.items():
        problems += _twice(section, items)
    problems += _twice("repositories", [item for _, item in repositories])
    problems += _overlapping(repositories)
    problems += _dangling(found, names)
    if not problems and not any(found.values()):
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


def _items(document: Document, problems: list[Problem]) -> Iterator[tuple[str, Place, Any]]:
    """Yield every item of every known section; note what else stands at the top."""
    if document.value is None:
        return
    if not isinstance(document.value, dict):
        problems.append(document.at((), "this is no mapping", "begin with a section: `targets:`"))
        return
    for section, items in document.value.items():
        if section not in schema.SECTIONS:
            to_do = _hint(section, schema.SECTIONS)
            problems.append(
                document.at((section,), f"unknown section `{section}`", to_do, key=True)
            )
        elif not isinstance(items, list):
            what = f"`{section}` is {_kind(items)}, not a list"
            problems.append(document.at((section,), what, "begin each item with a hyphen"))
        else:
            yield from ((section, (section, i), item) for i, item in enumerate(items))


def _note_names(section: str, value: Any, names: dict[str, set[str]]) -> None:
    """Note the names an item declares, so that one fault in it does not make others dangle."""
    if not isinstance(value, dict):
        return
    names[section].add(str(value.get("name")))
    if section == "trees" and isinstance(value.get("repositories"), list):
        for one in value["repositories"]:
            _note_names("repositories", one, names)


def _twice(section: str, items: Sequence[Declared[Any]]) -> Iterator[Problem]:
    first: dict[str, Declared[Any]] = {}
    for item in items:
        earlier = first.setdefault(item.thing.name, item)
        if earlier is not item:
            where = earlier.document.where((*earlier.place, "name"))
            what = f"the {_singular(section)} {item.thing.name} is declared already, at {where}"
            yield item.problem(what, "give one of them another name", "name")


def _overlapping(
    repositories: Sequence[tuple[str, Declared[schema.Repository]]],
) -> Iterator[Problem]:
    """Two repositories of a tree must not lie inside each other."""
    taken: dict[tuple[str, str], str] = {}
    for tree, item in repositories:
        path = item.thing.path
        for other, owner in taken.items():
            if other[0] == tree and f"{path}/".startswith(f"{other[1]}/"):
                yield item.problem(f"the path {path} lies in that of {owner}", "move it", "path")
            elif other[0] == tree and f"{other[1]}/".startswith(f"{path}/"):
                yield item.problem(f"the path {path} holds that of {owner}", "move it", "path")
        taken.setdefault((tree, path), item.thing.name)


def _dangling(
    found: dict[str, list[Declared[Any]]], names: dict[str, set[str]]
) -> Iterator[Problem]:
    """Yield every reference to something that is not declared."""
    for host in found["hosts"]:
        yield from _reference(host, host.thing.pool, names["pools"], "pool", "pool")
    for project in found["projects"]:
        for number, name in enumerate(project.thing.targets):
            yield from _reference(project, name, names["targets"], "target", "targets", number)
        name = project.thing.repository
        yield from _reference(project, name, names["repositories"], "repository", "repository")


def _reference(
    item: Declared[Any], name: str | None, known: set[str], kind: str, *inside: str | int
) -> Iterator[Problem]:
    if name is not None and name not in known:
        yield item.problem(f"there is no {kind} `{name[:80]}`", _hint(name, known), *inside)


def _explained(
    kind: type[BaseModel], document: Document, place: Place, error: ErrorDetails
) -> Problem:
    """Return pydantic's error as a problem in our words, at the place in the file."""
    # pydantic puts the branch of a union into the place, as `list[Packages]`; no key looks so.
    inside = tuple(part for part in error["loc"] if not (isinstance(part, str) and "[" in part))
    at = (*place, *inside)
    context = error.get("ctx", {})
    last = str(inside[-1]) if inside else ""
    match error["type"]:
        case "estate":
            return document.at(at, context["what"], context["to_do"])
        case "missing":
            return document.at(at[:-1], f"`{last}` is missing", f"add `{last}:`")
        case "extra_forbidden":
            fields = _model_at(kind, inside[:-1])
            return document.at(at, f"unknown key `{last[:80]}`", _hint(last, fields), key=True)
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
            return document.at(at, what, f"write {context['expected']}")
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
    """Return the model inside a list, an optional or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            found = _innermost(part)
            if found is not None:
                return found
    return None


def _hint(wrong: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    close = get_close_matches(wrong[:80], names, 1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"there are: {', '.join(names[:20])}" if names else "declare it"


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
