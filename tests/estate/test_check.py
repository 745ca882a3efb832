"""`commonfarm estate check`: counts, what nobody said, and a judgement as of a day."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner, Result

from commonfarm.estate.cli import app
from commonfarm.lib.errors import BadInputError


@pytest.fixture
def lent(tmp_path: Path) -> Path:
    """An estate whose only host goes in 2013."""
    (tmp_path / "a.yaml").write_text(
        dedent(
            """\
            sponsors: [{name: nokia}]
            pledges: [{name: loan, sponsor: nokia, what: hosts, until: 2013-01-01}]
            hosts: [{name: "mer[1:3]", architecture: amd64, pledge: loan}]
            sizes: [{name: small, memory: 1 GiB, source: assumption}]
            services:
              - name: wiki
                components: [{name: web, instances: [{count: 2, on: [mer1]}]}]
            catalogue: [{name: box, cost: 1, architecture: amd64}]
            """
        )
    )
    return tmp_path


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["estate", "check", *map(str, arguments)])


def test_counts_and_assumptions_are_told(lent: Path) -> None:
    assert check(lent, "--at", "2012-01-01").stdout.splitlines() == [
        (
            "nothing wrong: sponsors 1, pledges 1, hosts 3, sizes 1, services 1, catalogue 1,"
            " instances 2"
        ),
        "rests on 1 assumption:",
        "  a.yaml:4:9: size small: memory 1 GiB",
    ]
    told = json.loads(check(lent, "--at", "2012-01-01", "--json").stdout)
    assert told["counts"]["instances"] == 2
    assert told["counts"]["targets"] == 0
    assert told["assumptions"] == [{"where": "a.yaml:4:9", "what": "size small: memory 1 GiB"}]


def test_what_runs_today_is_judged_by_the_day(lent: Path) -> None:
    for day in (("--at", "2013-01-01"), ()):
        done = check(lent, *day)
        assert isinstance(done.exception, BadInputError)
        assert str(done.exception) == (
            "a.yaml:7:58: the pledge loan of the host mer1 ended on 2013-01-01;"
            " take it away, or say until when the host is lent"
        )
