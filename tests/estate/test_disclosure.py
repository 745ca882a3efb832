"""Who gives anonymously is named nowhere, and nothing else changes by that."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as some

from commonfarm.estate.disclosure import alike, veiled
from commonfarm.estate.facts import Assumption
from commonfarm.estate.timeline import intervals
from tests.estate.making import TODAY, facts, host, pledge


def test_an_estate_of_which_all_is_public_is_shown_as_it_is() -> None:
    estate = facts(pledge("loan", "nokia"), host("a", pledge="loan", sponsor="nokia"))
    assert veiled(estate) is estate


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
    # One failure domain of both would tell who the anonymous one is.
    assert (seen.hosts["a"].sponsor, seen.hosts["b"].sponsor) == ("nokia", "anonymous-1")


def test_nothing_is_told_of_a_host_that_would_tell_its_giver() -> None:
    quiet = pledge("quiet", "secretcorp", disclosure="anonymous")
    lent = host("a", pledge="quiet", sponsor="secretcorp")
    lent = replace(lent, where="secretcorp.yaml:3:5", source="mail of Secret Corp")
    seen = veiled(facts(quiet, lent)).hosts["a"]
    assert (seen.source, seen.where) == (None, "")


def test_an_assumption_tells_nothing_that_is_hidden() -> None:
    def said(*assumptions: Assumption) -> list[str]:
        estate = facts(
            pledge("loan", "nokia", disclosure="amount hidden"),
            pledge("quiet", "secretcorp", disclosure="anonymous"),
            pledge("other", "nokia", disclosure="anonymous"),
            pledge("open", "acme"),
            assumptions=assumptions,
        )
        titled = replace(estate.sponsors["secretcorp"], title="Secret & Sons")
        estate = replace(estate, sponsors={**estate.sponsors, "secretcorp": titled})
        return [one.what for one in veiled(estate).assumptions]

    assert said(
        Assumption("a:1:1", "pledge loan: sponsor nokia, what three servers"),
        Assumption("a:2:1", "pledge quiet: sponsor secretcorp, what a rack of theirs"),
        Assumption("a:3:1", "sponsor secretcorp: title Secret & Sons, url https://secret.example"),
        Assumption("a:4:1", "host a: memory 24 GiB, as Secret & Sons say"),
        Assumption("a:5:1", "pledge open: sponsor acme, what a shelf"),
        Assumption("a:6:1", "sponsor nokia: title Nokia"),
    ) == [
        "pledge loan",
        "pledge anonymous-4",
        "sponsor anonymous-2",
        "host a: memory 24 GiB, as anonymous-2 say",
        "pledge open: sponsor acme, what a shelf",
        "sponsor nokia: title Nokia",
    ]


def test_a_sponsor_that_becomes_anonymous_goes_by_one_name_before_and_after() -> None:
    before = facts(pledge("loan", "nokia"), host("a", pledge="loan", sponsor="nokia"))
    after = facts(
        pledge("loan", "secretcorp", disclosure="anonymous"),
        pledge("older", "aaa", disclosure="anonymous"),
        host("a", pledge="loan", sponsor="secretcorp"),
    )
    then, now = alike(before, after)
    assert now == veiled(after)
    assert "secretcorp" not in repr((then, now))
    assert "nokia" not in repr((then, now))
    assert then.hosts["a"].pledge == now.hosts["a"].pledge


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
            quiet = {
                estate.pledges[str(at.pledge)].disclosure == "anonymous" for at in (one, other)
            }
            together = one.domain("sponsor") == other.domain("sponsor") and len(quiet) == 1
            here, there = seen.hosts[one.name], seen.hosts[other.name]
            assert (here.domain("sponsor") == there.domain("sponsor")) == together
    assert [(i.start, i.hosts) for i in intervals(seen, TODAY)] == [
        (i.start, i.hosts) for i in intervals(estate, TODAY)
    ]
    for one_pledge in pledges:
        assert (one_pledge.name in seen.pledges) == (one_pledge.disclosure != "anonymous")
    open_givers = {one.sponsor for one in pledges if one.disclosure != "anonymous"}
    quiet_givers = {one.sponsor for one in pledges if one.disclosure == "anonymous"}
    assert not (quiet_givers - open_givers) & seen.sponsors.keys()
    assert replace(seen, sponsors={}, pledges={}, hosts={}) == replace(
        estate, sponsors={}, pledges={}, hosts={}
    )
