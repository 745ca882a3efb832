"""What is wrong with a thing, in our words: pydantic's errors, told at their places in the file."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from commonfarm.estate.schema.common import own
from commonfarm.estate.yaml_nodes import Document, Place
from commonfarm.lib.errors import Problem
from commonfarm.lib.hints import hint

_UNKNOWN = "extra_forbidden"
_ALSO_CALLED = {
    "arch": "architecture",
    "cpu": "cores",
    "cpus": "cores",
    "ram": "memory",
    "storage": "disk",
    "vcpus": "cores",
}


def explained(
    kind: type[BaseModel], document: Document, place: Place, error: ValidationError
) -> list[Problem]:
    """Return pydantic's errors with a thing of `kind` at `place` as problems in our words."""
    errors = error.errors()
    unknown = {place_of(one) for one in errors if one["type"] == _UNKNOWN}
    # What stands at a key that is not known is of no kind.
    judged = [one for one in errors if one["type"] == _UNKNOWN or place_of(one) not in unknown]
    return [_explained(kind, document, place, one) for one in judged]


def _explained(
    kind: type[BaseModel], document: Document, place: Place, error: ErrorDetails
) -> Problem:
    inside = place_of(error)
    at = (*place, *inside)
    context = error.get("ctx", {})
    last = str(inside[-1]) if inside else ""
    match error["type"]:
        case "estate":
            return document.at(at, context["what"], context["to_do"])
        case "missing":
            return document.at(at[:-1], f"`{last}` is missing", f"add `{last}:`")
        case "extra_forbidden":
            keys = _keys_at(kind, inside[:-1])
            meant = _ALSO_CALLED.get(last.casefold(), last)
            to_do = (own(last) if "cores" in keys else "") or hint(meant, keys)
            return document.at(at, f"unknown key `{last[:80]}`", to_do, key=True)
        case "string_type":
            what = f"{_named(last)} is {kind_of(error['input'])}, not text"
            return document.at(at, what, "write text, in quotes if it looks like a number")
        case "bool_type":
            what = f"{_named(last)} is {kind_of(error['input'])}"
            return document.at(at, what, "write true or false")
        case "list_type":
            what = f"{_named(last)} is {kind_of(error['input'])}, not a list"
            return document.at(at, what, "write [one, two], or an item a line after hyphens")
        case "literal_error":
            what = f"{_named(last)} is {error['input']!r:.80}"
            return document.at(at, what, f"write {context['expected']}")
        case "int_type":
            what = f"{_named(last)} is {kind_of(error['input'])}, not a whole number"
            return document.at(at, what, "write one such as 3")
        case "greater_than_equal" | "less_than_equal":
            what = f"{_named(last)} is {error['input']}"
            least = f"write {context['ge']} or more" if "ge" in context else ""
            return document.at(at, what, least or f"write {context['le']} or less")
        case "model_type" | "model_attributes_type" | "dict_type":
            one = f"`{last}`" if last and not last.isdigit() else "this item"
            what = f"{one} is {kind_of(error['input'])}, not a mapping"
            named = "name" in _keys_at(kind, inside)
            first = "`name: …` and its other keys" if named else "`key: value`, a line each"
            return document.at(at, what, f"write {first}")
    return document.at(at, error["msg"], "")


def place_of(error: ErrorDetails) -> Place:
    """Return where in a thing an error is.

    pydantic puts the branch of a union into it, in brackets; no key of ours looks so.
    """
    place = tuple(part for part in error["loc"] if not (isinstance(part, str) and "[" in part))
    return (*place, *error.get("ctx", {}).get("inside", ()))


def _keys_at(kind: type[BaseModel], inside: Sequence[str | int]) -> list[str]:
    """Return the keys that may stand at `inside` an item of `kind`."""
    model: type[BaseModel] | None = kind
    for part in inside:
        if isinstance(part, str) and model is not None and part in model.model_fields:
            model = _innermost(model.model_fields[part].annotation)
    if model is None:
        return []
    return [field.alias or key for key, field in model.model_fields.items()]


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


def _named(key: str) -> str:
    return f"item {int(key) + 1}" if key.isdigit() else f"`{key}`"


def kind_of(value: object) -> str:
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
