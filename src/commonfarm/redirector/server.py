"""The redirector as a process: it listens, keeps up with maps and time, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import uvloop

from commonfarm.redirector import limits
from commonfarm.redirector.connection import HEAD_SECONDS, IDLE_SECONDS, Connection
from commonfarm.redirector.places import PlacesError
from commonfarm.redirector.state import Redirector, Settings

BACKLOG = 1024
STOP_SECONDS = 10.0
SWITCH_SECONDS = 0.001
"""How long a request waits at most while a thread (which loads a map) runs Python."""
PLACES_SECONDS = 60.0
CROWDED_SECONDS = 5.0
"""How long a connection may be idle when three quarters of those there may be are taken."""

log = logging.getLogger("commonfarm.redirector")


def keep_time(shared: Redirector) -> None:
    """Let it be now, and end connections whose time is over."""
    shared.set_time(time.time())
    gc.collect(1)  # while there is little to look at: see `_keep_pauses_short`
    crowded = len(shared.connections) * 4 > shared.settings.most_connections * 3
    for connection in list(shared.connections):
        left = connection.deadline - shared.clock
        # No more than HEAD_SECONDS are left to one that owes us the rest of a request.
        idle = crowded and HEAD_SECONDS < left < IDLE_SECONDS - CROWDED_SECONDS
        if left < 0 or idle:
            connection.give_up()


async def every(
    seconds: float, do: Callable[[], Awaitable[None] | None], stopped: asyncio.Event
) -> None:
    """Do that again and again until `stopped`; what is under way then is finished."""
    while not stopped.is_set():
        doing = do()
        if doing is not None:
            await doing
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), seconds)


def listening(address: str, port: int) -> socket.socket:
    """Return a socket that listens there; `::` is every address, of IPv4 too. OSError if not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (address, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
    )


async def serve(shared: Redirector, address: str, port: int) -> None:
    """Answer on `address` and `port` until SIGTERM or SIGINT, then let transfers end."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    keep_time(shared)
    await shared.reload()
    _keep_pauses_short()
    upkeep = [
        every(1, partial(keep_time, shared), stopped),
        every(1, shared.reload, stopped),
        every(1, shared.let_counts_leave, stopped),
    ]
    if shared.settings.places:
        upkeep.append(every(PLACES_SECONDS, shared.look_at_places, stopped))
    tasks = [asyncio.create_task(one) for one in upkeep]
    server = await loop.create_server(
        lambda: Connection(shared), sock=listening(address, port), backlog=BACKLOG
    )
    log.info("answering on %s", server.sockets[0].getsockname()[:2])
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stopped.set()
    server.close()
    for connection in list(shared.connections):
        connection.finish_and_close()
    deadline = loop.time() + STOP_SECONDS
    while shared.connections and loop.time() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.wait(tasks, timeout=STOP_SECONDS)
    if shared.spool is not None:
        shared.counts.close()
        await shared.flush()
    for task in done:
        task.result()  # raises what ended it


def _keep_pauses_short() -> None:
    """Let neither threads nor the collector of cycles hold requests up.

    A full collection looks at every object there is: 30 ms with the rankings of some thousand
    networks. What was imported stays anyway, and what we make for requests has no cycles, so that
    one is due once in a day or more. The young are looked at every second: by itself the collector
    waits until there are more of them, which takes as long as one client is forgotten for each that
    is new, and looks at all that came meanwhile then: 10 ms.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100_000)


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
