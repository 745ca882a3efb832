"""Two installations never share anything."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from commonfarm.installation import checks, configure, launch
from commonfarm.lib import places
from commonfarm.lib.config import PROCESSES, Config, dump, load
from commonfarm.lib.errors import BadInputError, NotFoundError, RefusedError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMMONFARM_HOME", str(tmp_path))
    monkeypatch.delenv("COMMONFARM_CONFIG")
    monkeypatch.delenv("COMMONFARM_INSTALLATION", raising=False)
    return tmp_path


def test_the_first_up_writes_everything_down_and_the_next_reads_it(home: Path) -> None:
    made = configure.find_or_make()
    assert made.name == "production"
    assert load(made.file) == made
    assert configure.find_or_make() == made
    assert len(set(made.listen.ports.values())) == len(PROCESSES) + 1
    assert made.state.is_relative_to(home)


def test_each_installation_gets_ports_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = configure.make("production")
    second = configure.make("testing")
    configure.refuse_sharing(second, first)
    ports = [port for one in (first, second) for port in one.listen.ports.values()]
    assert len(set(ports)) == 2 * (len(PROCESSES) + 1)
    with pytest.raises(NotFoundError, match="production, testing"):
        places.find()
    monkeypatch.setenv("COMMONFARM_INSTALLATION", "testing")
    assert places.find() == second


def test_who_has_no_port_for_rsync_yet_goes_on_without(home: Path) -> None:
    made = configure.find_or_make()
    text = made.file.read_text()
    made.file.write_text(text.replace(f"rsync = {made.listen.rsync}\n", ""))
    old = configure.find_or_make()
    assert (old.listen.rsync, old.rsync_url) == (0, "")
    assert "rsync" not in old.listen.ports
    assert load(made.file) == old
    assert "rsyncd" not in {process.name for process in launch.services(old)}
    assert "rsyncd" in {process.name for process in launch.services(made)}
    assert "add `rsync = PORT` to [listen]" in checks.rsync(old)[0]
    assert checks.rsync(made) == (f"offered at rsync://127.0.0.1:{made.listen.rsync}", "")


def _share(config: Config, other: Config, what: str) -> Config:
    if what in ("state", "store", "published", "runtime"):
        return replace(config, **{what: getattr(other, what)})
    if what == "below":
        return replace(config, store=other.state / "deep" / "below")
    if what == "link":
        other.store.mkdir(parents=True)
        link = config.file.with_name("link")
        link.symlink_to(other.store)
        return replace(config, store=link / "below")
    if what == "dots":
        return replace(config, state=config.state / ".." / other.name)
    if what == "socket":
        # The two may lie far apart: a path too long for a socket is made below /tmp.
        host = os.path.join(  # noqa: PTH118 - Path knows no relative way up
            config.database.host, os.path.relpath(other.database.host, config.database.host)
        )
        return replace(config, database=replace(config.database, host=host))
    if what == "above":
        return replace(config, state=other.state.parent)
    if what == "database":
        return replace(config, database=other.database)
    return replace(config, listen=replace(config.listen, hub=other.listen.live))


@pytest.mark.parametrize(
    "what",
    [
        *("state", "store", "published", "runtime", "below", "above", "link", "dots"),
        *("database", "socket", "port"),
    ],
)
def test_sharing_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    other, config = configure.make("production"), configure.make("testing")
    config.file.write_text(dump(_share(config, other, what)))
    monkeypatch.setenv("COMMONFARM_INSTALLATION", "testing")
    with pytest.raises(RefusedError) as caught:
        configure.find_or_make()
    assert caught.value.reason.code == "shared-with-another"
    assert "testing and production share" in caught.value.reason.text
    assert str(config.file) in caught.value.reason.lifted_by


def test_a_copied_configuration_is_refused_by_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = configure.make("production")
    copy = home / "etc/testing.toml"
    copy.write_text("# A copy.\n" + first.file.read_text())
    monkeypatch.setenv("COMMONFARM_INSTALLATION", "testing")
    with pytest.raises(BadInputError) as caught:
        configure.find_or_make()
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(copy), 3)
    assert problem.what == "the name is 'production', not 'testing' as the file's"
    assert 'name = "testing"' in problem.to_do
    first.file.unlink()
    monkeypatch.delenv("COMMONFARM_INSTALLATION")
    with pytest.raises(BadInputError):
        configure.find_or_make()

    # One that is named by its path may have any name, and shares with nobody either.
    monkeypatch.setenv("COMMONFARM_CONFIG", str(copy))
    assert configure.find_or_make().name == "production"
    first.file.write_text(dump(first))
    with pytest.raises(RefusedError, match="production and production share"):
        configure.find_or_make()


def test_a_port_of_a_stranger_is_named(home: Path) -> None:
    config = configure.find_or_make()
    with socket.create_server((config.listen.address, config.listen.scheduler)):
        with pytest.raises(RefusedError, match=f"port {config.listen.scheduler} of scheduler"):
            configure.refuse_taken_ports(config)
    configure.refuse_taken_ports(config)


def test_a_deep_home_has_its_sockets_in_a_short_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONFARM_HOME", str(tmp_path / ("deep" * 25)))
    folder = places.runtime_folder("production")
    assert len(str(folder)) < 60
    assert not folder.parent.exists(), "it is made at the start"
    places.check_runtime(folder)
    try:
        assert folder.parent.stat().st_mode & 0o022 == 0
        folder.parent.chmod(0o777)
        for refuse in (places.runtime_folder, lambda _: places.check_runtime(folder)):
            with pytest.raises(RefusedError, match="others may write"):
                refuse("production")
    finally:
        folder.parent.rmdir()
