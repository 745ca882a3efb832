"""Editors are told of an estate's files what is true: the JSON Schema passes what is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.estate.schema.editors import json_schema
from commonfarm.estate.yaml_nodes import parse
from tests.estate.test_reader import GOOD

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    *ROOT.glob("examples/*/*.yaml"),
    ROOT / "src/commonfarm/estate/catalogue.yaml",
    ROOT / "tests/estate/full.yaml",
]
BLOCK = re.compile(r"^```yaml\n(.*?)^```$|^cat > \S+\.yaml <<'END'\n(.*?)^END$", re.M | re.S)
OTHERS = ("all:", "scrape_configs:", "# prometheus.yml", "# downloads.yml")
"""How files of Ansible and of Prometheus begin."""
DOCUMENTED = [
    pytest.param(first or second, id=f"{path.relative_to(ROOT)}:{number}")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for number, (first, second) in enumerate(BLOCK.findall(path.read_text()))
    if not (first or second).startswith(OTHERS)
]
SCHEMA = json_schema()
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)


def faults(text: str) -> list[str]:
    """Return what an editor underlines: where in the document, and why."""
    value: Any = parse("a.yaml", text.encode()).value
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in VALIDATOR.iter_errors(value)
    ]


def test_it_is_a_json_schema_of_the_draft_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert jsonschema_rs.meta.is_valid(SCHEMA)
    printed = CliRunner().invoke(app, ["estate", "schema"])
    assert json.loads(printed.stdout) == SCHEMA


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_passes(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("text", DOCUMENTED)
def test_every_estate_in_the_documents_passes(text: str) -> None:
    assert faults(text) == []


def test_the_bad_estates_that_a_schema_can_tell_do_not_pass() -> None:
    for name in ("amounts", "dates", "hosts", "names"):
        path = Path(__file__).parent / "bad" / f"{name}.yaml"
        assert faults(path.read_text()), name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: anvil", "nam: anvil"),
        ("name: anvil", "name: anvil\n    coers: 4"),
        ("name: anvil", "name: anvil\n    memory: 4"),
        ("name: anvil", "name: anvil\n    memory: 4 GiX"),
        ("name: anvil", "name: anvil\n    cores: -1"),
        ("name: anvil", "name: anvil\n    custom_gpu: 1"),
        ("name: anvil", "name: anvil\n    status: gone"),
        ("hosts:", "host:"),
        ("valid_for: 7 d", "valid_for: 7"),
        ("packages:\n      - uri", "packages: hots\n    more:\n      - uri"),
        ("pools:", "policy: {survive: [raack]}\npools:"),
        ("pools:", "sizes: [{name: small, memory: {low: 1 GiB, high: 2 GiB}}]\npools:"),
    ],
)
def test_what_is_wrong_is_underlined(old: str, new: str) -> None:
    assert faults(GOOD) == []
    assert old in GOOD
    assert faults(GOOD.replace(old, new))


def test_the_reference_names_every_key() -> None:
    text = (ROOT / "docs" / "reference" / "estate.md").read_text()
    kinds = {"file": SCHEMA, **SCHEMA["$defs"]}
    keys = {key for kind in kinds.values() for key in kind.get("properties", {})}
    assert {"bare_metal", "from", "ratio_of", "survive"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in text) == []
