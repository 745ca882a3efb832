"""`commonfarm estate wanted` and its letter, as volunteers and sponsors read them."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commonfarm.estate.answers.letter import NOTICE, TERM, WIDTH, letter
from commonfarm.estate.answers.wanted import wanted
from commonfarm.estate.cli import app
from commonfarm.estate.facts import Policy, Service
from commonfarm.estate.schema.supply import Pledge
from commonfarm.lib.errors import BadInputError
from tests.estate.futures import network
from tests.estate.making import TODAY, facts, host, instance, pledge, site
from tests.estate.test_wanted import SMALL, TOOLS, kind

ESTATE = """
sponsors: [{name: giver}]
pledges: [{name: loan, sponsor: giver, what: a machine, from: 2025-01-01, until: 2026-06-01}]
hosts:
  - {name: a, architecture: amd64, cores: 4, memory: 8 GiB, disk: 100 GiB, pledge: loan}
services:
  - name: wiki
    title: Wiki
    coordinators: [anna]
    components:
      - {name: web, requires: {cores: 2, memory: 4 GiB, disk: 10 GiB}, instances: [{on: [a]}]}
      - name: search
        requires: {cores: 2, memory: {low: 4 GiB, likely: 8 GiB, high: 30 GiB}, disk: 10 GiB}
catalogue:
  - {name: vm, title: virtual machine, cost: 2, architecture: amd64, cores: 4, memory: 16 GB,
     disk: 100 GB}
  - {name: server, title: server, cost: 10, architecture: amd64, cores: 16, memory: 64 GB,
     disk: 1 TB, source: {cost: assumption}}
"""


def run(folder: Path, estate: str, *options: str) -> Result:
    (folder / "estate.yaml").write_text(estate)
    return CliRunner().invoke(
        app, ["estate", "wanted", str(folder), "--at", "2026-01-15", *options]
    )


def test_it_says_what_to_ask_for_and_what_that_rests_on(tmp_path: Path) -> None:
    done = run(tmp_path, ESTATE)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "so that all 2 instances can run on 2026-01-15, ask for:",
        "  1 x vm: virtual machine, cost 2",
        "    for wiki/search/production/1",
        "  1 host, cost 2: none is cheaper, nor as cheap with fewer hosts (the solver's word)",
        "  at high: 1 x server; cost 10",
        "",
        "rests on 1 assumption:",
        "  estate.yaml:17:5: catalogue server: cost 10",
    ]


def test_for_a_day_what_has_ended_by_then_does_not_count(tmp_path: Path) -> None:
    done = run(tmp_path, ESTATE, "--for", "2026-06-01", "--json")
    answer = json.loads(done.output)
    assert (answer["day"], answer["likely"]["missing"]) == (
        "2026-06-01",
        ["wiki/search/production/1", "wiki/web/production/1"],
    )
    assert answer["likely"]["additions"][0]["hosts"] == {
        "new-vm-1": ["wiki/search/production/1", "wiki/web/production/1"]
    }
    assert answer["likely"]["cost"] == 2
    assert len(answer["assumptions"]) == 1


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("2026-01-14", "--for: 2026-01-14 is before 2026-01-15; name a later day, or with --at"),
        ("9999-12-31", "--for: 9999-12-31 is no day to plan for; name one of 1970 to 9000"),
    ],
)
def test_a_day_that_cannot_be_asked_for(tmp_path: Path, then: str, said: str) -> None:
    done = run(tmp_path, ESTATE, "--for", then)
    assert isinstance(done.exception, BadInputError)
    assert str(done.exception).startswith(said)


def test_what_cannot_be_helped_ends_by_1(tmp_path: Path) -> None:
    done = run(tmp_path, ESTATE.replace("30 GiB}", "30 GiB}, architecture: riscv64"))
    assert done.exit_code == 1
    assert "1 instance of 2 has a place on 2026-01-15: no host is wanted" in done.output
    assert "needs architecture riscv64; nearest: host" in done.output


def test_what_cannot_be_helped_is_not_among_what_can_run(tmp_path: Path) -> None:
    elsewhere = "      - {name: odd, requires: {cores: 1, architecture: riscv64}}\ncatalogue:"
    done = run(tmp_path, ESTATE.replace("catalogue:", elsewhere))
    assert done.exit_code == 1
    assert done.output.startswith("so that 2 instances of 3 can run on 2026-01-15, ask for:\n")


def test_what_shares_its_reasons_is_told_together(tmp_path: Path) -> None:
    odd = "      - {name: odd, requires: {architecture: riscv64}, instances: [{count: 3}]}\n"
    gpu = "      - {name: gpu, requires: {traits: {required: [CUSTOM_GPU]}}}\n"
    said = run(tmp_path, ESTATE.replace("catalogue:", f"{gpu}{odd}catalogue:")).output.splitlines()
    start = said.index("what has no place whatever is asked for:")
    assert said[start + 1] == "  wiki/odd/production/1-3"
    assert said[start + 2].startswith("    needs architecture riscv64; nearest: host")
    assert said[start + 4] == "  wiki/gpu/production/1"


def test_it_says_that_growth_is_not_counted(tmp_path: Path) -> None:
    note = "  needs are taken as written; what they grow to by then, `estate forecast` says\n"
    growing = "    growth: [{resources: [memory], rate: 5%/month, since: 2026-02-01}]\ncatalogue:"
    event = "    steps: [{event: x, on: 2026-02-01, resources: [memory], factor: 2}]\ncatalogue:"
    for more in (growing, event):
        text = ESTATE.replace("catalogue:", more)
        assert note in run(tmp_path, text, "--for", "2026-03-01").output
        assert note not in run(tmp_path, text, "--for", "2026-01-31").output


def test_the_letter_can_be_read_by_who_knows_nothing_of_the_estate(tmp_path: Path) -> None:
    text = run(tmp_path, ESTATE, "--letter").output
    assert text.startswith("Subject: one machine for a free-software project\n\nDear sponsor,\n")
    assert "  - Wiki: search\n" in text
    assert "  - 1 x virtual machine\n    processor  amd64, 4 cores\n    memory     16 GB\n" in text
    assert "From 15 January 2026 on, for one year at least." in text
    assert "Our coordinators: anna." in text


def test_the_letter_tells_nothing_that_is_not_its_own_and_keeps_to_its_width() -> None:
    lan = network("lan", "hall", "192.0.2.0/24", 200)
    names = [f"secret-{n}" for n in range(9)]
    estate = facts(
        site("hall", [lan]),
        pledge("hidden", "shy", disclosure="anonymous", what="forty hosts"),
        host("secret-host", site="hall", pledge="hidden", sponsor="shy", cores=1, memory="2 GiB"),
        *[
            Service(name, f"the service called {name} which has quite a long title", ("bert",),
                    ("app",), {}, (), "s.yaml:1:1")
            for name in names
        ],
        *[
            instance(name, addresses={"lan": 2}, required=(("CUSTOM_SOLAR_POWER",),), **SMALL)
            for name in names
        ],
        kind("box", 3, memory="8 GiB", traits=("CUSTOM_SOLAR_POWER", "CUSTOM_CONSOLE")),
        policy=Policy(survive=("host", "sponsor")),
    )  # fmt: skip
    text = "\n".join(letter(estate, wanted(estate, TODAY, "likely", TOOLS), TODAY))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not re.search(r"shy|hidden|forty|secret-host|new-box|CUSTOM|/app/", text)
    flat = " ".join(text.split())
    assert "nine parts of nine services can run that could not otherwise" in flat
    assert "with solar power" in flat
    assert "4 IPv4 addresses" in flat
    assert "after the loss of any one machine or sponsor's help" in flat


def test_a_letter_counts_one_as_one_and_says_from_when_on() -> None:
    small: dict[str, Any] = {"cores": 1, "memory": "1 GiB"}
    lent = (pledge("loan", until=date(2026, 6, 1)), host("a", pledge="loan", **small))
    console = kind("box", traits=("CUSTOM_BARE_METAL", "CUSTOM_CONSOLE"), **small)
    estate = facts(*lent, instance("one", on="a", **small), console)
    ends = date(2026, 6, 1)
    flat = " ".join(" ".join(letter(estate, wanted(estate, ends, "likely", TOOLS), ends)).split())
    assert "from 1 June 2026 on some of them have no machine to run on" in flat
    assert "processor amd64, 1 core memory" in flat
    assert "not a virtual one, with a management console that" in flat
    assert "one part of one service can run that could not otherwise. Without it, it stays" in flat


def test_what_no_loss_may_take_is_not_promised_to_outlive_one(tmp_path: Path) -> None:
    text = ESTATE.replace("cores: 4, memory: 8 GiB", "cores: 4, memory: 8 GiB, CUSTOM_GPU: 1")
    text = text.replace("web, requires: {", "web, requires: {CUSTOM_GPU: 1, ")
    text += "policy: {survive: [host]}\n"
    said = run(tmp_path, text).output
    far = "so that all 2 instances can run on 2026-01-15, also after the loss of any one host"
    assert said.startswith(f"{far} as far as can be, ask for:\n")
    assert "  without host a: wiki/web/production/1\n" in said
    flat = " ".join(run(tmp_path, text, "--letter").output.split())
    assert "what lets as much as can be run on after the loss of any one machine" in flat


def test_a_letter_about_nothing_says_so_in_a_line() -> None:
    estate = facts(host("a", **SMALL), instance("one", **SMALL))
    found = wanted(estate, TODAY, "likely", TOOLS)
    assert letter(estate, found, date(2026, 1, 1)) == [
        "Nothing is wanted, so there is no letter to write."
    ]


def test_it_asks_for_as_long_as_a_pledge_is_where_it_says_nothing() -> None:
    assert Pledge.model_fields["minimum_term"].default == TERM
    assert Pledge.model_fields["notice"].default == NOTICE
