"""YAML as plain values that know their line and column.

A file is measured and then composed to nodes (libyaml, by PyYAML), which neither runs constructors
nor expands aliases; the nodes are then turned into plain values within bounds, so that a bomb of
aliases ends as a problem. What a plain word stands for is as in YAML 1.2 (its core schema).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from commonfarm.lib.errors import Problem
from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import format_bytes

MOST_BYTES = 4 * 1024 * 1024
MOST_VALUES = 500_000
MOST_EXPANDED = 100_000
MOST_DEPTH = 30
_MOST_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_NAMES_IN_BRACKETS = re.compile(r"\[[0-9a-z]{1,9}:[0-9a-z]{1,9}[]:]")

Place = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """Reads plain words as YAML 1.2 does: `no` and `012` are what they look like."""


_Loader.yaml_implicit_resolvers = {}
_DIGITS = "0123456789"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_WORDS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+", *_DIGITS]),
    ("float", rf"{_FLOAT}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+.", *_DIGITS]),
    ("merge", "<<", ["<"]),
)
for _word, _regex, _begins in _WORDS:
    _Loader.add_implicit_resolver(f"{_TAG}{_word}", re.compile(rf"(?:{_regex})\Z"), _begins)


@dataclass(slots=True)
class Document:
    """One file: its value, where each part of it stands, and what is wrong with it."""

    file: str
    value: Any = None
    places: dict[Place, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def at(self, place: Place, what: str, to_do: str, *, key: bool = False) -> Problem:
        """Return a problem at `place`, or at the nearest part around it that is there."""
        line, column = (key and self.keys.get(place)) or self._nearest(place)
        # What is told holds words of the file, and goes to terminals and mails.
        return Problem(self.file, line, column, harmless(what), harmless(to_do))

    def where(self, place: Place) -> str:
        """Return `file:line:column` of a part, or of the nearest part around it that is there."""
        line, column = self._nearest(place)
        return f"{self.file}:{line}:{column}"

    def _nearest(self, place: Place) -> tuple[int, int]:
        found = (self.places.get(place[:length]) for length in range(len(place), -1, -1))
        return next((at for at in found if at is not None), (0, 0))


def parse(file: str, data: bytes, most: int = MOST_VALUES) -> Document:
    """Read one YAML document from `data`; every fault is in the answer's `problems`.

    One that has more than `most` keys and values is refused; `count` says how many it has.
    """
    document = Document(file)
    text = _text(document, data)
    if text is None:
        return document
    try:
        written = _measure(document, text, most)
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            document.problems.append(
                Problem(file, 1, 1, "the file is empty", "declare something in it, or remove it")
            )
        else:
            document.value = _Plain(document, written + MOST_EXPANDED).value(root, ())
    except _TooMuchError as error:
        document.problems.append(error.problem)
    except MarkedYAMLError as error:
        document.problems.append(_syntax(file, error, text))
    except YAMLError as error:
        document.problems.append(Problem(file, 0, 0, _one_line(str(error)), "mend the YAML"))
    return document


def _measure(document: Document, text: str, most: int) -> int:
    """Return how many keys and values a text has, holding nothing of it.

    Raises where it is too deep or too long.
    """
    depth = count = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, NodeEvent):
            count += 1
            depth += isinstance(event, CollectionStartEvent)
            if depth > MOST_DEPTH or count > most:
                what = f"the estate has more than {MOST_VALUES} keys and values"
                to_do = "make it smaller"
                if depth > MOST_DEPTH:
                    what, to_do = f"this is more than {MOST_DEPTH} levels deep", "flatten it"
                raise _TooMuchError(Problem(document.file, *_at(event.start_mark), what, to_do))
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
    return count


def _text(document: Document, data: bytes) -> str | None:
    """Decode `data`, or note why it is no text."""
    if len(data) > MOST_BYTES:
        document.problems.append(
            Problem(
                document.file,
                0,
                0,
                f"the file is larger than {format_bytes(MOST_BYTES)}",
                "split it into several",
            )
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        document.problems.append(
            Problem(
                document.file,
                before.count(b"\n") + 1,
                error.start - (before.rfind(b"\n") + 1) + 1,
                f"byte 0x{data[error.start]:02x} is not UTF-8",
                "save the file as UTF-8",
            )
        )
        return None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isprintable():
            found = (
                c for c, one in enumerate(line, 1) if not one.isprintable() and one not in "\t\r"
            )
            column = next(found, 0)
            if column:
                what = f"the character {line[column - 1]!a} has no place in a text"
                problem = Problem(document.file, number, column, what, "remove it")
                document.problems.append(problem)
                return None
    return text


def _at(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _syntax(file: str, error: MarkedYAMLError, text: str) -> Problem:
    line, column = _at(error.problem_mark or error.context_mark)
    what = _one_line(error.problem or error.context or "this is not YAML")
    if "\t" in "".join(text.split("\n")[line - 1 : line])[: column + 1]:
        return Problem(file, line, column, "a tab stands where YAML wants spaces", "use spaces")
    rest = "".join(text.split("\n")[line - 1 : line])[column - 1 :]
    if _NAMES_IN_BRACKETS.match(rest):
        what = "a range of names stands within braces or brackets without quotes"
        return Problem(file, line, column, what, 'write it like "arm-[001:100]"')
    if "single document" in (error.context or ""):
        return Problem(file, line, column, "a second document begins", "keep one to a file")
    to_do = "look at colons, brackets, quotes and indentation, here and in the lines just above"
    return Problem(file, line, column, what, to_do)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


class _TooMuchError(Exception):
    """The document is not worth going on with: what it stands for has no reasonable size."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Plain:
    """Turns the nodes of one document into plain values, noting where each stands."""

    def __init__(self, document: Document, most: int) -> None:
        self.document = document
        self.most = most
        self.open: set[int] = set()

    def value(self, node: Node, place: Place) -> Any:
        """Return the value of `node`, None where something is wrong with it."""
        self.document.places[place] = _at(node.start_mark)
        self.document.count += 1
        if len(place) > MOST_DEPTH:
            what = f"this is more than {MOST_DEPTH} levels deep"
            raise _TooMuchError(self.document.at(place, what, "flatten it"))
        if self.document.count > self.most or id(node) in self.open:
            what = "the aliases here expand to too many values"
            raise _TooMuchError(self.document.at(place, what, "write the values out"))
        if isinstance(node, ScalarNode):
            return self.scalar(node, place)
        self.open.add(id(node))
        try:
            if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
            if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
                return self.mapping(node, place)
        finally:
            self.open.remove(id(node))
        return self.foreign(node, place)

    def mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = _at(key_node.start_mark)
            if not isinstance(key_node, ScalarNode) or key_node.tag != f"{_TAG}str":
                what, to_do = "this key is not plain text", "write a plain word"
                if key_node.tag == f"{_TAG}merge":
                    what, to_do = "mappings are not merged here", "write the keys out"
                self.document.problems.append(Problem(self.document.file, *at, what, to_do))
                continue
            key = str(key_node.value)
            if key in found:
                first = self.document.keys[(*place, key)][0]
                what = f"`{harmless(key[:80])}` stands here a second time (first in line {first})"
                problem = Problem(self.document.file, *at, f"the key {what}", "keep one of them")
                self.document.problems.append(problem)
                continue
            self.document.keys[(*place, key)] = at
            self.document.count += 1
            found[key] = self.value(value_node, (*place, key))
        return found

    def scalar(self, node: ScalarNode, place: Place) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_TAG)
        if kind in ("str", "timestamp"):
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if len(text) > _MOST_DIGITS:  # no number of ours; Python would not print it again either
            return text
        try:
            if kind == "int":
                return int(text.replace("_", ""), 0)
            if kind == "float":
                return float(text.replace("_", ""))
        except ValueError:
            return text
        return self.foreign(node, place)

    def foreign(self, node: Node, place: Place) -> None:
        tag = str(node.tag).removeprefix(_TAG)[:80]
        self.wrong(place, f"the tag `{tag}` is not used here", "write the value without a tag")

    def wrong(self, place: Place, what: str, to_do: str) -> None:
        self.document.problems.append(self.document.at(place, what, to_do))
