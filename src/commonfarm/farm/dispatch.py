"""The scheduler process: a small ASGI application that builders poll.

All it keeps in memory is rebuilt from the tables, so it may be killed at any time, and PostgreSQL
too. What it does is in `election`, `term` and `ledger`; what it chooses is in `scheduler`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from commonfarm.lib.config import Config

if TYPE_CHECKING:
    from commonfarm.farm.election import Scheduler


def serve(config: Config) -> None:
    """Run the scheduler in the foreground until SIGTERM or SIGINT."""
    import django
    import uvloop

    django.setup()
    # Only now: a term needs the tables' models, and the command line imports this module without.
    from commonfarm.farm.election import Scheduler

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, Scheduler(config)))


async def run(config: Config, scheduler: Scheduler) -> None:
    """Answer builders at the configured address until a signal comes."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    from commonfarm.farm.polling import application

    server = Server(
        application(scheduler),
        address=config.listen.address,
        port=config.listen.scheduler,
        interface=Interfaces.ASGINL,
        websockets=False,
        # Each builder keeps one request open, so there are as many as builders.
        backlog=4096,
        backpressure=16384,
    )
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    office = asyncio.create_task(scheduler.run())
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({office, serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    # Whoever waits is sent away first, so that no open request delays the stop.
    office.cancel()
    with suppress(asyncio.CancelledError):
        await office
    await asyncio.sleep(0.1)
    server.stop()  # type: ignore[no-untyped-call]
    await serving
