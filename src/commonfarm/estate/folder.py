"""The estate in a folder, as declared and as facts: how every verb gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from commonfarm.estate.facts import Facts
from commonfarm.estate.files import read_files
from commonfarm.estate.reader import Estate, Text, survey
from commonfarm.estate.resolve import architecture
from commonfarm.estate.resolving import resolve
from commonfarm.estate.resolving.assumptions import BUILT_IN
from commonfarm.lib.errors import BadInputError


def read_facts(directory: Path, today: date | None = None) -> Facts:
    """Return what the YAML files of a folder say; raise BadInputError with all that is wrong.

    With `today`, what is said to run on a host whose pledge has ended is wrong too.
    """
    return resolved(read_files(directory), today)[1]


def resolved(texts: Sequence[Text], today: date | None = None) -> tuple[Estate, Facts]:
    """Return what files declare, and the facts they come to; raise as `read_facts`."""
    estate, problems = survey(texts)
    built_in = not estate.names.of["catalogue"]
    kinds = _catalogue().catalogue if built_in else estate.catalogue
    try:
        facts = resolve(replace(estate, catalogue=kinds), today, architecture)
    except BadInputError as error:
        raise BadInputError(*problems, *error.problems) from None
    if problems:
        raise BadInputError(*problems)
    return estate, facts


@cache
def _catalogue() -> Estate:
    """Return the kinds of host that may be asked for where an estate names none."""
    data = package_files("commonfarm.estate").joinpath("catalogue.yaml").read_bytes()
    return survey([Text(BUILT_IN, data)])[0]
