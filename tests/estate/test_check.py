"""`commonfarm estate check`: counts, what nobody said, and a judgement as of a day."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner, Result

from commonfarm.estate import logos, schema
from commonfarm.estate.cli import app
from commonfarm.estate.facts import Sponsor
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


def test_a_logo_that_is_none_is_told_before_it_is_loaded(lent: Path) -> None:
    file = lent / "a.yaml"
    file.write_text(file.read_text().replace("{name: nokia}", "{name: nokia, logo: nokia.webp}"))
    done = check(lent, "--at", "2012-01-01")
    assert str(done.exception).startswith(
        "a.yaml:1:12: the logo 'nokia.webp' of nokia cannot be read: No such file or directory;"
    )
    (lent / "nokia.webp").mkdir()
    assert "is no plain file" in str(check(lent, "--at", "2012-01-01").exception)
    (lent / "nokia.webp").rmdir()
    (lent / "nokia.webp").write_bytes(bytes(logos.MOST_BYTES + 1))
    assert "is larger than 256.0 KiB" in str(check(lent, "--at", "2012-01-01").exception)
    (lent / "nokia.webp").write_bytes(b"RIFF")
    assert check(lent, "--at", "2012-01-01").exit_code == 0


def test_logos_are_read_once_and_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logos, "MOST_TOGETHER", 2)
    asked: list[str] = []

    def other(name: str) -> bytes:
        asked.append(name)
        return b"x"

    one = Sponsor("nokia", "Nokia", None, "a.svg", None, "a.yaml:1:1")
    names = ("a.svg", "a.svg", "b.svg", "c.svg", "d.svg")
    with pytest.raises(BadInputError, match="those before are larger"):
        logos.read([replace(one, logo=name) for name in names], other)
    assert asked == ["a.svg", "b.svg", "c.svg"]


@pytest.mark.parametrize("name", ["x.svg", "x.png", "x.jpg", "x.jpeg", "x.webp"])
def test_each_kind_of_logo_that_may_be_named_is_shown(name: str) -> None:
    schema.Sponsor(name="nokia", logo=name)
    assert logos.kind_of(name).startswith("image/")


def test_what_runs_today_is_judged_by_the_day(lent: Path) -> None:
    for day in (("--at", "2013-01-01"), ()):
        done = check(lent, *day)
        assert isinstance(done.exception, BadInputError)
        assert str(done.exception) == (
            "a.yaml:7:58: the pledge loan of the host mer1 ended on 2013-01-01;"
            " take it away, or say until when the host is lent"
        )
