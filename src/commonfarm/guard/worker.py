"""The worker process: does the background work of every room, by Procrastinate.

A worker that was killed leaves its jobs `doing`; whichever worker lives hands them out again, a
few seconds after the dead one's last heartbeat. Tasks start from the tables, so doing one again is
harmless.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from commonfarm.lib.config import Config

CONCURRENCY = {
    "default": 4,
    "scans": 10,
    "checks": 10,
    "probes": 10,
    "pushes": 4,
    "proofs": 2,
    "maps": 2,
    "answers": 1,
}
"""How many jobs of a queue run at once; slow mirrors hold up nothing but each other, and what
takes a processor for a while goes one by one. Two maps: a delta while a full one is made."""
HEARTBEAT_SECONDS = 3.0
DEAD_SECONDS = 10.0
SWEEP_SECONDS = 5.0
STOP_SECONDS = 20.0
SET_BACK_SECONDS = 60.0
MOST_ATTEMPTS = 20

_log = logging.getLogger(__name__)


def run(
    config: Config, concurrency: Mapping[str, int] = CONCURRENCY, *, name: str = "worker"
) -> None:
    """Work off these queues until SIGTERM; a job under way gets STOP_SECONDS to end.

    It outlives the database. `name` is what its heartbeat says (`models.Heartbeat`).
    """
    os.umask(0o002)  # Published trees are read by everyone; the store is closed by its folder.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    import django

    django.setup()
    from procrastinate.contrib.django import app
    from procrastinate.contrib.django.django_connector import DjangoConnector
    from procrastinate.exceptions import ConnectorException
    from psycopg import OperationalError

    _log.info("%s of %s starts", name, config.name)
    while True:
        try:
            assert isinstance(app.connector, DjangoConnector)
            with app.replace_connector(app.connector.get_worker_connector()):
                asyncio.run(_work(concurrency, name))
            return
        except (ConnectorException, OperationalError, OSError) as error:
            _log.warning("the database is away, trying again: %s", str(error).strip())
            time.sleep(1)


async def _work(concurrency: Mapping[str, int], name: str) -> None:
    from procrastinate.contrib.django import app

    # Each job under way has a thread; by default there are but a few more than processors.
    threads = ThreadPoolExecutor(sum(concurrency.values()))
    asyncio.get_running_loop().set_default_executor(threads)
    async with app.open_async():
        # What was imported stays; the collector would look at it again and again in large jobs.
        gc.freeze()
        running = [asyncio.create_task(one) for one in (_sweep(), _beat(name), _watch_clock())]
        running += [
            asyncio.create_task(
                app.run_worker_async(
                    queues=[queue],
                    concurrency=at_once,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=DEAD_SECONDS,
                    shutdown_graceful_timeout=STOP_SECONDS,
                    fetch_job_polling_interval=1.0,
                    delete_jobs="successful",
                    # SIGTERM ends the first; that ends the others.
                    install_signal_handlers=queue == next(iter(concurrency)),
                )
            )
            for queue, at_once in concurrency.items()
        ]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in running:
                one.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end


async def _beat(name: str) -> None:
    """Say again and again that this process works, by the loop and the connections it works by."""
    from procrastinate.contrib.django import app

    while True:
        await app.connector.execute_query_async(
            "INSERT INTO guard_heartbeat (host, process, at)"
            " VALUES (%(host)s, %(process)s, now())"
            " ON CONFLICT (host, process) DO UPDATE SET at = excluded.at",
            host=socket.gethostname(),
            process=name,
        )
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def _watch_clock() -> None:
    """End this process once the clock was set back, as SIGTERM does; it is started again.

    What is done by the minute would else wait until the time that was last seen comes again.
    """
    last = time.time()
    while (now := time.time()) > last - SET_BACK_SECONDS:
        last = max(last, now)
        await asyncio.sleep(HEARTBEAT_SECONDS)
    _log.warning("the clock was set back by %.0f seconds: this process begins anew", last - now)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(2 * STOP_SECONDS)  # jobs under way may end


async def _sweep() -> None:
    while True:
        try:
            await requeue_stalled()
        except Exception:
            _log.exception("the sweep for stalled jobs failed; it goes on")
        await asyncio.sleep(SWEEP_SECONDS)


async def requeue_stalled() -> int:
    """Hand out again the jobs of workers that died; return how many.

    One that another waiting job with the same queueing lock stands for anyway is closed instead,
    and so is one that took MOST_ATTEMPTS workers with it.
    """
    from procrastinate.contrib.django import app
    from procrastinate.exceptions import UniqueViolation
    from procrastinate.jobs import Status

    count = 0
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=DEAD_SECONDS):
        assert job.id is not None
        if job.attempts >= MOST_ATTEMPTS:
            _log.error("job %s %s is given up: its workers keep dying", job.id, job.task_name)
            await app.job_manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=False)
            continue
        try:
            await app.job_manager.retry_job_by_id_async(job.id, retry_at=datetime.now(UTC))
        except UniqueViolation:
            await app.job_manager.finish_job_by_id_async(job.id, Status.ABORTED, delete_job=False)
        else:
            count += 1
            _log.warning("job %s %s of a dead worker is handed out again", job.id, job.task_name)
    return count
