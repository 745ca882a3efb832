"""Builds that misbehave end with a clear word and leave nothing behind."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from examples.first.installation import Installation

from tests.stories.farming import Job
from tests.stories.packages import make_source

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]


def test_a_build_that_eats_memory_is_ended(installation: Installation, tmp_path: Path) -> None:
    eat = "perl -e 'push @a, \"x\" x 16777216 while 1'"
    job = Job(installation, make_source(tmp_path, "glutton", body=(eat,)))
    ended = job.wait_until_ended()
    assert ended["state"] == "failed"
    assert ended["attempts"] == 0, "it was tried again, as if the builder were to blame"
    assert "memory" in ended["state_reason"]


def test_a_build_reaches_no_network(installation: Installation, tmp_path: Path) -> None:
    hub = urlsplit(installation.status_or_fail()["web"])
    call = (
        "perl -MIO::Socket::INET -e '"
        f'exit !!IO::Socket::INET->new(PeerAddr => "{hub.hostname}:{hub.port}")\''
        " && echo nobody answered; ls /sys/class/net /proc/self/net/dev; exit 1"
    )
    job = Job(installation, make_source(tmp_path, "caller", body=(call,)))
    ended = job.wait_until_ended()
    assert ended["state"] == "failed"
    assert "nobody answered" in job.log()
    assert "eth" not in job.log().split("nobody answered")[1]


def test_a_daemon_does_not_outlive_its_build(installation: Installation, tmp_path: Path) -> None:
    stay = "setsid --fork sleep 314159265 > /dev/null 2>&1 < /dev/null"
    job = Job(installation, make_source(tmp_path, "lingerer", body=(stay, "echo it stays")))
    ended = job.wait_until_ended()
    assert "it stays" in job.log()
    assert ended["state"] == "succeeded"
    left = subprocess.run(["pgrep", "--full", "sleep 314159265"], capture_output=True, text=True)
    assert left.stdout == ""
