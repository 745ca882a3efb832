"""The scheduler's choice: only what fits, fairly, and with a reason for whoever waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.farm.scheduler import (
    PRIORITY_SECONDS,
    BuilderView,
    Needs,
    Offer,
    Queue,
    QueuedJob,
    Wait,
    explain,
)

GIB = 2**30

FEATURES = st.frozensets(st.sampled_from(["kvm", "big"]))
SIZES = st.integers(0, 8).map(lambda n: n * GIB)
NEEDS = st.builds(Needs, st.sampled_from(["amd64", "arm64"]), FEATURES, SIZES, SIZES)
OFFERS = st.builds(
    Offer,
    st.just("b"),
    st.sampled_from(["amd64", "arm64", "s390x"]),
    FEATURES,
    SIZES,
    SIZES,
)
JOBS = st.lists(
    st.builds(
        QueuedJob,
        st.integers(1, 10_000),
        NEEDS,
        st.sampled_from(["anna", "ben", "chloe"]),
        st.floats(0, 1e6),
        st.integers(-3, 3),
    ),
    unique_by=lambda job: job.id,
    max_size=30,
)
VIEWS = st.lists(
    st.builds(
        BuilderView,
        OFFERS,
        st.none() | st.just("disk is failing"),
        st.none() | st.floats(91, 1e6),
        st.booleans(),
    ),
    max_size=6,
)


def queue_of(jobs: list[QueuedJob]) -> Queue:
    queue = Queue()
    for job in jobs:
        queue.put(job)
    return queue


def drain(queue: Queue, offer: Offer) -> list[QueuedJob]:
    taken = []
    while (ticket := queue.take(offer)) is not None:
        taken.append(ticket.job)
    return taken


@given(JOBS, OFFERS)
def test_a_builder_gets_all_that_fits_and_nothing_else(jobs: list[QueuedJob], offer: Offer) -> None:
    queue = queue_of(jobs)
    taken = drain(queue, offer)
    fitting = {job.id for job in jobs if offer.fits(job.needs)}
    assert {job.id for job in taken} == fitting
    assert len(taken) == len(fitting)
    assert queue.ids() == {job.id for job in jobs} - fitting


@given(JOBS, OFFERS)
def test_ranks_never_fall_while_jobs_are_taken(jobs: list[QueuedJob], offer: Offer) -> None:
    queue = queue_of(jobs)
    ranks = []
    while (ticket := queue.take(offer)) is not None:
        ranks.append(ticket.rank)
    assert ranks == sorted(ranks)


@given(JOBS, OFFERS, st.data())
def test_a_job_that_is_put_back_has_its_old_place(
    jobs: list[QueuedJob], offer: Offer, data: st.DataObject
) -> None:
    expected = drain(queue_of(jobs), offer)
    queue = queue_of(jobs)
    for _ in range(data.draw(st.integers(0, 3))):
        ticket = queue.take(offer)
        if ticket is not None:
            queue.put_back(ticket)
            queue.put_back(ticket)
    assert drain(queue, offer) == expected


@given(JOBS, st.data())
def test_a_dropped_job_is_never_taken(jobs: list[QueuedJob], data: st.DataObject) -> None:
    queue = queue_of(jobs)
    gone = {job.id for job in jobs if data.draw(st.booleans())}
    for job_id in gone:
        queue.drop(job_id)
        queue.drop(job_id)
    assert len(queue) == len(jobs) - len(gone)
    everything = Offer("b", "amd64", frozenset({"kvm", "big"}), 99 * GIB, 99 * GIB)
    assert not gone & {job.id for job in drain(queue, everything)}


def job(number: int, submitter: str = "anna", at: float = 0.0, priority: int = 0) -> QueuedJob:
    return QueuedJob(number, Needs("amd64"), submitter, at, priority)


AMD64 = Offer("b", "amd64")


def test_a_flood_does_not_stand_before_a_single_job() -> None:
    queue = queue_of([job(n) for n in range(1, 1001)])
    queue.put(job(2000, "ben", at=10.0))
    order = [one.id for one in drain(queue, AMD64)]
    assert order.index(2000) == 1
    assert [n for n in order if n != 2000] == list(range(1, 1001))


def test_who_has_nothing_in_line_starts_afresh() -> None:
    queue = queue_of([job(n) for n in range(1, 1001)])
    drain(queue, AMD64)
    queue.put(job(1001, "anna", at=20.0))
    queue.put(job(1002, "ben", at=21.0))
    assert [one.id for one in drain(queue, AMD64)] == [1001, 1002]


def test_a_priority_point_is_worth_an_hour_and_no_more() -> None:
    queue = queue_of([job(1, "anna", at=0.0), job(2, "ben", PRIORITY_SECONDS - 1, priority=1)])
    assert [one.id for one in drain(queue, AMD64)] == [2, 1]
    queue = queue_of([job(1, "anna", at=0.0), job(2, "ben", PRIORITY_SECONDS + 1, priority=1)])
    assert [one.id for one in drain(queue, AMD64)] == [1, 2]


@given(NEEDS, VIEWS, st.integers(0, 9), st.booleans())
def test_the_reason_is_the_demand_that_nobody_meets(
    needs: Needs, views: list[BuilderView], ahead: int, active: bool
) -> None:
    reasons = explain(needs, views, ahead=ahead, scheduler_active=active)
    assert (reasons[0].code == Wait.NO_SCHEDULER) is not active
    assert len(reasons) == 2 - active
    last = reasons[-1]
    assert last.text and last.lifted_by
    assert Wait(last.code)
    fitting = [one for one in views if one.offer.fits(needs)]
    ready = [
        one
        for one in fitting
        if one.cordon_reason is None and one.silent_seconds is None and one.free
    ]
    assert (last.code == Wait.NEXT_POLL) is bool(ready)
    by_size = {Wait.NO_BUILDER, Wait.FEATURE, Wait.MEMORY, Wait.DISK}
    assert (last.code in by_size) is not bool(fitting)


BIG = Offer("big", "amd64", frozenset({"kvm"}), 4 * GIB, 100 * GIB)


@pytest.mark.parametrize(
    ("needs", "view", "code", "told"),
    [
        (Needs("arm64"), BuilderView(BIG), Wait.NO_BUILDER, "no builder of arm64"),
        (Needs("amd64", frozenset({"tpu"})), BuilderView(BIG), Wait.FEATURE, "has tpu"),
        (
            Needs("amd64", memory_bytes=8 * GIB),
            BuilderView(BIG),
            Wait.MEMORY,
            "most memory has 4.0 GiB, and the job needs 8.0 GiB",
        ),
        (Needs("amd64", disk_bytes=900 * GIB), BuilderView(BIG), Wait.DISK, "100.0 GiB"),
        (Needs("amd64"), BuilderView(BIG, "disk fails"), Wait.CORDONED, "big (disk fails)"),
        (Needs("amd64"), BuilderView(BIG, silent_seconds=120), Wait.SILENT, "2 min 00 s ago"),
        (Needs("amd64"), BuilderView(BIG, free=False), Wait.BUSY, "about 3 jobs are ahead"),
        (Needs("amd64"), BuilderView(BIG), Wait.NEXT_POLL, "big is free"),
    ],
)
def test_each_reason_names_what_binds(
    needs: Needs, view: BuilderView, code: Wait, told: str
) -> None:
    (reason,) = explain(needs, [view], ahead=3, scheduler_active=True)
    assert reason.code == code
    assert told in reason.text


def test_features_that_no_single_builder_has_together() -> None:
    views = [BuilderView(Offer("a", "amd64", frozenset({"kvm"}))),
             BuilderView(Offer("b", "amd64", frozenset({"big"})))]  # fmt: skip
    (reason,) = explain(
        Needs("amd64", frozenset({"kvm", "big"})), views, ahead=0, scheduler_active=True
    )
    assert "no single builder of amd64 has all of big, kvm" in reason.text
