"""Whether `up` takes a worker or an operator for alive: by its own heartbeat, nobody else's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F

from commonfarm.guard.models import Heartbeat
from commonfarm.installation.launch import services, worker_lives
from commonfarm.lib.config import Config
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)
ENOUGH_SECONDS = 60


@contextmanager
def started(config: Config, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the installation; its output goes where a failing test shows it."""
    running = subprocess.Popen(
        [sys.executable, "-m", "commonfarm.cli.main", name],
        env=os.environ | {"COMMONFARM_CONFIG": str(config.file)},
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def wait_for(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not true():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def test_one_does_not_stand_for_the_other(installation: Config) -> None:  # noqa: F811
    installation.operator.mkdir()
    answers = {process.name: process.answers for process in services(installation)}
    works, operates = answers["worker"], answers["operator"]
    assert not works()
    with ExitStack() as stack:
        worker = stack.enter_context(started(installation, "worker"))
        wait_for(works, worker)
        assert not operates()
        operator = stack.enter_context(started(installation, "operator"))
        wait_for(operates, operator)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        Heartbeat.objects.update(at=F("at") - timedelta(seconds=11))
        assert not works()
        wait_for(operates, operator)
        assert not works()
        Heartbeat.objects.filter(process="operator").update(host="another")
        wait_for(operates, operator)
        assert set(Heartbeat.objects.values_list("host", "process")) == {
            ("another", "operator"),
            (socket.gethostname(), "operator"),
            (socket.gethostname(), "worker"),
        }


def test_without_a_database_none_lives(installation: Config) -> None:  # noqa: F811
    away = replace(installation.database, host="/nonexistent")
    assert not worker_lives(replace(installation, database=away), "worker")
