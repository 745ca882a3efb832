"""`commonfarm estate verify` as one who was sent a plan reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.estate.facts import LEVELS
from commonfarm.estate.folder import read_facts
from commonfarm.estate.plan import Plan
from commonfarm.lib.errors import BadInputError
from tests.estate.making import TODAY
from tests.estate.plans import answer, everywhere, plan

ESTATE = """
hosts:
  - {name: one, architecture: amd64, cores: 4, memory: 8 GiB}
  - {name: two, architecture: amd64, cores: 4, memory: 8 GiB, source: assumption}
services:
  - name: wiki
    components:
      - name: web
        requires: {memory: 4 GiB}
        instances: [{environment: production, on: [one]}]
"""
WIKI = "wiki/web/production/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "estate.yaml").write_text(ESTATE)
    return tmp_path


def made(folder: Path, host: str = "one", **changes: object) -> Plan:
    facts = read_facts(folder, TODAY)
    placed = replace(answer(facts, {WIKI: host}), **changes)  # type: ignore[arg-type]
    return plan(facts, dict.fromkeys(LEVELS, placed))


def verify(folder: Path, file: Plan | str, *options: str) -> tuple[int, str]:
    path = folder / "plan.json"
    path.write_text(file.to_json() if isinstance(file, Plan) else file)
    arguments = ["estate", "verify", str(path), str(folder), *options]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return done.exit_code, done.stdout


def test_a_plan_that_holds(folder: Path) -> None:
    code, said = verify(folder, made(folder))
    assert code == 0
    assert said.startswith(
        "holds: all that it promises\n"
        "checked as of 2026-01-15: 3 placements in 1 interval at low, likely and high,"
        " 0 rows of certificates\n"
        "most placed: checked\n"
        "fewest moves: checked\n"
        "rests on "
    )
    assert "\n  estate.yaml:4:5: host two: " in said


def test_what_is_the_solvers_word_is_said_to_be(folder: Path) -> None:
    code, said = verify(folder, made(folder, "two", fewest_moves="proven"))
    assert code == 0
    assert "most placed: checked\nfewest moves: the solver's word\n" in said


def test_what_more_there_could_be_is_said(folder: Path) -> None:
    facts = read_facts(folder, TODAY)
    none = replace(everywhere(facts, {}), safe_until={})
    code, said = verify(folder, none)
    assert code == 0
    weight = facts.instances[WIKI].priority
    assert "most placed: the best that was found\n" in said
    assert f"  2026-01-15, likely: weighs 0, and none weighs more than {weight}\n" in said


def test_a_plan_that_does_not_hold(folder: Path) -> None:
    code, said = verify(folder, made(folder, weight=7, moved={WIKI: "two"}))
    assert code == 1
    assert said.startswith("does not hold: 6 broken promises\n")
    moves = "what moves, or from where, is other than it says: wiki/web/production/1"
    assert f"  2026-01-15, low: {moves}\n" in said


def test_a_stale_plan_says_what_to_do_and_what_still_holds(folder: Path) -> None:
    before = made(folder)
    (folder / "estate.yaml").write_text(ESTATE.replace("8 GiB", "9 GiB"))
    code, said = verify(folder, before)
    assert code == 1
    assert said.startswith(
        "stale: the estate's files have changed since the plan was made\n"
        f"  make it anew: commonfarm estate plan {folder} --out FILE\n"
        "all that it promises still holds\n"
    )


def test_json(folder: Path) -> None:
    code, said = verify(folder, made(folder), "--json")
    document = json.loads(said)
    assert (code, document["holds"], document["violations"]) == (0, True, [])
    assert document["answers"][1] == {
        "interval": "2026-01-15",
        "level": "likely",
        "weight": 1000,
        "bound": 1000,
        "most_placed": "checked",
        "fewest_moves": "checked",
    }
    code, said = verify(folder, made(folder, bound=4), "--json")
    assert code == 1
    first = json.loads(said)["violations"][0]
    assert (first["promise"], first["found"], first["expected"]) == ("bound", 4, 1000)
    assert (first["interval"], first["level"]) == ("2026-01-15", "low")


@pytest.mark.parametrize("text", ["", "{}", "\ud800", "[1]"])
def test_what_is_no_plan_is_bad_input(folder: Path, text: str) -> None:
    path = folder / "plan.json"
    path.write_text(text, errors="surrogatepass")
    with pytest.raises(BadInputError, match=r"plan\.json: is no plan"):
        CliRunner().invoke(
            app, ["estate", "verify", str(path), str(folder)], catch_exceptions=False
        )
    with pytest.raises(BadInputError, match="cannot be read"):
        CliRunner().invoke(app, ["estate", "verify", "none", str(folder)], catch_exceptions=False)


def test_it_needs_no_solver(folder: Path) -> None:
    (folder / "plan.json").write_text(made(folder).to_json())
    script = (
        "import sys; sys.modules.update({'ortools': None, 'django': None, 'pygal': None})\n"
        "from commonfarm.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "estate", "verify", "plan.json", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("holds")
