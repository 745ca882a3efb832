"""The documents are true as far as a machine can tell: links lead somewhere, keys exist."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from commonfarm.lib.config import Listen, Public, default, dump

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (document.parent / link).exists()] == []


def test_the_reference_names_each_key_of_the_configuration() -> None:
    config = default("x", Path("/c"), Path("/s"), Path("/r"), Listen("127.0.0.1", 1, 2, 3, 4, 5))
    origin = "https://farm.example.org"
    public = Public(origin, origin, origin, origin, ("127.0.0.1",))
    text = dump(replace(config, public=public))
    keys = set()
    for name, value in tomllib.loads(text).items():
        keys |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    reference = (ROOT / "docs/reference/configuration.md").read_text()
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", reference, re.MULTILINE)) == keys
