"""The scheduler's own statements: what it asks and writes thousands of times, in plain SQL.

Everything rarer goes through the models. Rows are locked in the order builder, job, lease.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from commonfarm.agent import protocol
from commonfarm.farm.database import Connection
from commonfarm.farm.events import JobLeased, SchedulerElected
from commonfarm.farm.limits import limits_for
from commonfarm.farm.models import LEASE_TIME, RENEW_SECONDS
from commonfarm.farm.scheduler import Needs, Offer, QueuedJob
from commonfarm.farm.sources import has_packages_of
from commonfarm.journal.interface import CHANNEL

SCHEDULER = "process:scheduler"

_log = logging.getLogger(__name__)


class DeposedError(Exception):
    """Another scheduler was elected: this one's epoch is past and it gives out nothing more."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A builder that just asked for work, as its row says. `active` are its running leases."""

    id: int
    name: str
    generation: int
    offer: Offer
    cores: int
    slots: int
    running: int
    clean: bool
    cordon_reason: str | None
    active: frozenset[int]

    @property
    def may_build(self) -> bool:
        """Whether it could be given a job now."""
        return self.cordon_reason is None and self.clean and self.running < self.slots


@dataclass(frozen=True, slots=True)
class Grant:
    """A job that is to go to a builder."""

    job: QueuedJob
    to: Heard


@dataclass(frozen=True, slots=True)
class Refused:
    """A grant that could not be: the job waits no more, or the builder may not build now."""

    job_waits: bool


_HEARD = """
UPDATE fleet_builder SET last_seen_at = %(now)s, features = %(features)s, cores = %(cores)s,
    memory_bytes = %(memory)s, disk_bytes = %(disk)s, facts = %(facts)s
WHERE credential_digest = %(digest)s AND generation = %(generation)s
RETURNING id, name, generation, architecture, slots, running, cleanliness,
    cordoned_at IS NOT NULL AS cordoned, cordon_reason,
    ARRAY(SELECT l.id FROM farm_lease l
          WHERE l.builder_id = fleet_builder.id AND l.ended_at IS NULL) AS active
"""


async def hear(
    connection: Connection, digest: str, request: protocol.LeaseRequest, now: datetime
) -> Heard | None:
    """Note that a builder asked and what it says of itself; None for an unknown credential or
    another generation than its present one.
    """
    facts = request.facts
    values = {
        "now": now,
        "features": Jsonb(sorted(set(facts.features))),
        "cores": facts.cores,
        "memory": facts.memory_bytes,
        "disk": facts.disk_bytes,
        "facts": Jsonb(asdict(facts)),
        "digest": digest,
        "generation": request.generation,
    }
    row = await (await connection.execute(_HEARD, values)).fetchone()
    if row is None:
        return None
    return Heard(
        id=row["id"],
        name=row["name"],
        generation=row["generation"],
        offer=Offer(
            builder=row["name"],
            architecture=row["architecture"],
            features=frozenset(facts.features),
            memory_bytes=facts.memory_bytes,
            disk_bytes=facts.disk_bytes,
        ),
        cores=facts.cores,
        slots=row["slots"],
        running=row["running"],
        clean=row["cleanliness"] == "clean",
        cordon_reason=row["cordon_reason"] if row["cordoned"] else None,
        active=frozenset(row["active"]),
    )


_WAITING = """
SELECT j.id, j.priority, j.needs, extract(epoch FROM j.created_at)::float8 AS queued_at,
    t.architecture, b.submitted_by
FROM farm_job j JOIN estate_target t ON t.id = j.target_id JOIN farm_build b ON b.id = j.build_id
WHERE j.state = 'waiting'
"""


async def waiting(connection: Connection, ids: Collection[int] | None = None) -> list[QueuedJob]:
    """Return the jobs that wait, of these ids or all, in the order they were made."""
    if ids is None:
        found = await connection.execute(_WAITING + " ORDER BY j.id")
    else:
        found = await connection.execute(_WAITING + " AND j.id = ANY(%s) ORDER BY j.id", [[*ids]])
    # Many jobs ask for the same, and few people submit them: one object stands for all equal ones.
    needs: dict[Needs, Needs] = {}
    submitters: dict[str, str] = {}
    jobs = []
    async for row in found:
        asked = needs_of(row["architecture"], row["needs"])
        submitter = row["submitted_by"]
        jobs.append(
            QueuedJob(
                id=row["id"],
                needs=needs.setdefault(asked, asked),
                submitter=submitters.setdefault(submitter, submitter),
                queued_at=row["queued_at"],
                priority=row["priority"],
            )
        )
    return jobs


async def waiting_ids(connection: Connection) -> set[int]:
    """Return the ids of all jobs that wait."""
    # As one array: a hundred thousand rows would hold up everybody who polls.
    found = await connection.execute(
        "SELECT array_agg(id) AS ids FROM farm_job WHERE state = 'waiting'"
    )
    row = await found.fetchone()
    return set(row["ids"] or ()) if row is not None else set()


def needs_of(architecture: str, needs: dict[str, Any]) -> Needs:
    """Return what a job asks for, from its row and its target's architecture."""
    return Needs(
        architecture=architecture,
        features=frozenset(needs.get("features", ())),
        memory_bytes=needs.get("memory_bytes", 0),
        disk_bytes=needs.get("disk_bytes", 0),
    )


async def begin_epoch(connection: Connection, holder: str, now: datetime) -> int:
    """Raise the epoch and return it. It waits for leases that are being committed, and afterwards
    those of a former epoch are refused.
    """
    async with connection.transaction():
        found = await connection.execute(
            "INSERT INTO farm_schedulerepoch AS e (id, epoch, holder, since_at)"
            " VALUES (1, 1, %(holder)s, %(now)s)"
            " ON CONFLICT (id) DO UPDATE SET epoch = e.epoch + 1, holder = excluded.holder,"
            " since_at = excluded.since_at RETURNING epoch",
            {"holder": holder, "now": now},
        )
        row = await found.fetchone()
        assert row is not None
        epoch = int(row["epoch"])
        await _record(
            connection,
            [(SCHEDULER, SchedulerElected.what, "process:scheduler", {"epoch": epoch})],
        )
    return epoch


async def commit(
    connection: Connection, epoch: int, grants: list[Grant], now: datetime
) -> list[protocol.Lease | Refused]:
    """Give out jobs in one transaction; an answer for each grant, in their order.

    A builder is marked DIRTY in the same transaction. Raises DeposedError when `epoch` is past.
    """
    async with connection.transaction():
        found = await connection.execute(
            "SELECT epoch FROM farm_schedulerepoch WHERE id = 1 FOR SHARE"
        )
        row = await found.fetchone()
        if row is None or row["epoch"] != epoch:
            raise DeposedError
        builders = await _locked(
            connection,
            "SELECT b.id FROM fleet_builder b"
            " JOIN unnest(%s::bigint[], %s::bigint[]) AS asked(id, generation)"
            " ON b.id = asked.id AND b.generation = asked.generation"
            " WHERE b.cordoned_at IS NULL AND b.cleanliness = 'clean' AND b.running < b.slots"
            " ORDER BY b.id FOR UPDATE OF b",
            [grant.to.id for grant in grants],
            [grant.to.generation for grant in grants],
        )
        jobs = await _locked(
            connection,
            "SELECT id FROM farm_job WHERE id = ANY(%s) AND state = 'waiting'"
            " ORDER BY id FOR UPDATE",
            [grant.job.id for grant in grants],
        )
        details = await _details(connection, sorted(jobs))
        given: list[Grant] = []
        for grant in grants:
            if grant.to.id in builders and grant.job.id in details:
                builders.remove(grant.to.id)  # one job a builder and batch: it is DIRTY from here
                given.append(grant)
        leases = await _give(connection, epoch, given, details, now) if given else {}
    return [
        leases.get(grant.job.id) or Refused(job_waits=grant.job.id in details) for grant in grants
    ]


async def _locked(connection: Connection, statement: str, *values: list[int]) -> set[int]:
    found = await connection.execute(statement, values)
    return {row["id"] for row in await found.fetchall()}


async def _give(
    connection: Connection,
    epoch: int,
    given: list[Grant],
    details: dict[int, DictRow],
    now: datetime,
) -> dict[int, protocol.Lease]:
    jobs = [grant.job.id for grant in given]
    builders = [grant.to.id for grant in given]
    await connection.execute(
        "UPDATE farm_job SET state = 'leased', state_reason = '' WHERE id = ANY(%s)", [jobs]
    )
    await connection.execute(
        "UPDATE fleet_builder SET cleanliness = 'dirty', running = running + 1 WHERE id = ANY(%s)",
        [builders],
    )
    deadline = now + LEASE_TIME
    found = await connection.execute(
        "INSERT INTO farm_lease (job_id, builder_id, generation, epoch, given_at, deadline_at,"
        " outcome, reason, facts)"
        " SELECT job, builder, generation, %s, %s, %s, '', '', '{}'"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS asked(job, builder, generation)"
        " RETURNING id, job_id",
        [epoch, now, deadline, jobs, builders, [grant.to.generation for grant in given]],
    )
    ids = {row["job_id"]: row["id"] for row in await found.fetchall()}
    await _record(
        connection,
        [
            (
                SCHEDULER,
                JobLeased.what,
                f"job:{grant.job.id}",
                {"lease": ids[grant.job.id], "builder": grant.to.name},
            )
            for grant in given
        ],
    )
    return {
        grant.job.id: _lease(ids[grant.job.id], grant, details[grant.job.id], deadline)
        for grant in given
    }


async def _record(
    connection: Connection, events: Iterable[tuple[str, str, str, dict[str, Any]]]
) -> None:
    """Write events as the journal's recorder does, for a connection that Django does not hold."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO journal_entry (who, what, subject, why, details)"
            " VALUES (%s, %s, %s, '', %s)",
            [(who, what, subject, Jsonb(details)) for who, what, subject, details in events],
        )
        await cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


_DETAILS = """
SELECT j.id, j.rebuild_suffix, t.name AS target, t.architecture, t.package_sources, t.keyring,
    s.name AS source, s.version, s.control->>'Architecture' AS built_for, d.name AS dsc,
    (SELECT jsonb_agg(jsonb_build_object('name', f.name, 'size', o.size, 'sha256', o.sha256)
                      ORDER BY f.name)
     FROM farm_sourcefile f JOIN store_blob o ON o.sha256 = f.blob_id
     WHERE f.source_id = s.id) AS files
FROM farm_job j JOIN estate_target t ON t.id = j.target_id
JOIN farm_build b ON b.id = j.build_id JOIN farm_source s ON s.id = b.source_id
JOIN farm_sourcefile d ON d.source_id = s.id AND d.blob_id = s.dsc_id
WHERE j.id = ANY(%s)
"""


async def _details(connection: Connection, jobs: list[int]) -> dict[int, DictRow]:
    """Return what the leases of these jobs tell; a job whose keyring is missing is left out."""
    found = await connection.execute(_DETAILS, [jobs])
    details = {}
    for row in await found.fetchall():
        try:
            details[row["id"]] = {**row, "keyring": keyring(row["keyring"])}
        except OSError as error:
            _log.warning("job %s cannot be given out: %s", row["id"], error)
    return details


def _lease(lease_id: int, grant: Grant, row: DictRow, deadline: datetime) -> protocol.Lease:
    needs, builder = grant.job.needs, grant.to
    return protocol.Lease(
        id=lease_id,
        job=grant.job.id,
        deadline_at=deadline.isoformat(),
        renew_seconds=RENEW_SECONDS,
        buildroot=protocol.Buildroot(
            target=row["target"],
            architecture=row["architecture"],
            package_sources=[
                protocol.PackageSource(one["uri"], one["suite"], one["components"])
                for one in row["package_sources"]
            ],
            keyring=row["keyring"],
        ),
        source_name=row["source"],
        source_version=row["version"],
        dsc=row["dsc"],
        files=[protocol.SourceFile(**one) for one in row["files"]],
        limits=limits_for(
            memory_bytes=builder.offer.memory_bytes,
            disk_bytes=builder.offer.disk_bytes,
            slots=builder.slots,
            needed_memory=needs.memory_bytes,
            needed_disk=needs.disk_bytes,
        ),
        parallel=max(1, builder.cores // builder.slots),
        rebuild_suffix=row["rebuild_suffix"],
        build=_build(row),
    )


def _build(row: DictRow) -> str:
    """Say what a job builds: all packages, but in a rebuild only what depends on the architecture.

    The packages for all architectures stay as they are published, since a rebuild for another
    target would make them once more. A source that has nothing else here builds them again.
    """
    built_for = (row["built_for"] or "any").split()
    if row["rebuild_suffix"] is None or not has_packages_of(row["architecture"], built_for):
        return protocol.BINARY
    return protocol.ANY


def keyring(path: str) -> str:
    """Return a keyring's bytes in base64; raise OSError when it cannot be read."""
    return _keyring(path, Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _keyring(path: str, _modified_ns: int) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()
