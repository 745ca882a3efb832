"""`commonfarm estate plan` as one who runs the machines reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.estate.plan import Plan
from commonfarm.lib.errors import BadInputError

HALL = """
sites: [{name: hall}]
sponsors: [{name: acme}]
pledges:
  - {name: loan, sponsor: acme, what: a server, from: 2026-01-01, until: 2027-02-01}
hosts:
  - {name: h1, site: hall, architecture: amd64, cores: 8, memory: 16 GiB, disk: 500 GB,
     pledge: loan}
  - {name: h2, site: hall, architecture: amd64, cores: 4, memory: 8 GiB, disk: 200 GB,
     source: assumption}
services:
  - name: wiki
    components:
      - name: web
        requires: {memory: 4 GiB}
        spread: [{over: host, at_most: 1}]
        instances: [{environment: production, count: 4, on: [h1]}]
      - name: db
        requires: {memory: {low: 4 GiB, likely: 8 GiB, high: 16 GiB},
                   traits: {preferred: [CUSTOM_SSD]}}
        instances: [{environment: production, on: [h1]}]
"""


def run(folder: Path, text: str, *options: str) -> tuple[int, str]:
    (folder / "estate.yaml").write_text(text)
    done = CliRunner().invoke(
        app, ["estate", "plan", str(folder), "--at", "2026-11-21", *options], catch_exceptions=False
    )
    return done.exit_code, done.stdout


def test_short_says_what_first_matters(tmp_path: Path) -> None:
    code, told = run(tmp_path, HALL)
    assert code == 1
    assert told.splitlines() == [
        "3 of 5 instances are placed from 2026-11-21 until 2027-02-01",
        "  no plan places more: checked",
        "  at high 2 of 5 instances are placed",
        "  with a range of needs, 1 fits at likely: wiki/db/production/1",
        "  1 of 3 that are needed has a place: wiki/web/production/2 on h2",
        "",
        "not placed:",
        "  wiki/web/production/3-4",
        (
            "    needs to be spread over hosts; nearest: host h1 has wiki/web/production/1 and at"
            " most 1 may be in one (estate.yaml:16:18)"
        ),
        "      lifted by: room in another host, or `should` for `must` at estate.yaml:16:18",
        "",
        "wishes that are not kept:",
        "  wiki/db/production/1 on h1: without CUSTOM_SSD",
        "",
        "on 2027-02-01 pledge loan of acme ends:",
        (
            "  2 instances then without a host: wiki/db/production/1, wiki/web/production/1, and 2"
            " as before"
        ),
        "",
        "rests on 1 assumption:",
        (
            "  estate.yaml:9:5: host h2: site hall, architecture amd64, cores 4, memory 8 GiB,"
            " disk 200 GB"
        ),
    ]


def test_full_says_where_each_is_and_until_when_and_all_reasons(tmp_path: Path) -> None:
    _, told = run(tmp_path, HALL, "--full")
    assert "  h1 (until 2027-02-01): wiki/web/production/1\n" in told
    assert "  h1 (until 2027-02-01, not at high): wiki/db/production/1\n" in told
    assert "  h2 (no known end): wiki/web/production/2\n" in told
    assert "  1 of 3 that are needed has a place:\n    wiki/web/production/2 on h2\n" in told
    assert "    wiki/db/production/1: fits at low only\n" in told
    assert "      host h1 would take it and is there until 2027-02-01 only (pledge loan)\n" in told


def test_what_fits_ends_by_0_and_moves_are_told(tmp_path: Path) -> None:
    text = HALL.replace("[{environment: production, count: 4, on: [h1]}]", "[{on: [h2]}]")
    code, told = run(tmp_path, text.replace("{memory: 4 GiB}", "{memory: 4 GiB, cores: 5}"))
    assert code == 0
    assert told.splitlines()[:6] == [
        "all 2 are placed from 2026-11-21 until 2027-02-01",
        "  no plan places more: checked",
        "  at high 1 of 2 instances is placed",
        "  with a range of needs, 1 fits even at high: wiki/db/production/1",
        "",
        "1 move, the fewest by the solver's word:",
    ]
    assert "  wiki/web/production/1: h2 -> h1\n" in told


RANGES = """
hosts:
  - {name: a10, architecture: amd64, cores: 4, memory: 8 GiB}
  - {name: a2, architecture: amd64, cores: 4, memory: 8 GiB}
  - {name: b, architecture: arm64, cores: 4, memory: 1 GiB}
services:
  - name: wiki
    components:
      - name: web
        requires: {memory: {low: 1 GiB, likely: 2 GiB, high: 3 GiB}, architecture: amd64}
        instances: [{environment: production, count: 3, status: planned}]
      - name: db
        requires: {memory: {low: 8 GiB, likely: 16 GiB, high: 32 GiB}}
      - name: log
        requires: {memory: {low: 9 GiB, likely: 10 GiB, high: 11 GiB}}
"""


def test_how_far_each_range_fits(tmp_path: Path) -> None:
    _, told = run(tmp_path, RANGES)
    assert (
        "  with a range of needs, 3 fit even at high: wiki/web/production/1-3; 1 fits at low only:"
        " wiki/db/production/1; 1 does not fit even at low: wiki/log/production/1\n"
    ) in told
    assert "  wiki/log/production/1: not even at low\n" in told
    assert "  wiki/db/production/1: fits at low only\n" in told


def test_those_of_one_reason_that_would_fit_at_low_are_named(tmp_path: Path) -> None:
    many = RANGES.replace("high: 32 GiB}}", "high: 32 GiB}}\n        instances: [{count: 3}]")
    _, told = run(tmp_path, many.partition("      - name: log")[0].replace("count: 3, s", "s"))
    assert "  wiki/db/production/1-3\n    at low wiki/db/production/1 would fit\n" in told


def test_what_is_needed_or_planned_and_where_it_has_a_place(tmp_path: Path) -> None:
    text = RANGES.replace("low: 1 GiB, likely: 2 GiB, high: 3 GiB", "low: 4 GiB, likely: 4 GiB")
    text = text.replace("likely: 4 GiB}", "likely: 4 GiB, high: 4 GiB}")
    _, told = run(tmp_path, text)
    rows = "wiki/web/production/1-2 on a10, wiki/web/production/3 on a2"
    assert f"  3 of 5 that are needed or planned have a place: {rows}\n" in told
    _, told = run(tmp_path, text, "--full")
    where = told.partition("where each is placed")[2].splitlines()
    assert where[1:4] == [
        "  a2 (no known end): wiki/web/production/3",
        "  a10 (no known end): wiki/web/production/1-2",
        "  nothing on 1 host: b",
    ]


def test_how_many_more_of_what_is_needed_have_a_place(tmp_path: Path) -> None:
    hosts = "".join(f"\n  - {{name: c{n}, architecture: s390x, cores: 4}}" for n in range(9))
    text = RANGES.partition("services:")[0].rstrip() + hosts
    text += "\nservices: [{name: log, components: [{name: app, requires: {architecture: s390x,"
    text += " dedicated: true}, instances: [{count: 9}]}]}]"
    _, told = run(tmp_path, text)
    assert "  all 9 that are needed have a place: log/app/production/1 on " in told
    assert told.count("log/app/production/") == 8
    assert ", 1 more\n" in told


def test_a_wish_that_is_not_kept_names_those_that_are_placed(tmp_path: Path) -> None:
    text = """
hosts: [{name: a, architecture: amd64, cores: 2}]
services:
  - name: wiki
    components:
      - name: web
        requires: {cores: 1}
        spread: [{over: host, strength: should}]
        instances: [{count: {low: 1, likely: 2, high: 4}}]
"""
    said = run(tmp_path, text)[1].splitlines()
    start = said.index("wishes that are not kept:")
    assert said[start + 1] == "  spread over host (estate.yaml:8:18): wiki/web/production/1-2"


def test_one_instance_is_told_in_the_singular(tmp_path: Path) -> None:
    text = (
        RANGES.partition("      - name: web")[0] + "      - {name: db, requires: {memory: 1 GiB}}"
    )
    _, told = run(tmp_path, text)
    assert told.startswith("the one instance is placed from 2026-11-21\n")
    assert "  the one that is needed has a place: wiki/db/production/1 on " in told
    _, told = run(tmp_path, text.replace("{memory: 1 GiB}}", "{memory: 64 GiB}}"))
    assert told.startswith("0 of 1 instance is placed from 2026-11-21\n")


def test_the_plan_is_written_and_printed_as_the_verifier_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "estate"
    folder.mkdir()
    _, told = run(folder, HALL, "--json", "--out", str(tmp_path / "plan.json"))
    assert (tmp_path / "plan.json").read_text() == told
    assert len(Plan.from_json(told, "plan.json").intervals) == 2
    verify = ["estate", "verify", str(tmp_path / "plan.json"), str(folder)]
    assert CliRunner().invoke(app, verify).exit_code == 0


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written: No such file or directory"):
        run(tmp_path, HALL, "--out", str(tmp_path / "none" / "plan.json"))


def test_an_estate_without_services_has_nothing_to_place(tmp_path: Path) -> None:
    code, told = run(tmp_path, HALL.partition("services:")[0])
    assert code == 0
    assert told.startswith("no service says what it needs, so there is nothing to place\n")


def test_help_loads_neither_django_nor_the_solver() -> None:
    code = (
        "import sys; from commonfarm.cli.main import main\n"
        "sys.argv = ['commonfarm', 'estate', 'plan', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'django', 'ortools', 'numpy', 'pygal'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_runs_where_a_loan_ends_before_the_day_asked_for_has_to_move(tmp_path: Path) -> None:
    lent = HALL.replace("until: 2027-02-01", "until: 2190-02-01").replace("count: 4", "count: 1")
    (tmp_path / "estate.yaml").write_text(lent.replace("high: 16 GiB", "high: 8 GiB"))
    for verb in ("plan", "wanted", "cliff", "forecast"):
        at = ("estate", verb, str(tmp_path), "--at", "2190-02-02")
        done = CliRunner().invoke(app, at, catch_exceptions=False)
        assert done.exit_code < 2
        if verb == "plan":
            assert "wiki/web/production/1: h1 -> h2" in done.stdout
    with pytest.raises(BadInputError, match="ended on 2190-02-01"):
        check = ("estate", "check", str(tmp_path), "--at", "2190-02-02")
        CliRunner().invoke(app, check, catch_exceptions=False)
