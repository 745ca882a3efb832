"""A published repository, used by the real apt of Debian 12 and of Debian 13."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from commonfarm.archive import publishing
from commonfarm.archive.models import TreeFile
from commonfarm.estate.host_apt import host_architecture, host_package_sources
from commonfarm.lib.config import Config
from commonfarm.store.interface import path_of, put_bytes
from tests.archive.world import World, make_deb

pytestmark = [pytest.mark.root, pytest.mark.network]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def root(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A clean root that has inherited none of this host's apt settings."""
    folder = tmp_path_factory.mktemp("root") / request.param
    source = host_package_sources()[0]
    empty = folder.with_suffix(".conf")
    empty.write_text("")
    try:
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=apt",
                "--mode=root",
                request.param,
                folder,
                f"deb {source.uri} {request.param} main",
            ],
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APT_CONFIG": str(empty)},
        )
        for file in (folder / "etc/apt/apt.conf.d").glob("99*"):
            file.unlink()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(signer: Config) -> Iterator[tuple[str, list[str]]]:
    """The published folder by HTTP, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form: str, *args: object) -> None:
            asked.append(form % args)

    handler = functools.partial(Handler, directory=str(signer.published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/main/demo/", asked
        serving.shutdown()
        thread.join()


def apt(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["chroot", root, "apt-get", "-y", "-o", "APT::Sandbox::User=root", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "teletype"},
    )


def use(root: Path, url: str, config: Config) -> None:
    """Make the repository the only one that `root` knows."""
    shutil.rmtree(root / "var/lib/apt/lists")
    shutil.copy(config.public_keys / "archive.asc", root / "etc/apt/keyrings/demo.asc")
    for file in (root / "etc/apt/sources.list.d").iterdir():
        file.unlink()
    (root / "etc/apt/sources.list").write_text(
        f"deb [signed-by=/etc/apt/keyrings/demo.asc] {url} bookworm main\n"
    )


def test_apt_installs_from_it_and_refuses_what_is_old_or_changed(
    world: World,
    pool: Path,
    signer: Config,
    published_calls: list[tuple[str, int]],
    root: Path,
    server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked = server
    shown = subprocess.run(
        ["chroot", root, "apt-config", "dump"], capture_output=True, text=True, check=True
    ).stdout
    assert 'Check-Valid-Until "false"' not in shown and 'Check-Date "false"' not in shown
    world.target.architecture = host_architecture()
    world.target.save()
    world.add("job:1", make_deb(pool, "cf-hello", "1", host_architecture(), body="first"))
    publishing.publish(world.tree)
    use(root, url, signer)
    updated = apt(root, "update", "--error-on=any")
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert any("/by-hash/SHA256/" in line for line in asked)
    installed = apt(root, "install", "cf-hello")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert (root / "usr/share/doc/cf-hello/body").read_text() == "first"

    world.add("job:2", make_deb(pool, "cf-hello", "1+b1", host_architecture(), body="second"))
    publishing.publish(world.tree)
    assert apt(root, "update", "--error-on=any").returncode == 0
    upgraded = apt(root, "install", "cf-hello")
    assert (root / "usr/share/doc/cf-hello/body").read_text() == "second", upgraded.stdout

    now = timezone.now()
    world.add("job:3", make_deb(pool, "cf-more", "1", "all"))
    monkeypatch.setattr(timezone, "now", lambda: now - timedelta(days=8))
    publishing.publish(world.tree)
    monkeypatch.undo()
    use(root, url, signer)
    expired = apt(root, "update", "--error-on=any")
    assert expired.returncode != 0
    assert "is expired" in expired.stderr, expired.stderr

    in_release = "demo/dists/bookworm/InRelease"
    text = path_of(TreeFile.objects.get(path=in_release, until_revision=None).sha256).read_bytes()
    forged = put_bytes(text.replace(b"Label: demo", b"Label: evil"))
    (signer.published / "main" / in_release).unlink()
    (signer.published / "main" / in_release).write_bytes(path_of(forged.sha256).read_bytes())
    (signer.published / "main/demo/dists/bookworm/Release.gpg").unlink()
    use(root, url, signer)
    changed = apt(root, "update", "--error-on=any")
    assert changed.returncode != 0
    assert "Label: evil" not in changed.stdout


def test_apt_reads_every_member_of_each_packing(
    world: World,
    pool: Path,
    signer: Config,
    published_calls: list[tuple[str, int]],
    root: Path,
    server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, asked = server
    monkeypatch.setattr(publishing, "_wait_for_another_second", lambda _publication: None)
    world.target.architecture = host_architecture()
    world.target.save()
    names = [f"cf-member-{number}" for number in range(4)]
    for name in names:
        world.add(name, make_deb(pool, name, "1", "all"))
        publishing.publish(world.tree)
    path = f"demo/dists/bookworm/main/binary-{host_architecture()}/Packages"
    for suffix, kind in ((".gz", "gz"), (".zst", "zst")):
        use(root, url, signer)
        asked.clear()
        order = f"Acquire::CompressionTypes::Order::={kind}"
        updated = apt(root, "update", "--error-on=any", "-o", order)
        assert updated.returncode == 0, updated.stdout + updated.stderr
        packed = TreeFile.objects.get(path=path + suffix, until_revision=None)
        assert any(packed.sha256 in line for line in asked)
        listed = subprocess.run(
            ["chroot", root, "apt-cache", "pkgnames", "cf-member-"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert sorted(listed.split()) == names
