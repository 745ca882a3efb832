"""What changed between two estates, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction

from commonfarm.estate.differences import differences, told
from commonfarm.estate.facts import Facts, Growth, Instance, Network, Policy, Rate
from tests.estate.making import facts, host, instance, pledge, requirement, site, spread


def lines(before: Facts, after: Facts) -> list[str]:
    return told(differences(before, after))


def test_nothing_is_told_where_nothing_is_said_anew() -> None:
    one = facts(host("a", memory="24 GiB"), pledge("loan"), instance("wiki", cores=1))
    moved = replace(one.hosts["a"], where="other.yaml:9:9")
    assert lines(one, replace(one, hosts={"a": moved})) == []


def test_amounts_are_told_in_peoples_units() -> None:
    before = facts(host("a", memory="24 GiB", cores=4), site("s", bandwidth="1 Gbit/s"))
    after = facts(host("a", memory="48 GiB", disk="1 TiB", cores=4), site("s"))
    assert lines(before, after) == [
        "site s: bandwidth is -, was 1 Gbit/s",
        "host a: disk is 1 TiB, was -",
        "host a: memory is 48 GiB, was 24 GiB",
    ]


def test_dates_sets_and_what_is_said_no_more() -> None:
    before = facts(pledge("loan"), host("a", traits=["B", "A"], pledge="loan"))
    after = facts(
        pledge("loan", until=date(2027, 1, 1), disclosure="anonymous"),
        host("a", allocation_ratio={"memory": "1.25"}),
    )
    assert lines(before, after) == [
        "pledge loan: until is 2027-01-01, was -",
        "pledge loan: disclosure is anonymous, was public",
        "host a: allocation ratio of memory is 1.25, was -",
        "host a: traits is -, was A, B",
        "host a: pledge is -, was loan",
    ]


def test_what_is_new_and_what_is_gone() -> None:
    network = Network("build", "s", "10.0.0.0/24", 1, 253, "sites.yaml:2:5")
    before = facts(site("s"), host("old"))
    after = facts(site("s", [network]), host("new"), pledge("loan", "nokia"))
    assert lines(before, after) == [
        "sponsor nokia: new",
        "pledge loan: new",
        "network s/build: new",
        "host old: gone",
        "host new: new",
    ]


def test_instances_are_told_by_component_and_environment() -> None:
    before = facts(instance("wiki/web/production/1", memory="2 GiB", on="a"))
    after = facts(
        *(instance(f"wiki/web/production/{n}", memory=("2 GiB", "4 GiB", "4 GiB")) for n in (1, 2)),
        instance("wiki/db/testing/1"),
        spread("wiki/web/production/1", "wiki/web/production/2"),
    )
    assert lines(before, after) == [
        "service wiki: components is db, web, was web",
        "instances wiki/web/production: instances is 2, was 1",
        "instances wiki/web/production: memory is 2 GiB to 4 GiB (likely 4 GiB), was 2 GiB",
        "instances wiki/web/production: status is needed, was existing",
        "instances wiki/web/production: on is -, was a",
        "instances wiki/db/testing: new",
        "spread of wiki/web/production over host: new",
    ]


def test_requirements_rules_growth_and_policy() -> None:
    def growing(share: Fraction) -> Growth:
        rate = Rate(share, share, share, Fraction(30))
        return Growth("wiki", "web", ("cores",), rate, date(2026, 1, 1), "x.yaml:1:1")

    one = instance("wiki/web/production/1")
    other = replace(one, requirement=requirement(required=(("A",), ("B", "C")), dedicated=True))
    before = facts(one, growth=(growing(Fraction(1, 4)),))
    after = facts(other, growth=(growing(Fraction(1, 2)),), policy=Policy(survive=("host",)))
    assert lines(before, after) == [
        "instances wiki/web/production: required is A, B, C, was -",
        "instances wiki/web/production: dedicated is yes, was no",
        "growth of wiki/web: rate is 50% in 30 days, was 25% in 30 days",
        "policy: survive is host, was -",
    ]


def test_what_is_likely_is_told_as_well() -> None:
    def grown(likely: int) -> Growth:
        low, high, days = Fraction(1, 10), Fraction(1, 2), Fraction(7)
        rate = Rate(low, Fraction(likely, 100), high, days)
        return Growth("wiki", None, ("memory",), rate, date(2026, 1, 1), "f:1:1")

    def needs(*memory: str) -> Instance:
        return instance("wiki/web/production/1", memory=(memory[0], memory[1], memory[2]))

    before = facts(needs("1 GiB", "1 GiB", "4 GiB"), growth=(grown(20),))
    after = facts(needs("1 GiB", "3 GiB", "4 GiB"), growth=(grown(30),))
    memory, rate = "1 GiB to 4 GiB (likely {} GiB)", "10% to 50% (likely {}%) in 7 days"
    assert lines(before, after) == [
        f"instances wiki/web/production: memory is {memory.format(3)}, was {memory.format(1)}",
        f"growth of wiki: rate is {rate.format(30)}, was {rate.format(20)}",
    ]


def test_of_instances_that_differ_each_change_is_told() -> None:
    one, two = (instance(f"wiki/web/production/{n}", cores=n) for n in (1, 2))
    other = instance("wiki/web/production/2", cores=8)
    assert lines(facts(one, two), facts(one, other)) == [
        "instances wiki/web/production (2): cores is 8, was 2"
    ]
    third = instance("wiki/web/production/3", cores=2)
    assert lines(facts(one, two, third), facts(one, two, replace(third, level="high"))) == [
        "instances wiki/web/production (2): instances is 1 to 2 (likely 1), was 2"
    ]
    ran = [replace(one, number=n, name=f"wiki/web/production/{n}") for n in (2, 3)]
    there = replace(one, on="a", status="existing")
    assert lines(facts(there, *ran), facts(there, replace(ran[0], status="planned"), ran[1])) == [
        "instances wiki/web/production: status is existing, needed, planned, was existing, needed"
    ]


def test_many_alike_share_a_line() -> None:
    before = facts(*(host(f"arm-{n:03}", memory="1 GiB") for n in range(1, 101)))
    after = facts(*(host(f"arm-{n:03}", memory="2 GiB") for n in range(1, 101)), host("beefy"))
    assert lines(before, after) == [
        "host arm-001 to arm-100 (100): memory is 2 GiB, was 1 GiB",
        "host beefy: new",
    ]


def test_many_names_that_are_no_row_are_not_told_as_one() -> None:
    names = ("toxis", "laodoke", "phoebe", "hipp")
    assert lines(facts(), facts(*(host(name) for name in names))) == [
        "host hipp, laodoke and 2 more: new"
    ]
