"""Estates of a few lines that stand for very much: ranges, counts, rules without end."""

from __future__ import annotations

from importlib import import_module

import pytest

from commonfarm.estate import reader
from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text
from tests.estate.test_bad_estates import told


def test_hosts_and_instances_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_HOSTS", 100)
    hosts = [f'  - {{name: "{c}-[1:40]", architecture: amd64}}\n' for c in "abcd"]
    assert told(a="hosts:\n" + "".join(hosts)) == [
        "a.yaml:4:5: the estate has more than 100 hosts; write fewer"
    ]
    demand = import_module("commonfarm.estate.resolving.demand")
    monkeypatch.setattr(demand, "MOST_INSTANCES", 100)
    counts = ", ".join(["{count: 40}"] * 4)
    text = f"services: [{{name: a, components: [{{name: b, instances: [{counts}]}}]}}]\n"
    assert told(a=text) == ["a.yaml:1:83: the estate has more than 100 instances; lower a count"]
    more = text + text.removeprefix("services: [").replace("name: a", "name: c")
    assert len(told(a=more.replace("]}]}]\n{", "]}]},\n  {"))) == 1


def test_what_runs_on_a_range_of_hosts() -> None:
    text = """\
hosts: [{name: "arm-[001:003]", architecture: amd64}]
services:
  - name: build
    components:
      - name: worker
        instances: [{count: 4, on: ["arm-[001:002]", arm-003]}]
      - name: none
        instances: [{count: 9, on: ["arm-[003:007]", "arm-[9:1]", arm-9]}]
      - name: many
        instances: [{count: 2, on: ["arm-[001:003]"]}]
"""
    assert told(a=text) == [
        "a.yaml:8:37: there is no host `arm-004`; did you mean `arm-003`?",
        "a.yaml:8:54: [9:1] runs backwards; write the smaller end first",
        "a.yaml:8:67: there is no host `arm-9`; did you mean `arm-003`?",
        "a.yaml:10:36: 3 run today, and the count is 2; raise the count, or take hosts away",
    ]
    good = text[: text.index("      - name: none")]
    _, facts = resolved([Text("a.yaml", good.encode())])
    assert [one.on for one in facts.instances.values()] == ["arm-001", "arm-002", "arm-003", None]


def test_ranges_without_end_take_neither_time_nor_memory() -> None:
    hosts = "".join(
        f"  - {{name: 'h{number}-[1:10000]', architecture: x}}\n" for number in range(9999)
    )
    assert told(a=f"hosts:\n{hosts}") == [
        "a.yaml:12:5: the estate has more than 100000 hosts; write fewer"
    ]
    on = ", ".join(["'h-[1:10000]'"] * 9999)
    text = f"services: [{{name: a, components: [{{name: b, instances: [{{on: [{on}]}}]}}]}}]\n"
    assert told(a=text) == [
        "a.yaml:1:62: 99990000 run today, and the count is 1; raise the count, or take hosts away"
    ]


def test_rules_of_spread_that_say_the_same_or_are_more_than_anyone_can_mean() -> None:
    same = "{over: host}, {over: host, strength: should}, {over: host}"
    many = ", ".join(f"{{over: host, at_most: {number}}}" for number in range(1, 52))
    text = f"""\
services:
  - name: wiki
    spread: [{many}]
    components: [{{name: web, spread: [{same}]}}]
"""
    assert told(a=text) == [
        "a.yaml:3:13: these are more than 50 rules; keep those that say most",
        "a.yaml:4:85: this rule stands in the list twice; take one away",
    ]
