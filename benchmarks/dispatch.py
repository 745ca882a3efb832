"""Dispatch: how long a free builder waits for a job, and how many leases a second there are.

    python benchmarks/dispatch.py [--quick] [--json]

A real scheduler process on a PostgreSQL of its own, with 150,000 jobs in line. 1,000 builders poll
it over HTTP, each on its own connection; each holds its job for a while and then asks again, so
that about 200 leases a second are due. The time is from the request to the committed lease in the
builder's hands. The builders are one process, whose share of the machine is told beside.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg_pool import AsyncConnectionPool

from commonfarm.agent.protocol import Facts, LeaseRequest
from commonfarm.installation.postgres import EmbeddedPostgres
from commonfarm.lib.config import Config, Listen, default, dump
from commonfarm.lib.ids import hash_token

GOAL_P99_MS = 50.0
GOAL_LEASES = 200.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is; seconds."""

    builders: int
    queued: int
    runs: int
    seconds: float
    held: float


FULL = Size(builders=1000, queued=150_000, runs=5, seconds=20, held=4.5)
QUICK = Size(builders=200, queued=20_000, runs=2, seconds=5, held=1.0)

FILL = """
INSERT INTO store_blob VALUES (repeat('a', 64), 100, now()), (repeat('b', 64), 1000, now());
INSERT INTO estate_pool (id, name, architecture) VALUES (1, 'pool', 'amd64');
INSERT INTO estate_target (id, name, declared_suite, suite, components, architecture,
    package_sources, keyring, signed_sources_only)
  VALUES (1, 'target', 'x', 'x', '["main"]', 'amd64',
    '[{"uri": "http://deb.example.org/", "suite": "x", "components": ["main"]}]',
    %(keyring)s, false);
INSERT INTO estate_project (id, name) VALUES (1, 'project');
INSERT INTO farm_source (id, name, version, dsc_id, signed_by, control, added_at)
  VALUES (1, 'hello', '1', repeat('a', 64), '', '{}', now());
INSERT INTO farm_sourcefile (source_id, name, blob_id)
  VALUES (1, 'hello_1.dsc', repeat('a', 64)), (1, 'hello_1.tar.xz', repeat('b', 64));
INSERT INTO farm_build (id, source_id, project_id, submitted_by, submitted_at)
  SELECT n, 1, 1, 'user:u' || n, now() FROM generate_series(1, 50) n;
INSERT INTO farm_job (build_id, target_id, state, state_reason, priority, needs, attempts,
    created_at, results)
  SELECT n %% 50 + 1, 1, 'waiting', '', 0, '{}', 0, now(), '[]'
  FROM generate_series(1, %(queued)s) n;
INSERT INTO fleet_builder (name, pool_id, generation, credential_digest, cleanliness,
    cordon_reason, slots, running, architecture, features, cores, memory_bytes, disk_bytes, facts,
    enrolled_at)
  SELECT 'b' || n, 1, 1, encode(sha256(('secret' || n)::bytea), 'hex'), 'clean', '', 1, 0, 'amd64',
    '[]', 4, 1::bigint << 33, 1::bigint << 36, '{}', now()
  FROM generate_series(1, %(builders)s) n;
"""

END = """
WITH ended AS (UPDATE farm_lease SET ended_at = now(), outcome = 'succeeded' WHERE id = %s
               RETURNING job_id, builder_id),
     job AS (UPDATE farm_job j SET state = 'succeeded', ended_at = now() FROM ended e
             WHERE j.id = e.job_id)
UPDATE fleet_builder b SET running = 0, cleanliness = 'clean' FROM ended e WHERE b.id = e.builder_id
"""


@dataclass(slots=True)
class Farm:
    """PostgreSQL and a scheduler, in a folder of their own."""

    home: Path
    config: Config
    server: EmbeddedPostgres
    postgres: subprocess.Popen[bytes]
    scheduler: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, home: Path, size: Size) -> Farm:
        me = pwd.getpwuid(os.getuid()).pw_name
        port = 20000 + os.getpid() % 20000
        config = default(
            "bench", home / "config.toml", home / "state", home / "run",
            Listen("127.0.0.1", 0, 0, port, 0),
        )  # fmt: skip
        config.file.write_text(dump(config))
        server = EmbeddedPostgres(
            data=home / "data",
            socket_directory=Path(config.database.host),
            runs_as="nobody" if os.getuid() == 0 else None,
            peers={me: ["commonfarm"]},
        )
        server.prepare()
        farm = cls(home, config, server, server.start(home / "postgres.log"))
        server.create("commonfarm", "commonfarm")
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", "--skip-checks"],
            env=farm.environment, check=True,
        )  # fmt: skip
        (home / "keyring").write_bytes(b"k" * 4000)
        values = {
            "keyring": str(home / "keyring"),
            "queued": size.queued,
            "builders": size.builders,
        }
        with psycopg.connect(**farm.database) as connection:
            for statement in FILL.split(";\n"):
                if statement.strip():
                    connection.execute(statement, values)
        with psycopg.connect(**farm.database, autocommit=True) as connection:
            connection.execute("ANALYZE")
        return farm

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COMMONFARM_CONFIG": str(self.config.file),
            "DJANGO_SETTINGS_MODULE": "commonfarm.web.settings",
        }

    @property
    def database(self) -> dict[str, Any]:
        one = self.config.database
        return {"host": one.host, "port": one.port, "dbname": one.name, "user": one.user}

    def start_scheduler(self) -> None:
        code = (
            "from commonfarm.farm.dispatch import serve;"
            "from commonfarm.lib.config import current; serve(current())"
        )
        with (self.home / "scheduler.log").open("wb") as log:
            self.scheduler = subprocess.Popen(
                [sys.executable, "-c", code], env=self.environment, stdout=log, stderr=log
            )

    def stop(self) -> None:
        if self.scheduler is not None:
            self.scheduler.send_signal(signal.SIGTERM)
            try:
                self.scheduler.wait(10)
            except subprocess.TimeoutExpired:
                self.scheduler.kill()
        self.server.stop(self.postgres)


@dataclass(slots=True)
class Measured:
    """One run."""

    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    scheduler_cores: float = 0.0
    load_cores: float = 0.0
    scheduler_mib: float = 0.0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def builder(
    number: int, url: str, size: Size, session: aiohttp.ClientSession,
    pool: AsyncConnectionPool, until: float, measured: Measured,
) -> None:  # fmt: skip
    facts = Facts("amd64", 4, 1 << 33, 1 << 36)
    body = json.dumps(asdict(LeaseRequest(1, facts, clean=True, wait_seconds=20))).encode()
    headers = {"Authorization": f"Bearer secret{number}"}
    assert hash_token("secret1")  # the credentials in FILL are kept in the same way
    chance = random.Random(number)  # noqa: S311 - spreads the load, no secret
    await asyncio.sleep(chance.uniform(0, size.held))
    while time.monotonic() < until:
        begun = time.perf_counter()
        async with session.post(url, data=body, headers=headers) as answer:
            text = await answer.read()
        if answer.status != 200:
            measured.refused += 1
            await asyncio.sleep(0.1)
            continue
        measured.milliseconds.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(chance.uniform(0.5, 1.5) * size.held)
        async with pool.connection() as connection:
            await connection.execute(END, [json.loads(text)["id"]])


async def run(farm: Farm, size: Size) -> Measured:
    assert farm.scheduler is not None
    measured, pid = Measured(), farm.scheduler.pid
    url = f"{farm.config.url('scheduler')}/lease"
    connector = aiohttp.TCPConnector(limit=0)
    pool = AsyncConnectionPool(kwargs={**farm.database, "autocommit": True}, max_size=8, open=False)
    async with pool, aiohttp.ClientSession(connector=connector) as session:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        own, theirs = usage.ru_utime + usage.ru_stime, cpu_seconds(pid)
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(1, size.builders + 1):
                until = begun + size.seconds
                group.create_task(builder(number, url, size, session, pool, until, measured))
        seconds = time.monotonic() - begun
        usage = resource.getrusage(resource.RUSAGE_SELF)
        measured.load_cores = (usage.ru_utime + usage.ru_stime - own) / seconds
        measured.scheduler_cores = (cpu_seconds(pid) - theirs) / seconds
        measured.scheduler_mib = pss_mib(pid)
    return measured


async def until_active(farm: Farm) -> float:
    """Return the seconds from the start of the process until it gives out leases."""
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{farm.config.url('scheduler')}/health") as answer:
                    if (await answer.json())["active"]:
                        return time.monotonic() - begun
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def figure(
    unit: str, values: list[float], goal: float | None = None, *, less: bool = True
) -> dict[str, Any]:
    """Return one figure as benchmarks report them. No peer runs at this size here."""
    ours = statistics.median(values)
    met = None if goal is None else (ours <= goal if less else ours >= goal)
    return {
        "ours": round(ours, 2), "peer": None, "ratio": None, "unit": unit, "runs": len(values),
        "min": round(min(values), 2), "max": round(max(values), 2), "goal": goal, "met": met,
    }  # fmt: skip


def main() -> None:
    size = QUICK if "--quick" in sys.argv else FULL
    home = Path(tempfile.mkdtemp(prefix="cf-bench-"))
    home.chmod(0o755)
    farm = None
    try:
        farm = Farm.make(home, size)
        farm.start_scheduler()
        ready = asyncio.run(until_active(farm))
        runs = [asyncio.run(run(farm, size)) for _ in range(size.runs)]
    finally:
        if farm is not None:
            farm.stop()
        shutil.rmtree(home)
    leases = [len(one.milliseconds) / size.seconds for one in runs]
    goal = GOAL_LEASES if size is FULL else None
    result: dict[str, Any] = {
        "name": "dispatch",
        "leases": figure("1/s", leases, goal, less=False),
        "p50": figure("ms", [percentile(one.milliseconds, 0.5) for one in runs]),
        "p99": figure("ms", [percentile(one.milliseconds, 0.99) for one in runs], GOAL_P99_MS),
        "polls_without_a_lease": figure("", [float(one.refused) for one in runs]),
        "scheduler_cpu": figure("cores", [one.scheduler_cores for one in runs]),
        "scheduler_memory": figure("MiB PSS", [one.scheduler_mib for one in runs]),
        "loader_cpu": figure("cores", [one.load_cores for one in runs]),
        "start_to_active": figure("s", [ready]),
    }
    if "--json" in sys.argv:
        print(json.dumps(result))
        return
    print(
        f"Dispatch to {size.builders:,} polling builders with {size.queued:,} jobs in line;"
        f" {size.runs} runs of {size.seconds:.0f} s, {os.cpu_count()} cores"
    )
    for name, one in result.items():
        if isinstance(one, dict):
            told = f"  goal: {one['goal']}, met: {one['met']}" if one["goal"] else ""
            print(f"{name:<24} {one['ours']:>9} {one['unit']} ({one['min']} to {one['max']}){told}")


if __name__ == "__main__":
    main()
