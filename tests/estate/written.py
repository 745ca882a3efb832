"""Facts of files that a test writes out."""

from __future__ import annotations

from textwrap import dedent

from commonfarm.estate.facts import Facts
from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text

GIB = 2**30


def facts(**files: str) -> Facts:
    """Return the facts of files given by name, without their `.yaml`."""
    return resolved([Text(f"{name}.yaml", dedent(text).encode()) for name, text in files.items()])[
        1
    ]


def amounts(found: Facts, instance: str) -> dict[str, tuple[int, int, int]]:
    needs = found.instances[instance].requirement.amounts
    return {key: (one.low, one.likely, one.high) for key, one in needs.items()}
