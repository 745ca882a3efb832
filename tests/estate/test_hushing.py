"""Faults are told without the names of those who give anonymously."""

from __future__ import annotations

import pytest

from commonfarm.estate.facts import Facts
from commonfarm.estate.folder import resolved
from commonfarm.estate.hushing import hushed
from commonfarm.estate.kept import NOTHING
from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import parse
from commonfarm.lib.errors import BadInputError
from tests.estate.making import facts, pledge

GIVERS = """\
sponsors:
  - {name: secretcorp, title: Secret & Sons}
  - {name: nokia, title: Nokia}
pledges:
  - {name: secret-loan, sponsor: secretcorp, what: a rack, disclosure: anonymous}
  - {name: open-loan, sponsor: nokia, what: a shelf}
"""
HOST = "hosts:\n  - {name: anvil, architecture: amd64, cores: 4, memory: 24 GiB%s}\n"


def told(givers: str, more: str = "", before: Facts = NOTHING) -> str:
    texts = [
        Text("givers.yaml", givers.encode()),
        Text("hosts.yaml", (HOST % more).encode()),
    ]
    with pytest.raises(BadInputError) as caught:
        resolved(texts)
    documents = [parse(text.name, text.data) for text in texts]
    return "\n".join(map(str, hushed(caught.value.problems, documents, before)))


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("sponsor: secretcorp", "sponsor: secretcrp"),
        ("disclosure: anonymous", "disclosure: anonymus"),
        ("what: a rack", "what: a rack, until: 2020-13-01"),
        ("{name: open-loan", "{name: secret-loan"),
        ("title: Secret & Sons", "title: Secret & Sons, url: secret.example"),
        ("title: Secret & Sons", "title: Secret & Sons, logo: secret.exe"),
        ("what: a rack", "what: [a, rack of secretcorp], from: {secretcorp: 1}"),
        ("name: secret-loan", "name: [secret-loan]"),
        ("disclosure: anonymous", "disclosure: [anonymous]"),
        ("name: secretcorp, title: Secret & Sons", "name: secret corp, title: Secret & Sons"),
    ],
)
def test_no_fault_names_who_gives_anonymously(was: str, now: str) -> None:
    assert was in GIVERS
    said = told(GIVERS.replace(was, now))
    assert "givers.yaml:" in said, "the place is told"
    assert "secr" not in said.lower()


def test_a_name_that_is_misspelt_elsewhere_is_not_told() -> None:
    assert "secr" not in told(GIVERS, ", pledge: secrt-loan")


def test_what_was_anonymous_before_is_not_told() -> None:
    before = facts(pledge("secret-loan", "secretcorp", disclosure="anonymous"))
    assert "secr" not in told("sponsors: 7", ", pledge: secret-loan", before)


def test_all_else_is_told_in_full() -> None:
    said = told(GIVERS.replace("sponsor: nokia", "sponsor: nokya"), ", pool: x")
    assert "there is no sponsor `nokya`; did you mean `nokia`?" in said
    assert "there is no pool `x`" in said
    assert "open-lone" in told(GIVERS, ", pledge: open-lone")
