"""How the hub and the live streams are served.

The hub is synchronous Django under WSGI: measured, that serves several times the requests of the
same stack under ASGI. Live is a small ASGI application that holds many open streams.
"""

from __future__ import annotations

import os

from granian import Granian
from granian.constants import Interfaces

from commonfarm.lib.config import Config

HUB_WORKERS = 2
HUB_THREADS = 8
BACKLOG = 1024
READERS = 4096
"""Open streams; `live` itself refuses a little below, with a reason."""
STOP_SECONDS = 10


def hub(config: Config) -> None:
    """Serve pages and API until SIGTERM."""
    os.umask(0o007)
    Granian(
        "commonfarm.web.wsgi:application",
        address=config.listen.address,
        port=config.listen.hub,
        interface=Interfaces.WSGI,
        workers=HUB_WORKERS,
        blocking_threads=HUB_THREADS,
        backlog=BACKLOG,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
    ).serve()


def live(config: Config) -> None:
    """Serve the event streams until SIGTERM; open streams are cut, and their readers come back."""
    Granian(
        "commonfarm.web.live:application",
        address=config.listen.address,
        port=config.listen.live,
        interface=Interfaces.ASGI,
        workers=1,
        backlog=READERS,
        backpressure=READERS,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
    ).serve()
