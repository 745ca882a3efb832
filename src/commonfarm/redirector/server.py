"""The redirector as a process: it listens, keeps up with maps and time, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace

import uvloop

from commonfarm.redirector import limits
from commonfarm.redirector.connection import Connection
from commonfarm.redirector.places import PlacesError
from commonfarm.redirector.state import Redirector, Settings

STOP_SECONDS = 10.0

log = logging.getLogger("commonfarm.redirector")


async def keep_up(shared: Redirector) -> None:
    """Once a second: the date, the map, the counts, and connections whose time is over."""
    while True:
        await shared.tick()
        for connection in list(shared.connections):
            if connection.deadline < shared.clock:
                connection.give_up()
        await asyncio.sleep(1)


async def serve(shared: Redirector, address: str, port: int) -> None:
    """Answer on `address` and `port` until SIGTERM or SIGINT, then let transfers end."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await shared.tick()
    upkeep = asyncio.create_task(keep_up(shared))
    server = await loop.create_server(
        lambda: Connection(shared), address, port, backlog=1024, reuse_address=True
    )
    log.info("answering on %s", server.sockets[0].getsockname()[:2])
    await asyncio.wait(
        [upkeep, stopping := asyncio.create_task(stopped.wait())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    server.close()
    for connection in list(shared.connections):
        connection.finish_and_close()
    deadline = loop.time() + STOP_SECONDS
    while shared.connections and loop.time() < deadline:
        await asyncio.sleep(0.05)
    if stopping.done():
        upkeep.cancel()
        await asyncio.wait([upkeep])
    else:
        upkeep.result()
    if shared.spool is not None:
        await shared.flush()


def run(settings: Settings, address: str, port: int) -> None:
    """Run the redirector until it is told to stop; SystemExit says why it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    connections, transfers = limits.fit_open_files()
    settings = replace(settings, most_connections=connections, most_transfers=transfers)
    try:
        uvloop.run(serve(Redirector(settings), address, port))
    except (PlacesError, OSError) as error:
        log.critical("the redirector cannot start: %s", error)
        raise SystemExit(2) from None
