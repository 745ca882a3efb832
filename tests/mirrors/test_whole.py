"""The whole way with real parts: rsync, nginx, scans, the map, the redirector, curl and apt."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.steps import check, mapping, probe, scan
from tests.mirrors.conftest import BY_HASH, DEB, IN_RELEASE, NOW, Signer, Tree, register
from tests.redirector.conftest import edge  # noqa: F401 - a fixture
from tests.redirector.world import Edge, public_pem, settle

NGINX = """
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 64; }}
http {{
  access_log {home}/access; client_body_temp_path {home}/t; proxy_temp_path {home}/t;
  fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  server {{ listen 127.0.0.1:{port}; root {home}/files; autoindex on; }}
}}
"""


class Nginx:
    """A mirror under nginx."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "files").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def fill(self, tree: Path) -> None:
        subprocess.run(["rsync", "-rt", f"{tree}/", f"{self.home}/files/"], check=True)

    def served(self) -> str:
        settle(self.port)
        return (self.home / "access").read_text()

    @contextmanager
    def running(self) -> Iterator[Nginx]:
        configuration = self.home / "conf"
        configuration.write_text(NGINX.format(home=self.home, port=self.port))
        with subprocess.Popen(
            ["nginx", "-e", f"{self.home}/error", "-c", str(configuration)],
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                deadline = time.monotonic() + 30
                while True:
                    try:
                        socket.create_connection(("127.0.0.1", self.port), 1).close()
                        break
                    except OSError:
                        assert time.monotonic() < deadline, "nginx does not listen"
                        time.sleep(0.02)
                yield self
            finally:
                process.terminate()


@pytest.mark.django_db
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_from_a_published_tree_to_a_download_from_a_mirror(
    tree: Tree,
    signer: Signer,
    edge: Edge,  # noqa: F811
    tmp_path: Path,
) -> None:
    for path in (DEB, BY_HASH, IN_RELEASE):
        edge.put(f"demo/{path}", tree.data(path))
    (edge.home / "key.pub").write_bytes(public_pem(signer.key))
    folder = settings.COMMONFARM.mirror_map.parent
    folder.mkdir(parents=True, exist_ok=True)
    edge.map.symlink_to(folder)
    edge.start()

    def fetch(path: str) -> tuple[bytes, str]:
        done = subprocess.run(
            [
                *("curl", "-q", "-sSfL", "--noproxy", "*", "-w", "\\n%{url_effective}"),
                f"{edge.url}/demo/{path}",
            ],
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, 22), done.stderr  # 22: an answer such as 404
        body, _, url = done.stdout.rpartition(b"\n")
        return body, url.decode()

    def fetched_from(path: str, wanted: tuple[str, ...]) -> str:
        """Fetch until it comes from where it should: a new map is taken up within a second."""
        deadline = time.monotonic() + 30
        while True:
            body, url = fetch(path)
            if url.startswith(wanted):
                assert body == tree.data(path)
                return url
            assert time.monotonic() < deadline, url
            time.sleep(0.05)

    ours = f"{edge.url}/demo/"
    assert fetch(DEB) == (tree.data(DEB), ours + DEB)
    with Nginx(tmp_path / "north").running() as north, Nginx(tmp_path / "south").running() as south:
        for name, server in (("north", north), ("south", south)):
            server.fill(edge.published / "demo")
            mirror = register(name, tree, server.url)
            done = scan.scan(mirror.pk, lambda: NOW)
            assert done is not None and done.ok, done
            check.check(mirror.pk, NOW, whole=True)
            Mirror.objects.update(answers=0, probed_at=None)
        for mirror in Mirror.objects.all():
            assert probe.probe(mirror.pk, NOW)
        mapping.write_full_map(NOW)

        url = fetched_from(DEB, (north.url, south.url))
        [chosen, other] = sorted((north, south), key=lambda one: not url.startswith(one.url))
        assert fetch(BY_HASH) == (tree.data(BY_HASH), chosen.url + BY_HASH)
        assert fetch(IN_RELEASE) == (tree.data(IN_RELEASE), ours + IN_RELEASE)

        target = tmp_path / "fetched.deb"
        subprocess.run(
            [
                *("/usr/lib/apt/apt-helper", "-o", "Acquire::http::Proxy=DIRECT"),
                *("-o", "APT::Sandbox::User=root", "download-file", f"{edge.url}/demo/{DEB}"),
                *(str(target), f"SHA256:{hashlib.sha256(tree.data(DEB)).hexdigest()}"),
            ],
            check=True,
            capture_output=True,
        )
        assert target.read_bytes() == tree.data(DEB)
        assert f"GET /{DEB}" in chosen.served()
        assert "Debian APT" in chosen.served()

        # A new file is redirected as soon as the check that follows a publication saw it.
        tree.publish("pool/b_1_all.deb")
        edge.put("demo/pool/b_1_all.deb", tree.data("pool/b_1_all.deb"))
        mapping.write_map(NOW)
        chosen.fill(edge.published / "demo")
        for mirror in Mirror.objects.all():
            check.check(mirror.pk, NOW)
        mapping.write_map(NOW)
        fetched_from("pool/b_1_all.deb", (chosen.url,))

        # The chosen mirror loses the file: the other gets its clients, then it comes from us.
        for server, wanted in ((chosen, other.url), (other, ours)):
            (server.home / "files" / DEB).unlink()
            for mirror in Mirror.objects.all():
                assert scan.scan(mirror.pk, lambda: NOW) is not None
            mapping.write_map(NOW)
            fetched_from(DEB, (wanted,))
