"""The estates of `examples/` as their sysadmins use them: commands on a folder, what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.lib.errors import CommonfarmError

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str

    @property
    def json(self) -> Any:
        """What it printed with `--json`."""
        return json.loads(self.text)

    @property
    def lines(self) -> list[str]:
        """Its lines, without the spaces before them."""
        return [line.strip() for line in self.text.splitlines()]


def estate(*arguments: object) -> Said:
    """Run `commonfarm estate …` in this process; errors are as `commonfarm` prints them."""
    try:
        said = ["estate", *map(str, arguments)]
        done = CliRunner().invoke(app, said, catch_exceptions=False)
    except CommonfarmError as error:
        return Said(int(error.exit_code), str(error))
    return Said(done.exit_code, done.output)


Others = Mapping[str, Sequence[tuple[str, str, str]]]
"""How what is assumed could be otherwise: of a file, texts, and less and more in place of each."""


def changed(example: str, folder: Path, *changes: tuple[str, str, str]) -> Path:
    """Copy an example into a folder with texts replaced: of a file, what by what."""
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy)
    for name, old, new in changes:
        text = (copy / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (copy / name).write_text(text.replace(old, new))
    return copy


def otherwise(example: str, folder: Path, others: Others) -> dict[str, Path]:
    """Return the example as it stands, with less of all that is assumed, and with more."""
    found = {"as assumed": EXAMPLES / example}
    for column, way in enumerate(("less", "more"), 1):
        (folder / way).mkdir()
        changes = [(file, row[0], row[column]) for file, rows in others.items() for row in rows]
        found[way] = changed(example, folder / way, *changes)
    return found


def unvaried(example: str, folder: Path, others: Others) -> set[str]:
    """Return the assumptions of an example that stay as they are with less, or with more."""
    assumed = {
        way: {one["what"] for one in estate("check", where, "--json").json["assumptions"]}
        for way, where in otherwise(example, folder, others).items()
    }
    return assumed["as assumed"] & (assumed["less"] | assumed["more"])
