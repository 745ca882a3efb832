"""Mirrors that are only imagined: a list in a file, each of which is taken to have every file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.units import parse_bytes
from commonfarm.mirrors.countries import country_code
from commonfarm.redirector.mirror_map import Answers, MapError, Mirror, MirrorMap, Tree, parse

MOST_BYTES = 16 * 2**20
MOST_MIRRORS = 5000
EVERYWHERE = Answers.HTTP4 | Answers.HTTP6 | Answers.HTTPS4 | Answers.HTTPS6


def _country(text: str) -> str:
    try:
        return country_code(text)
    except BadInputError as error:
        raise ValueError(f"{error.problems[0].what}; {error.problems[0].to_do}") from None


class Imagined(BaseModel):
    """A mirror as a file has it: by hand, or as `commonfarm mirror list --json` prints it."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    country: Annotated[str, AfterValidator(_country)]
    subtree: str = ""
    http: str = ""
    https: str = ""
    latitude: float | None = None
    longitude: float | None = None
    as_number: int = 0
    prefixes: list[str] = []
    only_countries: list[str] = []
    only_networks: list[str] = []
    weight: int = 100
    budget: str = ""
    budget_bytes: int = 0


_EXAMPLE = "- {name: north, country: DE, http: 'http://HOST/PATH/'}"
_FAULTS = {
    "missing": "is missing",
    "list_type": "is no list of mirrors",
    "too_short": "lists no mirror",
    "model_type": "is no mirror",
}
_LIST = TypeAdapter(Annotated[list[Imagined], Field(min_length=1, max_length=MOST_MIRRORS)])


def load(file: Path, tree: str) -> MirrorMap:
    """Return a map of the mirrors in a YAML or JSON file, of one tree, and of no files.

    BadInputError names the file and all that is wrong in it.
    """

    def bad(where: str, what: str, to_do: str = "") -> Problem:
        return Problem(f"{file}: {where}" if where else str(file), 0, 0, what, to_do)

    found = _read(file, bad)
    if isinstance(found, dict) and "mirrors" in found:
        found = found["mirrors"]
    if isinstance(found, list):
        found = [_flat(one) for one in found]
    try:
        rows = _LIST.validate_python(found)
        mirrors = [_mirror(one, tree) for one in rows]
    except ValidationError as error:
        raise BadInputError(
            *(bad(_place(found, one["loc"]), *_fault(one)) for one in error.errors()[:20])
        ) from None
    except ValueError as error:
        raise BadInputError(bad("budget", str(error))) from None
    return _map(mirrors, tree, bad)


def _read(file: Path, bad: Any) -> Any:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInputError(bad("", f"cannot be read: {error.strerror}")) from None
    if len(data) > MOST_BYTES:
        raise BadInputError(bad("", f"is larger than {MOST_BYTES} bytes"))
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return YAML(typ="safe", pure=True).load(data)
    except (YAMLError, ValueError, RecursionError) as error:
        text = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise BadInputError(bad("", f"is neither JSON nor YAML: {text}")) from None


def _flat(one: Any) -> Any:
    """Return a row of `commonfarm mirror list --json` with its details beside the rest."""
    details = one.get("details") if isinstance(one, dict) else None
    return {**one, **details} if isinstance(details, dict) else one


def _mirror(row: Imagined, tree: str) -> Mirror:
    fields = row.model_dump(exclude={"budget"})
    if row.budget:
        fields["budget_bytes"] = parse_bytes(row.budget)
    for name in ("prefixes", "only_countries", "only_networks"):
        fields[name] = tuple(fields[name])
    for scheme in ("http", "https"):
        if fields[scheme] and not fields[scheme].endswith("/"):
            fields[scheme] += "/"
    return Mirror(**fields, tree=tree, answers=EVERYWHERE)


def _map(mirrors: list[Mirror], tree: str, bad: Any) -> MirrorMap:
    from commonfarm.redirector.mirror_map.writing import Columns, Head, build  # numpy

    head = Head(1, datetime.now(UTC).isoformat(), mirrors, [Tree(tree, 1, {}, {})])
    try:
        # What reads maps checks them: an imagined mirror is no less right than a real one.
        return parse(bytes(build(head, Columns.of({}, len(mirrors)))))
    except (MapError, ValueError) as error:
        raise BadInputError(bad("", str(error)[:300])) from None


def _fault(error: Mapping[str, Any]) -> tuple[str, str]:
    """Say what is wrong, and what to do where the message does not."""
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, "), ""
    return _FAULTS.get(error["type"], error["msg"]), f"write each mirror as {_EXAMPLE}"


def _place(found: Any, where: tuple[int | str, ...]) -> str:
    if not where:
        return ""
    number, *rest = where
    named = ""
    if isinstance(number, int) and isinstance(found[number], dict):
        named = str(found[number].get("name", ""))[:60]
    text = f"mirror {named or number + 1}" if isinstance(number, int) else str(number)
    return ".".join([text, *map(str, rest)])
