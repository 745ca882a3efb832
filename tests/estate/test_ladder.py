"""Which rung of a ladder comes when, by dates computed by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from commonfarm.estate.answers.forecast import document, forecast
from commonfarm.estate.answers.ladder import RungAhead
from commonfarm.estate.facts import Facts
from tests.estate.futures import growth, ladder, observed, step
from tests.estate.making import facts, host, instance, pledge, site

DAY = date(2009, 5, 1)
PARTS = ("app", "cache", "database", "download")
RUNGS = (("download", "cores", "0.8"), ("database", "cores", "0.8"), ("cache", "cores", "0.8"))


def sugarlabs(shares: dict[str, str], *, rate: Any = "0.25", **said: Any) -> Facts:
    """One machine of four components at 45%; `shares` are those of components that are known."""
    return facts(
        host("sunjammer", cores=4),
        ladder("aslo", *RUNGS, components=PARTS),
        *(instance(f"aslo/{name}", on="sunjammer", memory="1 GiB") for name in PARTS),
        **{
            "growth": (growth("aslo", rate, DAY, "cores"),),
            "observed": (
                observed("aslo", "cores", DAY, share="0.45"),
                *(
                    observed("aslo", "cores", DAY, share=share, component=name)
                    for name, share in shares.items()
                ),
            ),
            **said,
        },
    )


def rungs(estate: Facts, months: int = 24) -> list[RungAhead]:
    return list(forecast(estate, DAY, months).rungs)


def likely(found: list[RungAhead]) -> list[int | None]:
    return [(one.due.likely - DAY).days if one.due.likely else None for one in found]


def test_each_rung_comes_on_what_those_before_it_leave() -> None:
    known = {"download": "0.20", "database": "0.10", "cache": "0.05", "app": "0.10"}
    found = rungs(sugarlabs(known))
    # ln(0.8 / x) / ln 1.25 months of 30.4375 days, for x = 0.45, then 0.25, then 0.15 left.
    assert likely(found) == [79, 159, 229]
    assert [one.host for one in found] == ["sunjammer"] * 3
    assert [one.rests_on for one in found] == [(), (), ()]
    # 0.2 * 4000 * 1.25^(79 / 30.4375) = 1427.7
    assert found[0].takes["cores"].likely == 1428
    assert found[0].takes["memory"].likely == 2**30


def test_a_share_that_is_not_known_is_said_with_the_dates_that_rest_on_it() -> None:
    found = rungs(sugarlabs({}))
    # A quarter of 45% each: 0.45, then 0.3375, then 0.225 left.
    assert likely(found) == [79, 118, 174]
    assert found[0].rests_on == ()
    assert [said.split()[0] for said in found[2].rests_on] == ["database", "download"]
    assert "25% of the cores measured of aslo, which is split evenly" in found[1].rests_on[0]


def test_where_components_grow_apart_even_the_first_date_rests_on_their_shares() -> None:
    apart = (growth("aslo", "0.25", DAY, "cores", component="download"),)
    assert len(rungs(sugarlabs({}, growth=apart))[0].rests_on) == 4


def test_a_range_of_rates_makes_windows_and_a_rung_waits_for_the_one_before_it() -> None:
    found = rungs(sugarlabs({}, rate=("0.01", "0.25", "0.5")), months=6)
    for one in found:
        assert one.due.earliest
        assert one.due.likely
        assert one.due.earliest < one.due.likely
        assert one.due.latest is None
    flat = rungs(sugarlabs({}, growth=()))
    assert [one.reason.code for one in flat if one.reason] == ["not-yet", "waits", "waits"]


def test_an_event_may_bring_all_rungs_at_once() -> None:
    release = (step("aslo", "8", date(2009, 6, 1), "cores"),)
    assert likely(rungs(sugarlabs({}, steps=release))) == [31, 31, 31]


def test_what_nobody_knows_gives_no_date_but_a_reason() -> None:
    def reasons(*things: Any) -> list[str]:
        estate = facts(*things, ladder("aslo", ("db", "traffic", "0.8"), components=("db",)))
        return [one.reason.code for one in rungs(estate) if one.reason]

    assert reasons(instance("aslo/db", traffic="1 TB/month")) == ["runs-nowhere"]
    runs = instance("aslo/db", on="a", traffic="9 TB/month")
    assert reasons(host("a", cores=1), runs) == ["nothing-known"]
    assert reasons(host("a", traffic="12 TB/month"), runs) == ["not-yet"]
    assert reasons(host("a", traffic="10 TB/month"), runs) == []
    # What the host does not limit, its site does.
    assert reasons(site("s", traffic="10 TB/month"), host("a", site="s"), runs) == []


def test_what_a_site_limits_is_that_of_all_instances_also_as_they_become_more() -> None:
    estate = facts(
        site("s", traffic="10 TB/month"),
        *(host(name, site="s") for name in "ab"),
        *(instance(f"aslo/db/{n}", on="ab"[n - 1], traffic="3 TB/month") for n in (1, 2)),
        ladder("aslo", ("db", "traffic", "0.8"), components=("db",)),
        growth=(growth("aslo", "0.1", DAY, "instances"),),
    )
    (only,) = rungs(estate)
    # 2 * 3 * 1.1^x passes 8: x = ln 1.333 / ln 1.1 = 3.018 months = 91.9 days.
    assert (only.host, only.site, likely([only])) == ("a", "s", [92])


def test_a_host_that_leaves_before_its_rung_is_due_is_told() -> None:
    loan = pledge("loan", start=date(2009, 1, 1), until=date(2009, 6, 1))
    estate = sugarlabs({})
    leaving = {"sunjammer": host("sunjammer", cores=4, pledge="loan")}
    estate = facts(
        loan,
        *leaving.values(),
        *estate.instances.values(),
        *estate.services.values(),
        growth=estate.growth,
        observed=estate.observed,
    )
    first = rungs(estate)[0]
    assert first.reason
    assert str(first.reason).startswith("host sunjammer leaves on 2009-06-01, before it is due")


def test_a_full_host_of_testing_is_no_reason_to_split() -> None:
    estate = facts(
        host("a", cores=10),
        host("b", cores=1),
        instance("aslo/db/production/1", on="a", cores=1),
        instance("aslo/db/testing/1", on="b", cores=1),
        ladder("aslo", ("db", "cores", "0.8"), components=("db",)),
    )
    (only,) = rungs(estate)
    assert (only.host, only.due.earliest) == ("a", None)
    assert only.reason
    assert str(only.reason).startswith("cores of host a stay within 80% up to ")


def test_rungs_are_plain_json() -> None:
    row = document(forecast(sugarlabs({}), DAY))["rungs"][0]
    assert row["due"]["likely"] == (DAY + timedelta(days=79)).isoformat()
    assert (row["service"], row["component"], row["above"]) == ("aslo", "download", 0.8)
