"""Whole hosts chosen among: the same as all placements there are, and as the exact model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.estate.facts import Facts
from commonfarm.estate.placement import columns, model, search
from commonfarm.estate.placement.contents import SCALE, HostColumns, groups_of
from commonfarm.estate.placement.greedy import greedy
from commonfarm.estate.placement.ledger import Ledger, score
from commonfarm.estate.placement.problem import Effort
from tests.estate.making import facts, host, instance, spread
from tests.estate.test_search import best, holds, posed

FEW = settings(max_examples=25, deadline=None)
AMOUNTS = st.fixed_dictionaries(
    {"cores": st.integers(0, 3), "memory": st.integers(0, 6).map("{} GiB".format)},
    optional={"required": st.just((("CUSTOM_A",),))},
)


@st.composite
def estates(draw: Any, instances: int = 5) -> Facts:
    """Draw an estate whose hosts share nothing but instances."""
    hosts = ("a", "b", "c")[: draw(st.integers(2, 3))]
    kinds = draw(st.lists(AMOUNTS, min_size=1, max_size=3))
    return facts(
        *(
            host(
                name,
                cores=draw(st.integers(0, 6)),
                memory=f"{draw(st.integers(0, 12))} GiB",
                traits=draw(st.sets(st.just("CUSTOM_A"))),
            )
            for name in hosts
        ),
        *(
            instance(
                f"s{number}",
                priority=draw(st.sampled_from([1, 1, 3])),
                on=draw(st.sampled_from([None, *hosts])),
                **draw(st.sampled_from(kinds)),
            )
            for number in range(draw(st.integers(1, instances)))
        ),
    )


@FEW
@given(estates())
def test_columns_find_and_prove_the_best_of_all(estate: Facts) -> None:
    problem = posed(estate)
    if not any(item.kind.hosts for item in problem.items):
        return
    found = columns.best(problem, {}, Effort(), sum(item.priority for item in problem.items))
    reached, most = score(problem, found.on), best(problem)
    assert holds(problem, found.on)
    assert (reached.weight, reached.stays) == (most.weight, most.stays)
    assert (found.weight, found.stays) == (most.weight, most.stays)


@FEW
@given(estates(instances=12))
def test_columns_prove_what_the_model_proves(estate: Facts) -> None:
    problem = posed(estate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MOST_COUNTS", -1)
        found = search.solve(problem, Effort())
    known = model.place(problem, greedy(problem, {}).on, Effort(), {})
    assert holds(problem, found.on)
    assert (found.most_placed, found.fewest_moves) == (True, True)
    reached, most = score(problem, found.on), score(problem, known.on)
    assert (reached.weight, reached.stays) == (most.weight, most.stays)


def test_without_effort_the_bounds_still_hold() -> None:
    problem = posed(
        facts(
            *(host(name, cores=4, memory="8 GiB") for name in "ab"),
            *(instance(f"s{n}", cores=3, memory="2 GiB", on="a") for n in range(4)),
        )
    )
    start = greedy(problem, {}).on
    found = columns.best(problem, start, Effort(limit=0), 4)
    assert holds(problem, found.on)
    assert score(problem, found.on).weight <= found.weight
    assert best(problem).stays <= found.stays


def test_hosts_that_share_more_than_instances_are_left_to_the_model() -> None:
    alone = [host("a", memory="8 GiB"), instance("s", memory="2 GiB", dedicated=True)]
    apart = [host("a", memory="8 GiB"), *(instance(one, memory="1 GiB") for one in "st")]
    rule = spread("s/app/production/1", "t/app/production/1", over="host", at_most=1)
    assert not columns.applies(posed(facts(*alone)))
    assert not columns.applies(posed(facts(*apart, rule)))
    assert columns.applies(posed(facts(*apart)))


def test_weights_that_floats_do_not_tell_apart_are_left_to_the_model() -> None:
    def weighing(*priorities: int) -> Facts:
        running = (
            instance(f"s{n}", memory="1 GiB", on="a", priority=priorities[n % len(priorities)])
            for n in range(300)
        )
        return facts(host("a", memory="64 GiB"), *running)

    assert columns.applies(posed(weighing(1000, 300, 100, 30)))
    assert columns.applies(posed(weighing(1_000_000)))
    assert not columns.applies(posed(weighing(1_000_000, 999_999)))


def test_a_bound_on_stays_is_for_the_weight_that_can_be_reached() -> None:
    """All that is proven of a weight that nothing reaches is forgotten with it."""
    small: dict[str, Any] = {"cores": 1, "memory": "1 GiB"}
    early = facts(
        host("a", cores=3, memory="1 GiB"),
        host("b", cores=6, memory="2 GiB"),
        host("c", cores=4, memory="0 GiB"),
        instance("s0", priority=3, **small),
        instance("s1", priority=3, on="b", memory="2 GiB"),
        instance("s2", priority=1, **small),
        *(instance(one, priority=1, on="a", **small) for one in ("s3", "s4")),
    )
    # Here the linear program alone does not say that the weight cannot be reached.
    late = facts(
        host("a", cores=1, memory="1 GiB"),
        host("b", cores=3, memory="12 GiB"),
        host("c", cores=3, memory="3 GiB"),
        *(instance(one, priority=1, memory="6 GiB") for one in ("s0", "s1")),
        instance("s2", priority=3, on="a", memory="6 GiB"),
        instance("s3", priority=3, on="c", cores=1, memory="2 GiB"),
        instance("s4", priority=3, on="a", cores=1, memory="2 GiB"),
    )
    for estate in (early, late):
        problem = posed(estate)
        most = best(problem)
        found = columns.best(problem, {}, Effort(), most.weight + 1)
        assert score(problem, found.on) == most
        assert (found.weight, found.stays) == (most.weight, most.stays)


def test_no_content_is_worth_more_than_the_bound_of_its_host() -> None:
    """The solver gives this one's bound as 270991695924.99997, which is an integer and no less."""
    problem = posed(
        facts(
            host("a", cores=5),
            instance("s0", cores=3, on="a"),
            instance("s1", cores=4),
            instance("s2", on="a"),
        )
    )
    prices = [591_247, 270_986_190_244, 4_505_681]
    bound, content, _ = HostColumns(problem, "a", groups_of(problem), 1).price(prices)
    worth = sum(prices[group] * many + SCALE * stays for group, many, stays in content)
    assert content == ((1, 1, 0), (2, 1, 1))
    assert worth <= bound


def test_what_the_solver_takes_for_a_placement_and_is_none_proves_nothing() -> None:
    """Next to weights of millions it takes sums as equal that differ by a few."""
    kinds = {
        "p": (2, 4, 1_000_000, "aaabbbccdddd   "),
        "q": (4, 1, 1_000_000, "aaaaabbbccccccdddddd      "),
        "r": (3, 1, 999_999, "aabbbbbccccc  "),
        "s": (3, 6, 1_000_000, "aaaaaabbbbcccccccdddddd       "),
    }
    rooms = {"a": (23, 39), "b": (30, 54), "c": (24, 34), "d": (23, 22)}
    problem = posed(
        facts(
            *(host(name, cores=n, memory=f"{m} GiB") for name, (n, m) in rooms.items()),
            *(
                instance(
                    f"{name}{n}",
                    cores=cores,
                    memory=f"{memory} GiB",
                    priority=priority,
                    on=on.strip() or None,
                )
                for name, (cores, memory, priority, hosts) in kinds.items()
                for n, on in enumerate(hosts)
            ),
        )
    )
    known = model.place(problem, {}, Effort(), {})
    assert known.fewest_moves
    most = score(problem, known.on)
    found = columns.best(problem, {}, Effort(limit=2), most.weight)
    assert (found.weight, found.stays) >= (most.weight, most.stays)


def crowded() -> Facts:
    """Return an estate in which not all fits, too large for a proof within a small effort."""
    hosts = (host(f"h{n}", cores=8 + n % 5, memory=f"{16 + 7 * n % 17} GiB") for n in range(6))
    instances = (
        instance(
            f"s{n}",
            cores=1 + n % 4,
            memory=f"{1 + 7 * n % 11} GiB",
            priority=1 + n % 3,
            on=f"h{n % 6}" if n % 4 else None,
        )
        for n in range(60)
    )
    return facts(*hosts, *instances)


@pytest.mark.parametrize("limit", [0.0, 0.05, 0.3])
def test_what_is_left_out_fits_nowhere_however_small_the_effort(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_COUNTS", -1)
    problem = posed(crowded())
    found = search.solve(problem, Effort(limit=limit))
    ledger = Ledger(problem)
    for name, where in found.on.items():
        ledger.put(ledger.items[name], where)
    assert holds(problem, found.on)
    for item in problem.items:
        if item.name not in found.on:
            assert not any(ledger.fits(item, one) for one in problem.hosts)
