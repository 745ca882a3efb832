"""`commonfarm estate forecast` as one who runs the machines reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commonfarm.estate.cli import app
from commonfarm.lib.errors import BadInputError

SUGARLABS = """
hosts:
  - {name: sunjammer, architecture: amd64, cores: 4, memory: 16 GiB, source: assumption}
services:
  - name: aslo
    components:
      - name: download
        requires: {cores: 1, memory: 2 GiB}
        instances: [{environment: production, on: [sunjammer]}]
      - name: app
        requires: {cores: 2, memory: 2 GiB}
        instances: [{environment: production, on: [sunjammer]}]
    growth:
      - {resources: [cores], rate: {low: 20%/month, likely: 25%/month, high: 25%/month},
         since: 2009-05-01}
    observed:
      - {resource: cores, share: 45%, on: 2009-05-01}
    ladder:
      - {component: download, resource: cores, above: 80%, change: a server for downloads}
      - {component: app, resource: cores, above: 80%, change: application servers}
"""
FEDORA_ARM = """
sites:
  - {name: phx2, networks: [{name: build, prefix: 10.5.124.0/24}]}
hosts:
  - {name: "node-[001:100]", site: phx2, architecture: amd64, cores: 4, memory: 4 GiB,
     networks: [build]}
services:
  - name: arm
    components:
      - name: builder
        requires: {sites: [phx2], addresses: {build: 1}}
        instances:
          - {environment: production, count: {low: 100, likely: 200, high: 300}, status: needed}
transfers:
  - {name: mass-rebuild, copies: {low: 100, likely: 150, high: 200}, size: 2 GB, link: 1 Gbit/s,
     within: 30 min}
"""


def forecast(folder: Path, text: str, *options: str) -> str:
    (folder / "estate.yaml").write_text(text)
    done = CliRunner().invoke(
        app, ["estate", "forecast", str(folder), *options], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.output


def test_what_runs_out_first_when_and_what_lifts_it(tmp_path: Path) -> None:
    said = forecast(tmp_path, SUGARLABS, "--at", "2009-05-01").splitlines()
    assert said[:8] == [
        "from 2009-05-01 to 2011-05-01:",
        "",
        "runs out first:",
        "  cores of host sunjammer: 2009-08-18 to 2009-09-12, likely 2009-08-18",
        "    1.8 of 4 today (measured), asked for 3; doubles by 2009-08-04",
        # 2 * 4 / 1.8 = 1.25^x: x = 6.685 months = 203.5 days
        # 1.8 * 1.25^23.98 - 4 = 375.77, of which three digits can be meant
        "    lifted by: as much again would last to 2009-11-20, 376 more would last to 2011-05-01",
        "",
        "rungs of the ladders:",
    ]
    assert said[8] == "  aslo 1, download: 2009-07-19 to 2009-08-06, likely 2009-07-19"
    assert said[9] == "    a server for downloads, when cores of host sunjammer pass 80%"
    assert said[12] == "    application servers, when cores of host sunjammer pass 80%"
    assert "33% of the cores measured of aslo" in said[14]
    assert said[16].startswith("rests on 1 assumption:")
    assert said[17].startswith("  estate.yaml:3:5: host sunjammer")


def test_addresses_and_a_mass_rebuild(tmp_path: Path) -> None:
    said = forecast(tmp_path, FEDORA_ARM, "--at", "2012-01-01", "--months", "12").splitlines()
    start = said.index("networks:")
    taken = (
        "    100 of 253 addresses taken, 153 left; 200 (100 to 300) planned, of which 153 find one"
    )
    taken += "; 400 at most"
    handed_on = "40 min 00 s, 53 min 20 s at high out of that cache by a link like it"
    assert said[start : start + 11] == [
        "networks:",
        "  phx2/build 10.5.124.0/24: 2012-01-01, not at low",
        taken,
        "    lifted by: 10.5.124.0/23 has 509",
        "",
        "transfers:",
        "  mass-rebuild: 150 (100 to 200) copies of 2 GB over 1 Gbit/s",
        "    as it is: 40 min 00 s, 53 min 20 s at high; too long at high",
        "    a second link: 20 min 00 s, 26 min 40 s at high",
        "    a cache on each host: 26 min 40 s (100 copies cross the link)",
        f"    a cache at each site: 16 s (1 copy crosses the link), {handed_on}; too long at high",
    ]


def test_hosts_that_leave_are_told_in_a_line(tmp_path: Path) -> None:
    text = """
sponsors: [{name: s}]
pledges:
  - {name: p, sponsor: s, what: x, from: 2008-01-01, until: 2010-01-01}
  - {name: q, sponsor: s, what: x, from: 2008-01-01, until: 2010-02-01}
hosts:
  - {name: "a[1:2]", architecture: amd64, cores: 4, memory: 8 GiB, pledge: p}
  - {name: b, architecture: amd64, cores: 4, memory: 8 GiB, pledge: q}
  - {name: c, architecture: amd64, cores: 1, memory: 8 GiB}
services:
  - name: web
    components:
      - {name: app, requires: {cores: 1, memory: 1 GiB}, instances: [{count: 3, on: [a1, a2, b]}]}
"""
    said = forecast(tmp_path, text, "--at", "2009-05-01").splitlines()
    leave = "a1 on 2010-01-01, a2 on 2010-01-01, b on 2010-02-01"
    assert said[2:4] == ["runs out first:", "  cores of all hosts: 2010-02-01"]
    assert said[7:9] == [
        f"  hosts leave that are used: {leave}; `estate cliff` says what that breaks",
        "",
    ]
    full = forecast(tmp_path, text, "--at", "2009-05-01", "--full")
    assert "  memory of host a1: 2010-01-01\n" in full


def test_one_is_not_told_as_many(tmp_path: Path) -> None:
    text = """
sites: [{name: hall, bandwidth: 1 Gbit/s, networks: [{name: lan, prefix: 10.0.0.0/29}]}]
hosts: [{name: a, site: hall, architecture: amd64}]
services:
  - name: web
    components:
      - name: files
        requires: {bandwidth: 800 Mbit/s, addresses: {lan: 1}}
        instances: [{count: {low: 1, likely: 6, high: 14}, on: [a]}]
    ladder:
      - {component: files, resource: bandwidth, above: 80%, change: a server for files}
transfers: [{name: image, copies: 1, size: 2 GB, link: 1 Gbit/s}]
"""
    said = forecast(tmp_path, text, "--at", "2009-05-01").splitlines()
    assert "    a server for files, when bandwidth of site hall passes 80%" in said
    assert "  image: 1 copy of 2 GB over 1 Gbit/s" in said
    assert "    lifted by: 10.0.0.0/28 has 13; at high 10.0.0.0/27 has 29" in said


def test_json_holds_all_of_it_and_full_the_curves_too(tmp_path: Path) -> None:
    short = json.loads(forecast(tmp_path, SUGARLABS, "--at", "2009-05-01", "--json"))
    assert (short["start"], short["end"]) == ("2009-05-01", "2011-05-01")
    assert [row["change"] for row in short["rungs"]] == [
        "a server for downloads",
        "application servers",
    ]
    assert "points" not in short["outlooks"][0]
    full = json.loads(forecast(tmp_path, SUGARLABS, "--at", "2009-05-01", "--json", "--full"))
    assert full["outlooks"][0]["points"]


def test_an_estate_in_which_nothing_runs_out_says_so(tmp_path: Path) -> None:
    calm = "hosts:\n  - {name: a, architecture: amd64, cores: 4, memory: 4 GiB}\n"
    assert "no service says how much it needs" in forecast(tmp_path, calm)
    calm += "services:\n  - {name: wiki, components: [{name: web, requires: {cores: 1},"
    calm += " instances: [{environment: production, on: [a]}]}]}\n"
    assert "nothing runs out" in forecast(tmp_path, calm)
    assert "cores of host a: not within the horizon" in forecast(tmp_path, calm, "--full")


def test_a_day_out_of_all_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="9999-12-31 is no day to plan for"):
        forecast(tmp_path, SUGARLABS, "--at", "9999-12-31")


def test_the_verb_loads_what_it_needs_and_when() -> None:
    heavy = "{'django', 'ortools', 'pygal', 'pydantic', 'ruamel'}"
    code = f"import sys, commonfarm.estate.verbs.forecasting;print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n")
