"""What is left of a thing without its faulty parts, so that all else in it can be judged too."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from commonfarm.estate.explaining import place_of
from commonfarm.estate.yaml_nodes import Document, Place

T = TypeVar("T", bound=BaseModel)

_ROUNDS = 4


def what_is_left(
    kind: type[T], document: Document, place: Place, value: Any, error: ValidationError
) -> tuple[T, Document] | None:
    """Return a thing without its faulty parts, and a document in which what is left has its place.

    None where it is nothing without them. A part that is faulty is taken out; where its mapping
    cannot do without it, the nearest item of a list around it.
    """
    taken: set[Place] = set()
    old: dict[Place, Place] = {}
    left = value
    for _ in range(_ROUNDS):
        for one in error.errors():
            inside = _written(left, place_of(one))
            around = _item_around(inside) if one["type"] == "missing" else inside
            if not around:
                return None
            taken.add(old.get(around, around))
        old = {}
        left = _without(value, taken, (), (), old)
        try:
            thing = kind.model_validate(left)
        except ValidationError as again:
            error = again
            continue
        places = {(*place, *new): document.places[(*place, *was)] for new, was in old.items()}
        return thing, Document(document.file, places=places)
    return None


def _written(value: Any, place: Place) -> Place:
    """Return as much of a place as stands in the file: what may be a list may be written alone."""
    for length, part in enumerate(place):
        inside = isinstance(value, dict) and part in value
        if not inside and not (isinstance(value, list) and isinstance(part, int)):
            return place[:length]
        value = value[part]
    return place


def _item_around(place: Place) -> Place:
    while place and not isinstance(place[-1], int):
        place = place[:-1]
    return place


def _without(value: Any, taken: Set[Place], was: Place, new: Place, old: dict[Place, Place]) -> Any:
    """Return a copy without what is taken; note in `old` where each part of it was."""
    old[new] = was
    if isinstance(value, dict):
        return {
            key: _without(part, taken, (*was, key), (*new, key), old)
            for key, part in value.items()
            if (*was, key) not in taken
        }
    if isinstance(value, list):
        kept = [number for number in range(len(value)) if (*was, number) not in taken]
        return [
            _without(value[number], taken, (*was, number), (*new, at), old)
            for at, number in enumerate(kept)
        ]
    return value
