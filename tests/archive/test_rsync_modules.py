"""The real rsync daemon on what we write for it, asked by the real rsync."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from commonfarm.archive import folders, ports, rsync_modules
from commonfarm.archive.releases import going_public, staging
from commonfarm.archive.rsync_modules import Module
from commonfarm.estate.interface import ReleaseTree
from commonfarm.installation import launch, users
from commonfarm.lib.config import Config
from commonfarm.lib.secret import Secret
from commonfarm.mirrors.models import Mirror, RsyncPassword
from commonfarm.mirrors.rsync_users import rsync_users
from tests.archive.releases import Releases, content

ENOUGH_SECONDS = 30.0


class Daemon:
    """An rsync daemon as `up` starts it, and a client."""

    def __init__(self, config: Config, home: Path) -> None:
        self.config, self.home = config, home
        self.process = launch.rsyncd(config)
        self.process.before()
        # As root, which our daemon never is, it would read files as nobody.
        own = ["--dparam=uid=0", "--dparam=gid=0"] if os.getuid() == 0 else []
        self.running = subprocess.Popen([*self.process.command, *own])
        deadline = time.monotonic() + ENOUGH_SECONDS
        while not self.process.answers():
            assert self.running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def run(self, *words: object, password: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["rsync", *map(str, words)],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "RSYNC_PASSWORD": password},
            timeout=ENOUGH_SECONDS,
        )

    def pull(self, module: str, to: Path, *options: str, user: str = "", password: str = "") -> str:
        url = self.config.rsync_url.replace("rsync://", f"rsync://{user}@" if user else "rsync://")
        done = self.run("-a", *options, f"{url}/{module}/", f"{to}/", password=password)
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def daemon(
    releases: Releases,
    installation: Config,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Daemon]:
    monkeypatch.setattr(users, "separate", lambda: False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = replace(installation.listen, address="127.0.0.1", rsync=port)
    config = replace(installation, listen=listen)
    config.rsyncd_locks.parent.mkdir(parents=True)
    config.rsyncd_config.parent.mkdir()
    settings.COMMONFARM = releases.config = config
    daemon = Daemon(config, tmp_path)
    yield daemon
    daemon.running.terminate()
    daemon.running.wait(ENOUGH_SECONDS)


def test_no_module_lies_behind_a_link(releases: Releases) -> None:
    # rsync 3.5 follows none of another user, and our daemon has a user of its own.
    releases.published({"a": "a"})
    releases.published({"b": "b"})
    (module,) = rsync_modules.modules({})
    assert module.path.name == "sugar.r2"
    assert module.path == module.path.resolve()


def mirror(tree: ReleaseTree, name: str, **fields: object) -> Mirror:
    return Mirror.objects.create(
        **{"name": name, "tree": tree, "country": "DE", "proved_at": timezone.now()} | fields
    )


def test_what_mirrors_are_told_of_they_can_pull(
    daemon: Daemon, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(tree: ReleaseTree, revision: int) -> None:
        assert daemon.pull(tree.name, tmp_path / f"r{revision}") == ""

    monkeypatch.setattr(ports.tree_published, "_filled_by", told)
    for number in (1, 2):
        releases.published({f"{number}": "new"})
        assert (tmp_path / f"r{number}/{number}").read_text() == "new"


def test_everybody_pulls_a_tree_and_nobody_writes(
    daemon: Daemon, releases: Releases, tmp_path: Path
) -> None:
    assert rsync_modules.write()
    assert "sugar" not in daemon.run(f"{daemon.config.rsync_url}/").stdout
    releases.published({"v1/a": "a", "v1/b": "b"}, {"latest": "v1"})
    assert not rsync_modules.write(), "it was told before"
    listed = daemon.run(f"{daemon.config.rsync_url}/").stdout
    assert listed.split() == ["sugar", "release", "tree", "sugar"]
    copy = tmp_path / "copy"
    assert daemon.pull("sugar", copy) == ""
    assert content(copy) == content(releases.seen)
    assert (copy / "latest/a").read_text() == "a"
    releases.published({"v2/c": "c"}, {"latest": "v2"})
    assert daemon.pull("sugar", copy, "--delete", "--checksum-seed=1") == ""
    assert content(copy) == content(releases.seen)
    url = f"{daemon.config.rsync_url}/sugar/"
    written = daemon.run("-a", f"{tmp_path}/", url)
    assert "module is read only" in written.stderr
    for option in ("--checksum", "--copy-devices"):
        said = daemon.pull("sugar", tmp_path / "no", option)
        assert f"The server is configured to refuse {option}" in said
    for path in ("../", ".staging/", "../sugar.r1/", "latest/../../"):
        stolen = daemon.run("-r", f"{daemon.config.rsync_url}/sugar/{path}", f"{tmp_path}/stolen/")
        assert not list((tmp_path / "stolen").rglob("sugar.r*")), stolen
    assert content(releases.seen) == content(copy)


def test_registered_mirrors_hold_a_release_before_its_time(
    daemon: Daemon, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports.rsync_users, "_filled_by", rsync_users)
    releases.published({"v1/a": "a"}, {"latest": "v1"})
    now = timezone.now()
    words = {
        one.name: RsyncPassword.renew(one, now, who="user:anna")
        for one in (
            mirror(releases.tree, "good"),
            mirror(releases.tree, "unproved", proved_at=None),
            mirror(releases.tree, "disabled", enabled=False),
            mirror(releases.tree, "gone", removed_at=now),
            mirror(releases.tree, "quarantined", quarantined_at=now),
        )
    }
    mirror(releases.tree, "without")
    rsync_modules.write()
    assert "embargoed" not in daemon.config.rsyncd_config.read_text()
    release = releases.reviewed({"v2/b": "b"}, {"latest": "v2"})
    going_public.publish(release, now, who="user:bert", visible_from=now + timedelta(hours=1))
    staging.stage(releases.tree)
    rsync_modules.write()
    assert daemon.config.rsyncd_secrets.stat().st_mode & 0o777 == 0o600
    assert "sugar-embargoed" not in daemon.run(f"{daemon.config.rsync_url}/").stdout
    ahead, copy = tmp_path / "ahead", tmp_path / "copy"
    for user, password in (
        ("", ""),
        ("good", "wrong"),
        ("without", ""),
        *((name, words[name].reveal()) for name in words if name != "good"),
    ):
        said = daemon.pull("sugar-embargoed", ahead, user=user, password=password)
        assert "auth failed on module sugar-embargoed" in said, user
    assert not ahead.exists()
    secret = words["good"].reveal()
    assert daemon.pull("sugar-embargoed", ahead, user="good", password=secret) == ""
    assert (ahead / "latest/b").read_text() == "b"
    assert daemon.pull("sugar", copy) == ""
    assert not (copy / "v2").exists()
    assert "auth failed" in daemon.pull("sugar-embargoed", ahead, user="good", password="x")
    # The time has come: not a byte of it has to be moved.
    release.refresh_from_db()
    release.visible_from = timezone.now()
    release.save()
    going_public.reveal(releases.tree)
    releases.work()
    rsync_modules.write()
    done = daemon.run(
        *("-a", "--delete", "--stats", f"--link-dest={ahead}"),
        *(f"{daemon.config.rsync_url}/sugar/", f"{copy}/", "--exclude=manifest"),
    )
    assert done.returncode == 0, done.stderr
    assert "Total transferred file size: 0 bytes" in done.stdout
    assert (copy / "v2/b").samefile(ahead / "v2/b")
    RsyncPassword.renew(Mirror.named("good"), now, who="user:anna")
    rsync_modules.write()
    said = daemon.pull("sugar-embargoed", ahead, user="good", password=secret)
    assert "auth failed" in said


def test_a_long_pull_has_its_revision_until_two_more_are_out(
    daemon: Daemon, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stands still in the middle, as one of a slow line."""
    releases.published({"a": "a" * 3_000_000, "z": "z" * 3_000_000})
    rsync_modules.write()
    copy = tmp_path / "copy"
    slow = subprocess.Popen(
        ["rsync", "-a", "--bwlimit=4000", f"{daemon.config.rsync_url}/sugar/", f"{copy}/"]
    )
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not copy.is_dir() or not list(copy.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for number in range(folders.KEEP_FOLDERS):
        releases.published({f"n{number}": "n"})
    assert slow.wait(ENOUGH_SECONDS) == 0
    assert (copy / "a").stat().st_size == (copy / "z").stat().st_size == 3_000_000
    assert not (copy / "n0").exists()


def test_of_an_adopted_tree_mirrors_get_what_users_see(daemon: Daemon, tmp_path: Path) -> None:
    folder, copy = tmp_path / "old", tmp_path / "copy"
    for path in ("images/1.iso", "images/.2.iso.Xa12Bc", ".treeinfo", ".disk/info", ".git/config"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("it")
    (tmp_path / "secret").write_text("a secret")
    (folder / "out").symlink_to("../secret")
    ReleaseTree.objects.create(name="old", adopts=str(folder))
    assert rsync_modules.write()
    assert daemon.pull("old", copy, "--safe-links") == ""
    found = {str(one.relative_to(copy)) for one in copy.rglob("*") if one.is_file()}
    assert found == {"images/1.iso", ".treeinfo", ".disk/info"}
    for option in ("--copy-links", "--copy-unsafe-links", "--copy-dirlinks"):
        said = daemon.pull("old", tmp_path / "no", option)
        assert f"The server is configured to refuse {option}" in said


def test_what_cannot_be_said_in_the_configuration_is_refused(tmp_path: Path) -> None:
    locks, secrets = Path("/run/lock"), Path("/etc/secrets")
    for path in ("/srv/100%", "/srv/a\nread only = no", "/srv/a ", "relative"):
        with pytest.raises(ValueError, match="cannot name the folder"):
            rsync_modules.text([Module("x", Path(path), "x")], locks=locks, secrets=secrets)
    said = rsync_modules.text(
        [Module("x", Path("/srv/x y"), "a tree", ("a", "b"))], locks=locks, secrets=secrets
    )
    assert "[x]\npath = /srv/x y\ncomment = a tree\nauth users = a, b\n" in said


def test_an_adopted_tree_is_served_where_it_lies_and_odd_names_are_no_users(
    releases: Releases, tmp_path: Path
) -> None:
    ReleaseTree.objects.create(name="old", adopts=str(tmp_path))
    ReleaseTree.objects.create(name="sugar-embargoed", adopts=str(tmp_path))
    (tmp_path / "Bücher").mkdir()  # such a folder is no reason not to serve the others
    ReleaseTree.objects.create(name="unsaid", adopts=str(tmp_path / "Bücher"))
    releases.published({"a": "a"})
    release = releases.reviewed({"b": "b"})
    now = timezone.now()
    going_public.publish(release, now, who="user:bert", visible_from=now + timedelta(hours=1))
    staging.stage(releases.tree)
    odd = {"sugar": {name: Secret("x") for name in ("a:b", "a,b", "a b", "@group", "-")}}
    assert [one.name for one in rsync_modules.modules(odd)] == ["old", "sugar", "sugar-embargoed"]
    assert {one.users for one in rsync_modules.modules(odd)} == {None}
