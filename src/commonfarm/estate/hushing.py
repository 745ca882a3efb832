"""Faults of an estate as others may read them: they name nobody who gives anonymously. Pure.

Files with faults come to no facts, so who is to be kept out is read from what they say as far as
it goes, and in doubt more is kept out. The commands that read the folder tell all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from commonfarm.estate.disclosure import hidden_words
from commonfarm.estate.facts import Facts
from commonfarm.estate.yaml_nodes import Document, Place
from commonfarm.lib.errors import Problem

NOT_SAID = "(anonymous)"
MOST_COMPARED = 200
_OPEN = ("public", "amount hidden")
_QUOTED = re.compile(r"`([^`]+)`")


def hushed(
    problems: Sequence[Problem], documents: Sequence[Document], before: Facts
) -> list[Problem]:
    """Return problems of these files without the names that they, or the facts before, hide.

    What lies in a sponsor or pledge that is hidden is told by its place alone.
    """
    quiet, givers = _quiet(documents)
    hidden = hidden_words(before) | {one for one in (*quiet, *givers) if one}
    hidden |= {
        str(item.get("title"))
        for _, _, item in _items(documents, "sponsors")
        if "title" in item and str(item.get("name")) in givers
    }
    if not hidden:
        return list(problems)
    lines = {
        (document.file, line)
        for document in documents
        for start, end in _spans(document, hidden)
        for line in range(start, end + 1)
    }
    pattern = re.compile("|".join(map(re.escape, sorted(hidden, key=len, reverse=True))))
    return [_without(one, hidden, pattern, lines) for one in problems]


def _without(
    problem: Problem, hidden: set[str], pattern: re.Pattern[str], lines: set[tuple[str, int]]
) -> Problem:
    if (problem.file, problem.line) in lines:
        what = "a fault in what is given anonymously, which is told where the files are"
        return replace(problem, what=what, to_do="commonfarm estate check DIR")

    def quoted(found: re.Match[str]) -> str:
        # What was meant is told by a name that is misspelt, too.
        # Of very many names any might be: to compare them takes time.
        close = len(hidden) > MOST_COMPARED or get_close_matches(found[1], hidden, 1)
        return f"`{NOT_SAID}`" if close else found[0]

    what, to_do = (
        pattern.sub(NOT_SAID, _QUOTED.sub(quoted, text)) for text in (problem.what, problem.to_do)
    )
    return replace(problem, what=what, to_do=to_do)


def _quiet(documents: Sequence[Document]) -> tuple[set[str], set[str]]:
    """Return pledges that are not said to be open, and the sponsors that give in no other way."""
    quiet, givers, known = set(), set(), set()
    for _, _, item in _items(documents, "pledges"):
        name, sponsor = str(item.get("name", "")), str(item.get("sponsor", ""))
        if item.get("disclosure", "public") in _OPEN:
            known.add(sponsor)
        else:
            quiet.add(name)
            givers.add(sponsor)
    declared = {str(item.get("name", "")) for _, _, item in _items(documents, "sponsors")}
    if givers - declared:  # one is misspelt, and may be any that gives nothing openly
        givers |= declared
    return quiet, givers - known


def _items(
    documents: Iterable[Document], section: str
) -> Iterator[tuple[Document, Place, dict[str, Any]]]:
    for document in documents:
        items = document.value.get(section) if isinstance(document.value, dict) else None
        for number, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                yield document, (section, number), item


def _spans(document: Document, hidden: set[str]) -> Iterable[tuple[int, int]]:
    """Return the first and the last line of each sponsor and pledge with such a name in it."""
    items = [one for section in ("sponsors", "pledges") for one in _items([document], section)]
    found: dict[Place, tuple[int, int]] = {
        place: document.places.get(place, (0, 0))
        for _, place, item in items
        if {str(item.get("name")), str(item.get("sponsor"))} & hidden
    }
    found = {place: (line, line) for place, (line, _) in found.items()}
    for inside, (line, _) in document.places.items():
        if inside[:2] in found:
            start, end = found[inside[:2]]
            found[inside[:2]] = (min(start, line), max(end, line))
    return found.values()
