"""What nobody said, in words: all of an estate that is marked `source: assumption`.

A mapping may be marked as a whole, or some of its keys: `source: {disk: assumption}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import shorten
from typing import Any

from commonfarm.estate.facts import ASSUMPTION, Assumption, HostKind
from commonfarm.estate.resources import show
from commonfarm.estate.yaml_nodes import Document, Place

BUILT_IN = "built-in catalogue"
"""The file, so to speak, in which kinds of host stand where an estate has no catalogue."""

_MOST = 200


def assumptions(documents: Sequence[Document]) -> list[Assumption]:
    """Return the assumptions of these files, file by file from top to bottom."""
    return [
        Assumption(document.where(place), shorten(f"{label}: {_shown(what)}".rstrip(": "), _MOST))
        for document in documents
        for label, place, what in _marked(document.value, (), "")
    ]


def assumed_kinds(kinds: Iterable[HostKind]) -> list[Assumption]:
    """Return what is assumed where these kinds of host are counted on and no estate declares them.

    It is none of an estate's assumptions as long as nothing rests on it.
    """
    return [
        Assumption(one.where, f"{one.title}: cost {one.cost}, {show(one.host.capacity)}")
        for one in kinds
        if one.where.startswith(BUILT_IN)
    ]


def _marked(value: Any, place: Place, label: str) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Yield each marked mapping, what it is called, and where it stands."""
    if isinstance(value, dict):
        called = value.get("name") or value.get("environment")
        if isinstance(called, str):
            label = f"{label} {called}".strip()
        assumed = _assumed(value)
        if assumed is not None:
            yield label, place, assumed
        for key, part in value.items():
            one = key.replace("_", " ").removesuffix("s") if isinstance(part, list) else key
            yield from _marked(part, (*place, key), f"{label}, {one}" if label else one)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _marked(part, (*place, number), label)


def _assumed(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return what of a mapping is marked, all of it or the keys that are named; None if nothing."""
    source = value.get("source")
    if source == ASSUMPTION:
        return {key: part for key, part in value.items() if key not in ("name", "source")}
    named = source if isinstance(source, dict) else {}
    marked = [key for key, text in named.items() if text == ASSUMPTION and key in value]
    return {key: value[key] for key in value if key in marked} or None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_shown(part)})" if isinstance(part, dict) else f"{key} {_shown(part)}"
            for key, part in value.items()
            if key != "source"
        )
    if isinstance(value, list):
        return f"[{', '.join(_shown(part) for part in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
