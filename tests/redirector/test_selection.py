"""Who is sent where, and what each other mirror is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import Answers, Mirror, Override, Tree
from commonfarm.redirector.reasons import Tier, Why
from commonfarm.redirector.selection import Selector, below
from tests.redirector.atlas import DEB, NOON, client, file, mirror, world

GERMAN = client("DE")
BERLIN, MUNICH, HAMBURG = (52.5, 13.4), (48.1, 11.6), (53.6, 10.0)
WIDE = ("203.0.0.0/16",)
ONLY_6 = Answers.HTTP6 | Answers.HTTPS6
ONLY_4 = Answers.HTTP4 | Answers.HTTPS4


def at(point: tuple[float, float]) -> dict[str, Any]:
    return {"latitude": point[0], "longitude": point[1]}


@pytest.mark.parametrize(
    ("mirrors", "asking", "chosen", "tier", "left_out"),
    [
        pytest.param(
            [mirror("fr", "FR"), mirror("de")], GERMAN, "de", Tier.COUNTRY, {}, id="own country"
        ),
        pytest.param(
            [mirror("de", problem="disabled"), mirror("fr", "FR"), mirror("us", "US")],
            GERMAN,
            "fr",
            Tier.REGION,
            {"de": Why.OUT_OF_SERVICE},
            id="out of service, then the continent",
        ),
        pytest.param(
            [mirror("de"), mirror("isp", "FR", as_number=680)],
            client("DE", as_number=680),
            "isp",
            Tier.AS,
            {},
            id="the same AS before the country",
        ),
        pytest.param(
            [mirror("isp", "US", as_number=680), mirror("home", "DE", as_number=680)],
            client("DE", as_number=680),
            "home",
            Tier.AS,
            {},
            id="within an AS, the country",
        ),
        pytest.param(
            [mirror("de", as_number=0), mirror("fr", "FR", as_number=0)],
            client("FR", as_number=0),
            "fr",
            Tier.COUNTRY,
            {},
            id="an unknown AS is nobody's",
        ),
        pytest.param(
            [
                mirror("de", as_number=680),
                mirror("wide", "FR", prefixes=("203.0.0.0/8",)),
                mirror("campus", "US", prefixes=("203.0.113.0/24", "203.0.0.0/16")),
            ],
            client("DE", as_number=680),
            "campus",
            Tier.PREFIX,
            {},
            id="the longest prefix before the AS",
        ),
        pytest.param(
            [
                mirror("long", prefixes=("203.0.113.0/24", "0.0.0.0/0")),
                mirror("mid", prefixes=WIDE),
            ],
            GERMAN,
            "long",
            Tier.PREFIX,
            {},
            id="of a mirror's own prefixes the longest counts",
        ),
        pytest.param(
            [mirror("de"), mirror("campus", "US", prefixes=("198.51.100.0/24", "2001:db8::/32"))],
            GERMAN,
            "de",
            Tier.COUNTRY,
            {},
            id="prefixes of others",
        ),
        pytest.param(
            [mirror("south", **at(MUNICH)), mirror("north", **at(HAMBURG))],
            client("DE", point=(53.9, 10.7)),
            "north",
            Tier.COUNTRY,
            {},
            id="the distance counts also in a country where it is known",
        ),
        pytest.param(
            [mirror("plain", https="", weight=1)]
            + [mirror(f"tls{number}", http="", weight=1000) for number in range(9)],
            GERMAN,
            "plain",
            Tier.COUNTRY,
            {},
            id="its own scheme first",
        ),
        pytest.param(
            [mirror("tls", http=""), mirror("fr", "FR")],
            GERMAN,
            "tls",
            Tier.COUNTRY,
            {},
            id="but the country before the scheme",
        ),
        pytest.param(
            [mirror("de", https=""), mirror("fr", "FR")],
            client("DE", scheme="https"),
            "fr",
            Tier.REGION,
            {"de": Why.INSECURE},
            id="https is never downgraded",
        ),
        pytest.param(
            [mirror("de", answers=Answers.HTTP4), mirror("fr", "FR")],
            client("DE", scheme="https"),
            "fr",
            Tier.REGION,
            {"de": Why.NOT_ANSWERING},
            id="https that does not answer is none",
        ),
        pytest.param(
            [mirror("six", answers=ONLY_6), mirror("four", answers=ONLY_4)],
            GERMAN,
            "four",
            Tier.COUNTRY,
            {"six": Why.OTHER_FAMILY},
            id="by IPv4",
        ),
        pytest.param(
            [mirror("six", answers=ONLY_6), mirror("four", answers=ONLY_4)],
            client("DE", "2001:db8::1"),
            "six",
            Tier.COUNTRY,
            {"four": Why.OTHER_FAMILY},
            id="by IPv6",
        ),
        pytest.param(
            [mirror("half", answers=Answers.HTTP6 | Answers.HTTPS4), mirror("four", "FR")],
            client("DE", "2001:db8::1", "https"),
            "four",
            Tier.REGION,
            {"half": Why.OTHER_FAMILY},
            id="IPv6 is asked of each scheme for itself",
        ),
        pytest.param(
            [mirror("here", local=True), mirror("fr", "FR")],
            GERMAN,
            "fr",
            Tier.REGION,
            {"here": Why.LOCAL_ONLY},
            id="a local one is for this machine",
        ),
        pytest.param(
            [mirror("here", local=True)],
            client("ZZ", "127.0.0.1"),
            "here",
            Tier.ANYWHERE,
            {},
            id="and this machine gets it",
        ),
        pytest.param(
            [mirror("at", only_countries=("AT", "CH")), mirror("us", "US")],
            GERMAN,
            "us",
            Tier.DISTANCE,
            {"at": Why.OTHER_COUNTRIES},
            id="only for other countries",
        ),
        pytest.param(
            [mirror("de", only_countries=("DE",))], GERMAN, "de", Tier.COUNTRY, {}, id="for its own"
        ),
        pytest.param(
            [mirror("uni", only_networks=("198.51.100.0/24",)), mirror("us", "US")],
            GERMAN,
            "us",
            Tier.DISTANCE,
            {"uni": Why.OTHER_NETWORKS},
            id="only for other networks",
        ),
        pytest.param(
            [mirror("uni", only_networks=("198.51.100.0/24", "203.0.113.8/29"))],
            GERMAN,
            "uni",
            Tier.COUNTRY,
            {},
            id="for a small network of which it is",
        ),
        pytest.param([mirror("x", tree="else")], GERMAN, None, None, {}, id="another tree's"),
    ],
)
def test_who_is_chosen(
    mirrors: list[Mirror],
    asking: Client,
    chosen: str | None,
    tier: Tier | None,
    left_out: dict[str, Why],
) -> None:
    having = [number for number, one in enumerate(mirrors) if one.tree == "demo"]
    selector = Selector(world(mirrors, {DEB: file(having)}))
    choice = selector.explain(DEB, asking, NOON, {})
    assert (choice.mirror.name if choice.mirror else None) == chosen
    assert (choice.ranked[0].tier if choice.ranked else None) == tier
    assert {one.name: reason.code for one, reason in choice.excluded} == left_out
    assert selector.choose(DEB, asking, NOON, {}).mirrors == choice.mirrors


def test_two_that_are_nowhere_are_not_in_one_country() -> None:
    choice = Selector(world([mirror("lost", "ZZ")])).choose(DEB, client("ZZ"), NOON, {})
    assert (choice.ranked[0].tier, choice.ranked[0].distance_km) == (Tier.ANYWHERE, None)
    assert choice.ranked[0].text == "how far it is from the client is not known"


def test_coordinates_count_also_where_the_country_is_not_known() -> None:
    selector = Selector(world([mirror("us", "US"), mirror("de")]))
    ranked = selector.choose(DEB, client("ZZ", point=MUNICH), NOON, {}).ranked
    assert [(one.mirror.name, one.tier) for one in ranked] == [
        ("de", Tier.DISTANCE),
        ("us", Tier.DISTANCE),
    ]


def test_an_http_client_gets_the_https_address_of_a_mirror_that_has_no_other() -> None:
    plain, tls = (Selector(world([mirror("de", http=http)])) for http in ("http://a/", ""))
    assert plain.choose(DEB, GERMAN, NOON, {}).ranked[0].base == "http://a/"
    assert tls.choose(DEB, GERMAN, NOON, {}).ranked[0].base == "https://de.example.org/demo/"


@pytest.mark.parametrize(
    ("override", "asking", "chosen"),
    [
        (Override("203.0.113.0/24", mirrors=("us",)), GERMAN, "us"),
        (Override("203.0.113.0/24", mirrors=("gone", "no-such")), GERMAN, "de"),
        (Override("203.0.113.0/24", origin=True), GERMAN, None),
        (Override("198.51.100.0/24", origin=True), GERMAN, "de"),
    ],
)
def test_what_the_operator_says_of_a_network_counts_first(
    override: Override, asking: Client, chosen: str | None
) -> None:
    mirrors = [mirror("de"), mirror("us", "US"), mirror("gone", problem="down")]
    selector = Selector(world(mirrors, overrides=[Override("203.0.0.0/8"), override]))
    choice = selector.explain(DEB, asking, NOON, {})
    assert (choice.mirror.name if choice.mirror else None) == chosen
    assert selector.choose(DEB, asking, NOON, {}).mirrors == choice.mirrors
    if override.origin and chosen is None:
        assert choice.reason.code == Why.OVERRIDE
        assert "203.0.113.0/24" in choice.reason.text
        assert {reason.code for _, reason in choice.excluded} == {Why.OVERRIDE, Why.OUT_OF_SERVICE}


def test_the_longest_override_counts_and_lends_no_other_its_words() -> None:
    overrides = [Override("203.0.0.0/8", origin=True), Override("203.0.113.0/24", country="FR")]
    selector = Selector(world([mirror("de"), mirror("fr", "FR")], overrides=overrides))
    assert selector.choose(DEB, GERMAN, NOON, {}).mirror is not None
    assert selector.choose(DEB, client("DE", "203.9.9.9"), NOON, {}).mirror is None


def test_a_mirror_without_the_file_is_not_chosen_and_explain_says_so() -> None:
    the_map = world([mirror("one"), mirror("two")], {DEB: file([1])})
    choice = Selector(the_map).explain(DEB, GERMAN, NOON, {})
    assert [one.name for one in choice.mirrors] == ["two"]
    [(left_out, reason)] = choice.excluded
    assert (left_out.name, reason.code, reason.lifted_by) == ("one", Why.MISSING, "its next scan")


def test_a_mirror_of_a_folder_is_only_asked_for_what_lies_in_it() -> None:
    part = mirror("part", subtree="activities/4", http="http://p/sugar-4/")
    paths = ["activities/4/x.xo", "activities/44/x.xo", "activities/4"]
    files = {f"demo/{path}": file([0, 1]) for path in paths}
    selector = Selector(world([part, mirror("us", "US")], files))
    names = {
        path: [one.name for one in selector.choose(f"demo/{path}", GERMAN, NOON, {}).mirrors]
        for path in paths
    }
    assert names == {
        "activities/4/x.xo": ["part", "us"],
        "activities/44/x.xo": ["us"],
        "activities/4": ["us"],
    }
    [(_, reason)] = selector.explain("demo/activities/44/x.xo", GERMAN, NOON, {}).excluded
    assert (reason.code, reason.text) == (
        Why.NOT_CARRIED,
        "it carries only activities/4 of this tree",
    )
    assert below(part, "activities/4/x.xo") == "x.xo"
    assert below(mirror("us"), "activities/4/x.xo") == "activities/4/x.xo"


def test_an_alias_is_chosen_for_as_what_it_stands_for() -> None:
    tree = Tree("demo", 1, {"latest": "pool"}, {})
    selector = Selector(world([mirror("de")], trees=[tree]))
    choice = selector.choose("demo/latest/a.deb", GERMAN, NOON, {})
    assert (choice.path, choice.mirrors[0].name) == (DEB, "de")
    assert selector.explain("demo/latest/a.deb", GERMAN, NOON, {}).path == DEB


def test_a_new_file_is_ours_until_its_mirrors_have_had_time() -> None:
    selector = Selector(world([mirror("de")], {DEB: file([0], mirrors_from=NOON + 60)}))
    before = selector.explain(DEB, GERMAN, NOON, {}, for_list=True)
    assert (before.mirror, before.reason.code) == (None, Why.ORIGIN_ONLY)
    assert before.reason.lifted_by == "at 2026-11-21 12:01 UTC"
    assert before.excluded[0][1] == before.reason
    assert selector.choose(DEB, GERMAN, NOON + 60, {}).mirror is not None


def test_without_any_mirror_we_serve_and_say_why() -> None:
    selector = Selector(world([mirror("de", problem="down: no answer")]))
    choice = selector.explain(DEB, GERMAN, NOON, {})
    assert (choice.mirror, choice.reason.code) == (None, Why.NO_MIRROR)
    text = "down: no answer; a probe and a scan that find it well again"
    assert str(choice.excluded[0][1]) == text


@pytest.mark.parametrize("path", ["demo/pool/new.deb", "no-such-tree/x", "demo", "", "demo/"])
def test_what_the_map_has_not_is_served_by_ourselves(path: str) -> None:
    selector = Selector(world([mirror("one")]))
    for choice in (selector.explain(path, GERMAN, NOON, {}), selector.choose(path, GERMAN, 0, {})):
        assert (choice.mirror, choice.reason.code) == (None, Why.NOT_IN_MAP)
        assert {reason for _, reason in choice.excluded} <= {choice.reason}, "no scan is at fault"
    assert not selector.rank("no-such-tree", GERMAN).order


def test_explain_tells_tier_distance_and_share_in_words() -> None:
    mirrors = [mirror("big", "FR", weight=300), mirror("small", "FR"), mirror("us", "US")]
    choice = Selector(world(mirrors)).explain(DEB, GERMAN, NOON, {})
    texts = {one.mirror.name: one.text for one in choice.ranked}
    assert texts == {
        "big": "on the same continent, 875 km away, 75% of those as near as this get it",
        "small": "on the same continent, 875 km away, 25% of those as near as this get it",
        "us": "elsewhere, 7,086 km away",
    }
    best = choice.ranked[0].mirror.name
    assert str(choice.reason) == f"{best} (FR) has it: on the same continent, 875 km away"


@pytest.mark.parametrize(
    ("point", "located", "km"),
    [(None, False, None), (None, True, None), (BERLIN, False, None), (BERLIN, True, 506)],
)
def test_no_distance_is_told_that_is_only_one_to_the_main_city(
    point: tuple[float, float] | None, located: bool, km: int | None
) -> None:
    one = mirror("de", **(at(MUNICH) if located else {}))
    [ranked] = Selector(world([one])).choose(DEB, client("DE", point=point), NOON, {}).ranked
    assert (ranked.distance_km and round(ranked.distance_km)) == km


def test_as_many_are_named_as_are_wanted() -> None:
    selector = Selector(world([mirror(f"m{number}") for number in range(30)]))
    assert len(selector.choose(DEB, GERMAN, NOON, {}).ranked) == 5
    assert len(selector.choose(DEB, GERMAN, NOON, {}, most=12).ranked) == 12
    assert len(selector.explain(DEB, GERMAN, NOON, {}).ranked) == 30


def test_the_reference_names_every_reason() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/choice-of-mirrors.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == {str(one) for one in Why}
