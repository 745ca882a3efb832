"""The same estate written otherwise comes to the same facts: other order, files, units."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.facts import Facts
from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text

MIB = 2**20
Written = tuple[str, ...]
"""Ways to write one amount."""


def bytes_(number: int) -> Written:
    """Return ways to write so many MiB."""
    written = (f"{number} MiB", f"{number * 1024} KiB", f"{number * MIB} B", f"{number}.0MiB")
    return (*written, f"{number / 1024:.10f} GiB")


def cores(tenths: int) -> Written:
    """Return ways to write so many tenths of a core."""
    return (f"{tenths * 100}m", f"{tenths / 10}", f"{tenths / 10:.2f}")


def bits(number: int) -> Written:
    """Return ways to write so many Mbit/s."""
    return (f"{number} Mbit/s", f"{number * 1000} kbit/s", f"{number / 1000:.3f} Gbit/s")


def share(percent: int) -> Written:
    """Return ways to write a share."""
    exact = Fraction(percent, 100)
    return (f"{percent}%", f"{percent / 100}", f"{exact.numerator}/{exact.denominator}")


def months(number: int) -> Written:
    """Return ways to write so many months."""
    return (f"{number} months", *((f"{number // 12} years",) if number % 12 == 0 else ()))


def days(weeks: int) -> Written:
    """Return ways to write so many weeks."""
    return (f"{weeks} weeks", f"{weeks * 7} days", f"{weeks * 7} d")


AMOUNTS = {
    "memory": st.integers(0, 10**6).map(bytes_),
    "disk": st.integers(0, 10**6).map(bytes_),
    "cores": st.integers(0, 1000).map(cores),
    "bandwidth": st.integers(0, 10**5).map(bits),
}
HAS = st.fixed_dictionaries({}, optional=AMOUNTS)
NEEDS = st.fixed_dictionaries({}, optional=AMOUNTS)
NAMES = ("ash", "beech", "cedar")


def several(item: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Return lists of things with the names that `NAMES` has, one or more."""
    made = st.lists(item, min_size=1, max_size=3)
    return made.map(
        lambda found: [{"name": name, **one} for name, one in zip(NAMES, found, strict=False)]
    )


REQUIRES = st.builds(
    lambda needs, size: needs | size,
    NEEDS,
    st.sampled_from([{}, {"size": "ash"}]),
)
SERVICE = st.fixed_dictionaries(
    {
        "components": several(
            st.fixed_dictionaries(
                {"requires": REQUIRES},
                optional={
                    "spread": st.just([{"over": "host"}, {"over": "site", "at_least": 2}]),
                    "instances": st.just([{"count": 2, "on": ["ash"]}]),
                },
            )
        ),
        "growth": st.lists(
            st.fixed_dictionaries(
                {
                    "component": st.just("ash"),
                    "resources": st.permutations(["cores", "memory"]),
                    "rate": st.integers(0, 100).map(
                        lambda percent: tuple(f"{one}/month" for one in share(percent))
                    ),
                    "since": st.sampled_from(["2011-01-01", "2020-05-01"]),
                }
            ),
            max_size=2,
        ),
        "observed": st.lists(
            st.fixed_dictionaries(
                {
                    "resource": st.just("cores"),
                    "share": st.integers(0, 100).map(share),
                    "on": st.sampled_from(["2025-06-01", "2026-01-01"]),
                }
            ),
            max_size=2,
            unique_by=lambda one: one["on"],
        ),
    }
)
ESTATES = st.fixed_dictionaries(
    {
        "sites": several(st.fixed_dictionaries({"bandwidth": AMOUNTS["bandwidth"]})),
        "sponsors": several(st.just({})),
        "pledges": several(
            st.fixed_dictionaries(
                {
                    "sponsor": st.just("ash"),
                    "what": st.just("hosts"),
                    "minimum_term": st.integers(0, 60).map(months),
                    "notice": st.integers(0, 60).map(days),
                }
            )
        ),
        "hosts": several(
            st.builds(
                lambda has, more: has | {"architecture": "amd64"} | more,
                HAS,
                st.sampled_from([{}, {"site": "ash", "pledge": "ash"}]),
            )
        ),
        "sizes": several(NEEDS),
        "services": several(SERVICE),
        "catalogue": several(
            st.builds(lambda has: has | {"architecture": "amd64", "cost": 2}, HAS)
        ),
    }
)


def written(value: Any, choice: Random) -> Any:
    """Return what is to be written, each amount in one of its ways."""
    if isinstance(value, tuple):
        return choice.choice(value)
    if isinstance(value, dict):
        return {key: written(part, choice) for key, part in value.items()}
    return [written(part, choice) for part in value] if isinstance(value, list) else value


def read(*files: Any) -> str:
    """Return the facts of files in their order, but not where each was written."""
    texts = [Text(f"{n}.yaml", json.dumps(file).encode()) for n, file in enumerate(files)]
    return repr(without_places(asdict(resolved(texts)[1])))


def without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_places(v) for k, v in value.items() if k not in ("where", "digest")}
    if isinstance(value, list | tuple):
        return [without_places(part) for part in value]
    return sorted(value) if isinstance(value, frozenset) else value


@settings(deadline=None, max_examples=60)
@given(ESTATES, st.randoms(use_true_random=False))
def test_other_units(estate: dict[str, Any], choice: Random) -> None:
    first = {key: written(part, Random(0)) for key, part in estate.items()}
    assert read(first) == read(written(estate, choice))


@settings(deadline=None, max_examples=60)
@given(ESTATES, st.randoms(use_true_random=False))
def test_other_order_and_other_files(estate: dict[str, Any], choice: Random) -> None:
    first = written(estate, Random(0))
    files: list[dict[str, Any]] = [{}, {}, {}]
    entries = [(section, one) for section, things in first.items() for one in things]
    choice.shuffle(entries)
    for section, one in entries:
        shuffled = dict(choice.sample(sorted(one.items()), len(one)))
        for inner in ("components", "growth", "observed"):
            if inner in shuffled:
                shuffled[inner] = choice.sample(shuffled[inner], len(shuffled[inner]))
        choice.choice(files).setdefault(section, []).append(shuffled)
    assert read(first) == read(*(file for file in files if file))


def test_without_places_means_what_it_says() -> None:
    found = asdict(resolved([Text("a.yaml", b"hosts: [{name: a, architecture: amd64}]")])[1])
    assert set(Facts.__slots__) - set(without_places(found)) == {"digest"}
