"""What nobody said: every part of an estate that is marked `source: assumption`, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any

from commonfarm.estate.facts import ASSUMPTION, Assumption
from commonfarm.estate.yaml_nodes import Document, Place

_MOST = 200


def assumptions(documents: Sequence[Document]) -> list[Assumption]:
    """Return the assumptions of these files, file by file from top to bottom."""
    return [
        Assumption(document.where(place), shorten(f"{label}: {_shown(what)}", _MOST))
        for document in documents
        for label, place, what in _marked(document.value, (), "")
    ]


def _marked(value: Any, place: Place, label: str) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Yield each marked mapping, what it is called, and where it stands."""
    if isinstance(value, dict):
        called = value.get("name") or value.get("environment")
        if isinstance(called, str):
            label = f"{label} {called}".strip()
        if value.get("source") == ASSUMPTION:
            yield label, place, value
        for key, part in value.items():
            one = key.replace("_", " ").removesuffix("s") if isinstance(part, list) else key
            yield from _marked(part, (*place, key), f"{label}, {one}" if label else one)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _marked(part, (*place, number), label)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        said = {key: part for key, part in value.items() if key not in ("name", "source")}
        return ", ".join(
            f"{key} ({_shown(part)})" if isinstance(part, dict) else f"{key} {_shown(part)}"
            for key, part in said.items()
        )
    if isinstance(value, list):
        return f"[{', '.join(_shown(part) for part in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
