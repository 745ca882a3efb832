"""A process under the supervisor runs on when its log cannot be written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commonfarm.installation.launch import Process
from commonfarm.installation.supervised import Log, Supervised
from commonfarm.installation.supervisor import Supervisor
from commonfarm.lib.config import Config, Listen, default

FULL = Path("/dev/full")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = default("one", tmp_path, tmp_path, tmp_path / "run", Listen("127.0.0.1", 1, 2, 3, 4))
    (made.state / "log").mkdir()
    return made


def test_a_full_disk_ends_neither_a_process_nor_the_supervisor(config: Config) -> None:
    (config.state / "log/agent.log").symlink_to(FULL)
    command = ["sh", "-c", "echo error: no luck; exit 3"]
    speaker = Supervised(Process("agent", command, lambda: True), config)
    said: list[str] = []
    supervisor = Supervisor(config, [speaker], said.append)
    while not said:
        supervisor._turn()
    assert speaker.last_error == "ended with code 3: error: no luck"
    supervisor.stop()


def test_what_one_answered_is_no_answer_of_the_next(config: Config) -> None:
    """It was asked, ended, and another runs by the time that its answer is heard."""
    first, second = (subprocess.Popen(["true"]) for _ in range(2))

    def answers() -> bool:
        one.running, supervisor.stopping = second, True
        return True

    one = Supervised(Process("agent", ["true"], answers), config)
    one.running = first
    supervisor = Supervisor(config, [one], print)
    supervisor._probe()
    assert one.state == "starting"
    for process in (first, second):
        process.wait()


def test_what_cannot_be_logged_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "log" / "one.log"
    log = Log(file)
    log.write(b"lost")
    file.parent.mkdir()
    log.write(b"kept")
    log.write(b"and this")
    assert [line.split(b" ", 1)[1] for line in file.read_bytes().splitlines()] == [
        b"kept",
        b"and this",
    ]


def test_a_status_that_cannot_be_written_is_written_later(config: Config) -> None:
    supervisor = Supervisor(config, [], print)
    supervisor._show()
    config.runtime.mkdir()
    supervisor._show()
    assert (config.runtime / "status.json").exists()
