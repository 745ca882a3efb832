"""A mirror says in which country it is; where its addresses are is looked up."""

from __future__ import annotations

import pytest

from commonfarm.mirrors.countries import elsewhere
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.steps import probe
from tests.mirrors.conftest import NOW

GERMAN, AMERICAN, NOWHERE = "193.99.144.80", "8.8.8.8", "127.0.0.1"


@pytest.mark.parametrize(
    ("country", "addresses", "told"),
    [
        ("DE", [GERMAN], ""),
        ("FR", [GERMAN], f"its address {GERMAN} is in Germany (DE)"),
        ("US", [GERMAN, AMERICAN], ""),
        ("FR", [NOWHERE, "::1", "::ffff:8.8.8.8"], "is in United States (US)"),
        ("FR", [NOWHERE], ""),
        ("EU", [GERMAN], ""),
        ("FR", [], ""),
    ],
)
def test_who_is_elsewhere(country: str, addresses: list[str], told: str) -> None:
    found = elsewhere(country, addresses, [])
    assert told in found and bool(told) == bool(found)


def test_a_probe_says_it(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "addresses_of", lambda *_: ("8.8.8.8",))
    probe.probe(mirror.pk, NOW)
    mirror.refresh_from_db()
    assert "8.8.8.8 is in United States (US)" in mirror.country_problem
