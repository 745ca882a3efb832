"""Who gives anonymously is named nowhere, and nothing else changes by that."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as some

from commonfarm.estate.disclosure import hidden_names, veiled
from commonfarm.estate.facts import Assumption
from commonfarm.estate.timeline import intervals
from tests.estate.making import TODAY, facts, host, pledge


def test_an_estate_of_which_all_is_public_is_shown_as_it_is() -> None:
    estate = facts(pledge("loan", "nokia"), host("a", pledge="loan", sponsor="nokia"))
    assert veiled(estate) is estate
    assert hidden_names(estate) == frozenset()


def test_an_anonymous_sponsor_is_not_named() -> None:
    estate = facts(
        pledge("secretcorp-2011", "secretcorp", disclosure="anonymous", what="five of secretcorp"),
        pledge("loan", "nokia", disclosure="amount hidden", what="three servers"),
        host("a", pledge="secretcorp-2011", sponsor="secretcorp"),
        assumptions=(
            Assumption("a.yaml:1:1", "pledge secretcorp-2011: until 2027"),
            Assumption("b.yaml:1:1", "size small: memory 1 GiB"),
        ),
    )
    seen = veiled(estate)
    assert "secretcorp" not in repr(seen)
    assert "three servers" not in repr(seen)
    assert seen.hosts["a"].pledge in seen.pledges
    assert seen.pledges[str(seen.hosts["a"].pledge)].sponsor == seen.hosts["a"].sponsor
    assert seen.sponsors["nokia"] == estate.sponsors["nokia"]
    assert seen.assumptions[1] == estate.assumptions[1]
    assert hidden_names(estate) == {("sponsor", "secretcorp"), ("pledge", "secretcorp-2011")}


def test_who_gives_both_ways_is_named_for_what_is_public() -> None:
    estate = facts(
        pledge("open", "nokia"),
        pledge("quiet", "nokia", disclosure="anonymous"),
        host("a", pledge="open", sponsor="nokia"),
        host("b", pledge="quiet", sponsor="nokia"),
    )
    seen = veiled(estate)
    assert seen.pledges["open"].sponsor == "nokia"
    quiet = next(one for one in seen.pledges.values() if one.disclosure == "anonymous")
    assert quiet.sponsor == "anonymous-1"
    # They fail together, and so they stay one failure domain.
    assert seen.hosts["a"].sponsor == seen.hosts["b"].sponsor == "anonymous-1"
    assert hidden_names(estate) == {("pledge", "quiet")}


def test_a_name_that_is_taken_is_not_given_again() -> None:
    estate = facts(
        pledge("anonymous-1", "anonymous-2"),
        pledge("quiet", "secretcorp", disclosure="anonymous"),
    )
    seen = veiled(estate)
    assert len(seen.pledges) == 2
    assert set(seen.sponsors) == {"anonymous-2", "anonymous-3"}


@settings(deadline=None, max_examples=40)
@given(
    some.lists(
        some.tuples(
            some.sampled_from(("nokia", "secretcorp", "aaa")),
            some.sampled_from(("public", "amount hidden", "anonymous")),
        ),
        max_size=5,
    )
)
def test_what_follows_is_the_same_but_for_names(given_: list[tuple[str, str]]) -> None:
    pledges = [
        pledge(f"loan-{number}", giver, disclosure=disclosure)
        for number, (giver, disclosure) in enumerate(given_)
    ]
    hosts = [host(f"h{n}", pledge=one.name, sponsor=one.sponsor) for n, one in enumerate(pledges)]
    estate = facts(*pledges, *hosts)
    seen = veiled(estate)
    assert list(seen.hosts) == list(estate.hosts)
    for one in hosts:
        for other in hosts:
            together = one.domain("sponsor") == other.domain("sponsor")
            here, there = seen.hosts[one.name], seen.hosts[other.name]
            assert (here.domain("sponsor") == there.domain("sponsor")) == together
    assert [(i.start, i.hosts) for i in intervals(seen, TODAY)] == [
        (i.start, i.hosts) for i in intervals(estate, TODAY)
    ]
    for kind, name in hidden_names(estate):
        assert name not in (seen.sponsors if kind == "sponsor" else seen.pledges)
    assert replace(seen, sponsors={}, pledges={}, hosts={}) == replace(
        estate, sponsors={}, pledges={}, hosts={}
    )
