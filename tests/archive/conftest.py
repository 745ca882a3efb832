"""An installation of its own for each of the archive's tests: folders, keys, a signer process."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from commonfarm.archive import interface as archive
from commonfarm.archive import publishing, signing
from commonfarm.lib.config import Config, dump
from commonfarm.lib.errors import Reason
from tests.archive import signer_process
from tests.archive.adopted import Adopted
from tests.archive.releases import Releases, unsigned_statement
from tests.archive.world import World
from tests.forked import Forked


class Claims:
    """Stands where the farm stands: which claims no job vouches for."""

    def __init__(self) -> None:
        self.refused: dict[tuple[str, str], Reason] = {}

    def __call__(self, claims: object) -> dict[tuple[str, str], Reason]:
        return self.refused


@pytest.fixture
def installation(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Config]:
    """Folders of its own, with a short name: gpg's agent listens on a socket in one of them."""
    home = tmp_path_factory.mktemp("a")
    test_database = connection.settings_dict["NAME"]
    config = replace(
        settings.COMMONFARM,
        file=home / "config.toml",
        state=home,
        store=home / "store",
        published=home / "published",
        runtime=home / "run",
        database=replace(settings.COMMONFARM.database, name=test_database),
    )
    for folder in (config.store, config.published, config.signer_socket.parent):
        folder.mkdir(parents=True)
    config.file.write_text(dump(config))
    settings.COMMONFARM = config
    yield config


@pytest.fixture
def world(transactional_db: None, installation: Config) -> World:
    return World()


@pytest.fixture
def published_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the port `tree_published` was told."""
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(
        archive.ports.tree_published,
        "_filled_by",
        lambda tree, revision: calls.append((tree.name, revision)),
    )
    return calls


@pytest.fixture
def signer(world: World, installation: Config) -> Iterator[Config]:
    """A real signer process on the test's database, as the role that may only read."""
    with running_signer(installation):
        yield installation


@contextlib.contextmanager
def running_signer(installation: Config) -> Iterator[Forked]:
    """Run the signer; at the end nothing of it is left."""
    with connection.cursor() as cursor:
        cursor.execute("GRANT USAGE ON SCHEMA public TO commonfarm_signer")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO commonfarm_signer")
    log = installation.state / "signer.log"
    log.unlink(missing_ok=True)
    process = Forked(signer_process.main, installation.file, log)
    try:
        deadline = time.monotonic() + 30
        # Its socket is there before it listens, and before it has its group and mode.
        while not (log.exists() and " listens, " in log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the signer did not start"
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)
        deadline = time.monotonic() + 20
        while left := gpg_agents(installation):  # each was told to end, and does so soon
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def gpg_agents(installation: Config) -> list[str]:
    command = ["ps", "-eo", "args"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "gpg-agent" in line and str(installation.state) in line]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A folder to make packages in."""
    return tmp_path


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the signer out, where what it signs is not what is looked at."""
    monkeypatch.setattr(signing, "sign_publication", lambda _publication: [])
    monkeypatch.setattr(signing, "sign_manifest", unsigned_statement)
    monkeypatch.setattr(publishing, "_wait_for_another_second", lambda _publication: None)


@pytest.fixture
def releases(
    db: None,
    installation: Config,
    unsigned: None,
    published_calls: list[tuple[str, int]],
) -> Releases:
    """A tree for releases, whose tests are rolled back."""
    return Releases(installation)


@pytest.fixture
def adopted(
    db: None, installation: Config, published_calls: list[tuple[str, int]], tmp_path: Path
) -> Adopted:
    """A tree that adopts a folder, whose tests are rolled back."""
    return Adopted(tmp_path / "pub")
