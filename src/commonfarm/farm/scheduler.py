"""Which job a builder gets, and why a job waits. Plain values: no clock, no database.

Order. Each job has one rank, given when it is queued and never changed, so the queue is a heap:

    start = max(queued_at, start of the submitter's previous job + SHARE_SECONDS)
    rank  = start - priority * PRIORITY_SECONDS

The smallest rank goes first. `start` is the fair start time of start-time fair queueing (Goyal,
Vin, Cheng 1996) with real time for virtual time: whoever submits a thousand jobs at once stands in
line like somebody who submits one every SHARE_SECONDS, and a job that has waited longer goes first.
A priority point is worth an hour of waiting, so nothing waits forever behind it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from commonfarm.lib.errors import Reason
from commonfarm.lib.units import format_bytes, format_seconds

SHARE_SECONDS = 300.0
PRIORITY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job asks of a builder; sizes in bytes."""

    architecture: str
    features: frozenset[str] = frozenset()
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits. `queued_at` is in seconds since 1970."""

    id: int
    needs: Needs
    submitter: str
    queued_at: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What a builder has; sizes in bytes."""

    builder: str
    architecture: str
    features: frozenset[str] = frozenset()
    memory_bytes: int = 0
    disk_bytes: int = 0

    def fits(self, needs: Needs) -> bool:
        """Say whether a job with `needs` can be built there."""
        return (
            self.architecture == needs.architecture
            and self.features >= needs.features
            and self.memory_bytes >= needs.memory_bytes
            and self.disk_bytes >= needs.disk_bytes
        )


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job with its place in the line."""

    rank: float
    job: QueuedJob


class Queue:
    """All waiting jobs, one heap for each kind of needs, of which there are few."""

    def __init__(self) -> None:
        self._tickets: dict[int, Ticket] = {}
        self._heaps: dict[Needs, list[tuple[float, int]]] = {}
        self._starts: dict[tuple[str, int], tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._tickets

    def ids(self) -> set[int]:
        """Return the ids of all that wait."""
        return set(self._tickets)

    def put(self, job: QueuedJob) -> None:
        """Let `job` stand in line; one that does already keeps its place."""
        if job.id in self._tickets:
            return
        line = (job.submitter, job.priority)
        start = job.queued_at
        if line in self._starts:
            start = max(start, self._starts[line][0] + SHARE_SECONDS)
        self._add(Ticket(start - job.priority * PRIORITY_SECONDS, job), start)

    def put_back(self, ticket: Ticket) -> None:
        """Undo a `take`: the job has its old place again."""
        if ticket.job.id not in self._tickets:
            self._add(ticket, ticket.rank + ticket.job.priority * PRIORITY_SECONDS)

    def drop(self, job_id: int) -> None:
        """Forget a job that no longer waits."""
        ticket = self._tickets.pop(job_id, None)
        if ticket is None:
            return
        line = (ticket.job.submitter, ticket.job.priority)
        start, count = self._starts[line]
        if count > 1:
            self._starts[line] = (start, count - 1)
        else:
            # Who has nothing in line owes nothing for what idle builders took off at once.
            del self._starts[line]

    def take(self, offer: Offer) -> Ticket | None:
        """Take out the first job in line that `offer` fits; None when there is none."""
        best: list[tuple[float, int]] | None = None
        for needs in list(self._heaps):
            if not offer.fits(needs):
                continue
            heap = self._heaps[needs]
            while heap and not self._is_current(heap[0]):
                heapq.heappop(heap)
            if not heap:
                del self._heaps[needs]
            elif best is None or heap[0] < best[0]:
                best = heap
        if best is None:
            return None
        _, job_id = heapq.heappop(best)
        ticket = self._tickets[job_id]
        self.drop(job_id)
        return ticket

    def _is_current(self, entry: tuple[float, int]) -> bool:
        ticket = self._tickets.get(entry[1])
        return ticket is not None and ticket.rank == entry[0]

    def _add(self, ticket: Ticket, start: float) -> None:
        job = ticket.job
        line = (job.submitter, job.priority)
        latest, count = self._starts.get(line, (start, 0))
        self._starts[line] = (max(latest, start), count + 1)
        self._tickets[job.id] = ticket
        heapq.heappush(self._heaps.setdefault(job.needs, []), (ticket.rank, job.id))


class Wait(StrEnum):
    """Every reason for which a job waits."""

    NO_SCHEDULER = "no-scheduler"
    NO_KEYRING = "no-keyring"
    NO_BUILDER = "no-builder"
    FEATURE = "no-feature"
    MEMORY = "too-little-memory"
    DISK = "too-little-disk"
    CORDONED = "all-cordoned"
    SILENT = "all-silent"
    BUSY = "all-busy"
    NEXT_POLL = "next-poll"


@dataclass(frozen=True, slots=True)
class BuilderView:
    """A builder as `explain` sees it. `silent_seconds` is None while it answers in time."""

    offer: Offer
    cordon_reason: str | None = None
    silent_seconds: float | None = None
    free: bool = True


def explain(
    needs: Needs, builders: Iterable[BuilderView], *, ahead: int, scheduler_active: bool
) -> list[Reason]:
    """Return why a job with `needs` waits, the binding constraint first.

    Builders are sifted by one demand after another; the demand that nobody meets is the reason.
    `ahead` counts the jobs before it in line for the same kind of builder.
    """
    reasons = []
    if not scheduler_active:
        reasons.append(
            Reason(Wait.NO_SCHEDULER, "no scheduler is active", "look at `commonfarm status`")
        )
    reasons.append(_of_builders(needs, list(builders), ahead))
    return reasons


def _of_builders(needs: Needs, builders: list[BuilderView], ahead: int) -> Reason:
    def sift(fits: Callable[[BuilderView], bool]) -> tuple[list[BuilderView], list[BuilderView]]:
        return builders, [one for one in builders if fits(one)]

    before, builders = sift(lambda one: one.offer.architecture == needs.architecture)
    if not builders:
        return Reason(
            Wait.NO_BUILDER,
            f"there is no builder of {needs.architecture}",
            f"enrol one into a pool of {needs.architecture}",
        )
    before, builders = sift(lambda one: one.offer.features >= needs.features)
    if not builders:
        return _no_feature(needs, before)
    before, builders = sift(lambda one: one.offer.memory_bytes >= needs.memory_bytes)
    if not builders:
        most = max(one.offer.memory_bytes for one in before)
        return _too_little(Wait.MEMORY, "memory", most, needs.memory_bytes)
    before, builders = sift(lambda one: one.offer.disk_bytes >= needs.disk_bytes)
    if not builders:
        most = max(one.offer.disk_bytes for one in before)
        return _too_little(Wait.DISK, "disk", most, needs.disk_bytes)
    before, builders = sift(lambda one: one.cordon_reason is None)
    if not builders:
        why = ", ".join(f"{one.offer.builder} ({one.cordon_reason})" for one in before[:5])
        return Reason(
            Wait.CORDONED,
            f"every builder that could is cordoned: {why}",
            "uncordon one: commonfarm fleet uncordon NAME",
        )
    before, builders = sift(lambda one: one.silent_seconds is None)
    if not builders:
        last = min(before, key=lambda one: one.silent_seconds or 0.0)
        return Reason(
            Wait.SILENT,
            f"no builder that could has asked for work; the last was {last.offer.builder},"
            f" {format_seconds(last.silent_seconds or 0.0)} ago",
            "start its agent, or see whether it reaches the scheduler",
        )
    before, builders = sift(lambda one: one.free)
    if not builders:
        return Reason(
            Wait.BUSY,
            f"every builder that could is busy ({len(before)}), and about {ahead} jobs are ahead",
            "it starts when a builder gets free",
        )
    return Reason(
        Wait.NEXT_POLL,
        f"{builders[0].offer.builder} is free, and about {ahead} jobs are ahead",
        "it starts when its turn comes at a builder's next poll",
    )


def _no_feature(needs: Needs, builders: list[BuilderView]) -> Reason:
    had = frozenset[str]().union(*(one.offer.features for one in builders))
    missing = sorted(needs.features - had)
    if missing:
        text = f"no builder of {needs.architecture} has {', '.join(missing)}"
    else:
        text = (
            f"no single builder of {needs.architecture} has all of"
            f" {', '.join(sorted(needs.features))}"
        )
    return Reason(Wait.FEATURE, text, "enrol a builder that has, or ask for less")


def _too_little(code: Wait, what: str, most: int, needed: int) -> Reason:
    return Reason(
        code,
        f"the builder with the most {what} has {format_bytes(most)},"
        f" and the job needs {format_bytes(needed)}",
        "enrol a larger builder, or ask for less",
    )
