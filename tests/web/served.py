"""Hub and live streams as processes on free ports, over the test's own database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection

from commonfarm.lib.config import Config, Public, dump

START_SECONDS = 30.0
DIRECT = Public()


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, and the configuration it was told."""

    config: Config

    @property
    def hub(self) -> str:
        return self.config.url("hub")


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def served(
    folder: Path, *names: str, public: Public = DIRECT, database_host: str = ""
) -> Iterator[Served]:
    """Run the processes `names` (`hub`, `live`) as `up` does, until the end of the block."""
    hub, live = free_ports(2)
    config = settings.COMMONFARM
    host, name = database_host or config.database.host, connection.settings_dict["NAME"]
    config = replace(
        config,
        database=replace(config.database, host=host, name=name),
        listen=replace(config.listen, hub=hub, live=live),
        public=public,
    )
    file = folder / "config.toml"
    file.write_text(dump(config))
    environment = {**os.environ, "COMMONFARM_CONFIG": str(file)}
    command = (
        "import sys; from commonfarm.lib.config import current;"
        " from commonfarm.web import serve; getattr(serve, sys.argv[1])(current())"
    )
    running = [
        subprocess.Popen(
            # Told to stop, too, where we are killed.
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-c", command, name],
            env=environment,
            cwd="/",
        )
        for name in names
    ]
    try:
        for name, process in zip(names, running, strict=True):
            _wait(getattr(config.listen, name), process)
        yield Served(config)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        end_sessions("application_name = 'commonfarm-live' OR datname = current_database()")


def end_sessions(which: str) -> None:
    """End the database's sessions that fit the SQL condition `which`, but for our own."""
    database = connection.settings_dict
    with psycopg.connect(
        host=database["HOST"], port=database["PORT"], dbname=database["NAME"], user="postgres"
    ) as admin:
        connection.close()
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE pid <> pg_backend_pid() AND ({which})"
        )


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "it ended before it answered"
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)
