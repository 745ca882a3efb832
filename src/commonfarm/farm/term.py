"""One term of the active scheduler: the queue, the builders that wait, and the leases it commits.

There is no input or output between looking for a job and handing it over; commits are made for all
that was handed over meanwhile (group commit), and a builder is answered only after its commit.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg
from django.utils import timezone

from commonfarm.agent import protocol
from commonfarm.farm import leases, ledger
from commonfarm.farm.database import Connection, Database
from commonfarm.farm.ledger import Grant, Heard, Refused
from commonfarm.farm.models import QUEUE_CHANNEL
from commonfarm.farm.scheduler import Queue, QueuedJob, Ticket

BATCH = 64


@dataclass(frozen=True, slots=True)
class Timing:
    """How often the scheduler looks, in seconds.

    `grace` is how long after an election no lease is taken for expired: while no scheduler was
    active the hub may have been down too, and agents could not renew.
    """

    elect: float = 1.0
    listen: float = 2.0
    resync: float = 60.0
    sweep: float = 5.0
    grace: float = 45.0


class TermOverError(Exception):
    """The term ended while a builder waited; it may ask again at once."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A builder that waits for a job."""

    heard: Heard
    ticket: asyncio.Future[Ticket | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(eq=False, slots=True)
class _Asked:
    """A job that was handed over, on its way to the database. `gone`: the client went away."""

    ticket: Ticket
    heard: Heard
    gone: bool = False
    answer: asyncio.Future[protocol.Lease | Refused] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Term:
    """The time from an election to the loss of the office."""

    def __init__(
        self, database: Database, timing: Timing, connection: Connection, epoch: int
    ) -> None:
        self.epoch = epoch
        self.queue = Queue()
        self._database = database
        self._timing = timing
        self._connection = connection
        self._waiters: dict[int, _Waiter] = {}
        self._asked: asyncio.Queue[_Asked] = asyncio.Queue()
        self._open: set[_Asked] = set()
        self._over = False

    @classmethod
    async def begin(
        cls, database: Database, timing: Timing, connection: Connection, holder: str
    ) -> Term:
        """Raise the epoch, then listen, then load: so no job made meanwhile is missed."""
        epoch = await ledger.begin_epoch(connection, holder, timezone.now())
        term = cls(database, timing, connection, epoch)
        await connection.execute(f"LISTEN {QUEUE_CHANNEL}")
        for job in await ledger.waiting(connection):
            term.queue.put(job)
        # The collector would look through the whole line again and again, and stop all polls.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return term

    def close(self) -> None:
        """Send everybody away."""
        self._over = True
        for waiter in self._waiters.values():
            if not waiter.ticket.done():
                waiter.ticket.set_exception(TermOverError())
        for asked in self._open:
            if not asked.answer.done():
                asked.answer.set_exception(TermOverError())

    async def job_for(self, heard: Heard, wait_seconds: float) -> protocol.Lease | None:
        """Return a committed lease, or None when no job fits within the time.

        Raises TermOverError. When cancelled, a job already handed over goes back into the line.
        """
        until = asyncio.get_running_loop().time() + wait_seconds
        while not self._over:
            ticket = self.queue.take(heard.offer) or await self._wait(heard, until)
            if ticket is None:
                return None
            answer = await self._granted(ticket, heard)
            if isinstance(answer, protocol.Lease):
                return answer
            if answer.job_waits:
                # So it is the builder that may not: cordoned, or of a past generation meanwhile.
                return None
        raise TermOverError

    async def _wait(self, heard: Heard, until: float) -> Ticket | None:
        former = self._waiters.pop(heard.id, None)
        if former is not None and not former.ticket.done():
            former.ticket.set_result(None)
        waiter = self._waiters[heard.id] = _Waiter(heard)
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.shield(waiter.ticket)
        except TimeoutError:
            return waiter.ticket.result() if waiter.ticket.done() else None
        except asyncio.CancelledError:
            if waiter.ticket.done() and (ticket := waiter.ticket.result()) is not None:
                self.queue.put_back(ticket)
                self._hand_out()
            raise
        finally:
            if self._waiters.get(heard.id) is waiter:
                del self._waiters[heard.id]

    async def _granted(self, ticket: Ticket, heard: Heard) -> protocol.Lease | Refused:
        asked = _Asked(ticket, heard)
        self._open.add(asked)
        self._asked.put_nowait(asked)
        try:
            return await asyncio.shield(asked.answer)
        except asyncio.CancelledError:
            # If the commit is under way, the lease is freed at the builder's next poll.
            asked.gone = True
            raise

    def _hand_out(self) -> None:
        """Give what is in line to the builders that wait, the one that waited longest first."""
        for number, waiter in list(self._waiters.items()):
            if waiter.ticket.done():
                continue
            ticket = self.queue.take(waiter.heard.offer)
            if ticket is not None:
                del self._waiters[number]
                waiter.ticket.set_result(ticket)

    async def commit(self) -> None:
        """Commit what was handed over, all that came meanwhile in one transaction."""
        while True:
            batch = [await self._asked.get()]
            while len(batch) < BATCH and not self._asked.empty():
                batch.append(self._asked.get_nowait())
            for asked in batch:
                if asked.gone:
                    self._settle(asked, Refused(job_waits=True))
            batch = [asked for asked in batch if not asked.gone]
            if not batch:
                continue
            grants = [Grant(asked.ticket.job, asked.heard) for asked in batch]
            async with self._database.pool.connection() as connection:
                answers = await ledger.commit(connection, self.epoch, grants, timezone.now())
            for asked, answer in zip(batch, answers, strict=True):
                self._settle(asked, answer)

    def _settle(self, asked: _Asked, answer: protocol.Lease | Refused) -> None:
        self._open.discard(asked)
        if isinstance(answer, Refused) and answer.job_waits:
            self.queue.put_back(asked.ticket)
            self._hand_out()
        if not asked.answer.done():
            asked.answer.set_result(answer)

    async def listen(self) -> None:
        """Follow the notifications of new and ended jobs; ends by an error with the connection."""
        while True:
            every = self._timing.listen
            async for notice in self._connection.notifies(timeout=every):
                await self._look_at(notice)
            # An idle connection does not tell that it is dead until it is used.
            await self._connection.execute("SELECT 1")

    async def _look_at(self, notice: psycopg.Notify) -> None:
        ids = [int(number) for number in notice.payload.split(",") if number.isdigit()]
        if not ids:
            await self._compare()
            return
        async with self._database.pool.connection() as connection:
            found = {job.id: job for job in await ledger.waiting(connection, ids)}
        for number in ids:
            if number not in found:
                self.queue.drop(number)
        self._put(found.values())

    async def resync(self) -> None:
        """Compare the queue with the tables now and then, should a notification have been lost."""
        while True:
            await asyncio.sleep(self._timing.resync)
            await self._compare()

    async def _compare(self) -> None:
        async with self._database.pool.connection() as connection:
            known = self.queue.ids()
            there = await ledger.waiting_ids(connection)
            missing = await ledger.waiting(connection, there - known)
        for number in known - there:
            self.queue.drop(number)
        self._put(missing)

    def _put(self, jobs: Iterable[QueuedJob]) -> None:
        # What is being committed is neither in line nor LEASED yet.
        under_way = {asked.ticket.job.id for asked in self._open}
        for job in jobs:
            if job.id not in under_way:
                self.queue.put(job)
        self._hand_out()

    async def sweep(self) -> None:
        """Free leases whose deadline has passed."""
        await asyncio.sleep(self._timing.grace)
        while True:
            await self._database.in_django(leases.sweep, timezone.now())
            await asyncio.sleep(self._timing.sweep)
