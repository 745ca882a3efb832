"""The scheduler outlives `kill -9` of PostgreSQL, on a cluster of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from commonfarm.installation.postgres import EmbeddedPostgres
from commonfarm.lib.config import Config, dump
from tests.farm.world import SchedulerProcess, facts, free_port, post


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cf-farm-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(home: Path) -> EmbeddedPostgres:
    made = EmbeddedPostgres(
        data=home / "data",
        socket_directory=home / "run",
        runs_as="nobody" if os.getuid() == 0 else None,
        peers={pwd.getpwuid(os.getuid()).pw_name: ["commonfarm"]},
    )
    made.prepare()
    return made


def configured(home: Path, port: int) -> Config:
    config: Config = settings.COMMONFARM
    database = replace(config.database, host=str(home / "run"), name="commonfarm")
    file = home / "config.toml"
    made = replace(
        config, file=file, database=database, listen=replace(config.listen, scheduler=port)
    )
    file.write_text(dump(made))
    return made


def ask(port: int) -> int:
    """Poll as a stranger: the answer takes a look into the tables."""
    import json
    from dataclasses import asdict

    from commonfarm.agent.protocol import LeaseRequest

    body = json.dumps(asdict(LeaseRequest(1, facts(), clean=True, wait_seconds=0))).encode()
    return post(f"http://127.0.0.1:{port}/lease", body, "cf_builder_of_nobody")[0]


def test_it_steps_down_and_is_elected_again(home: Path, server: EmbeddedPostgres) -> None:
    config = configured(home, free_port())
    postgres = server.start(home / "postgres.log")
    running = SchedulerProcess(home, config.listen.scheduler)
    try:
        server.create("commonfarm", "commonfarm")
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", "--skip-checks"],
            env={**os.environ, "COMMONFARM_CONFIG": str(config.file)},
            check=True,
        )
        running.start(config)
        epoch = running.until_active()["epoch"]
        assert ask(running.port) == 401
        postgres.kill()
        postgres.wait()
        deadline = time.monotonic() + 30
        while running.health()["active"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask(running.port) == 503
        postgres = server.start(home / "postgres.log")
        assert running.until_active()["epoch"] == epoch + 1
        assert ask(running.port) == 401
        assert running.signal(signal.SIGTERM) == 0
    finally:
        if running.process is not None and running.process.poll() is None:
            running.signal(signal.SIGKILL)
        server.stop(postgres)
