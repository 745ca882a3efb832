"""The guide for who runs a mirror: its commands, servers and units work as they stand there."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.mirrors import registry_tasks
from commonfarm.mirrors.models import Mirror
from tests.mirrors.registered import FILES, published
from tests.mirrors.scanning import servers
from tests.web.served import _wait, free_ports

GUIDE = Path(__file__).parents[2] / "docs/how-to/run-a-mirror.md"
ROOT = re.compile(r"^```sh root\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNIT = re.compile(
    r"^```(?:ini)?\n# /etc/systemd/system/(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCK = re.compile(r"^```sh guide\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APACHE = re.compile(r"^```apache\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NGINX = re.compile(r"^```nginx\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Machine:
    """Where the mirror is in this test, instead of the places that the guide names."""

    home: Path
    rsync: int
    web: int
    environment: dict[str, str]
    token: str = "TOKEN"

    def here(self, text: str) -> str:
        """Return a text of the guide with the places of this machine."""
        for there, here in (
            ("downloads.example.org", f"127.0.0.1:{self.rsync}"),
            ("http://mirror.example.org", f"http://127.0.0.1:{self.web}"),
            ("/srv/", f"{self.home}/srv/"),
            ("/usr/local/bin/", f"{self.home}/"),
            ("/etc/first.password", f"{self.home}/first.password"),
            ("echo TOKEN", f"echo {self.token}"),
        ):
            text = text.replace(there, here)
        return text

    def run(self, block: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(block)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, block + done.stdout + done.stderr
        return done.stdout

    @property
    def served(self) -> Path:
        return self.home / "srv/mirror/first"

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        request = Request(f"http://127.0.0.1:{self.web}{path}", headers=headers)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()


def put(folder: Path, *paths: str, data: bytes = b"bytes") -> None:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@pytest.fixture
def machine(
    tmp_path: Path, request: pytest.FixtureRequest, settings: Any
) -> Iterator[tuple[Machine, Path]]:
    """A source that offers a tree by rsync, as the hub does, and a machine for the mirror."""
    settings.STATIC_URL = "/unused/"
    hub = request.getfixturevalue("live_server")
    user = User.add("north", Role.READER, who="test")
    source, home = tmp_path / "source", tmp_path / "home"
    put(source / "public", *FILES, "dists/s/Release")
    put(source / "staged", *FILES, "dists/s/Release", "soas/next.iso")
    for folder in ("mirror/first", "staging/first"):
        (home / "srv" / folder).mkdir(parents=True)
    for file in (home / "first.password", source / "secrets"):
        file.write_text("secret\n" if file.name == "first.password" else "north:secret\n")
        file.chmod(0o600)
    rsync, web = free_ports(2)
    config = source / "rsyncd.conf"
    config.write_text(
        f"use chroot = no\n[first]\npath = {source}/public\n[first-embargoed]\n"
        f"path = {source}/staged\nauth users = north\nsecrets file = {source}/secrets\n"
    )
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={rsync}"]
    daemon = subprocess.Popen(
        [*command, f"--config={config}", "--log-file=/dev/null"], stdin=subprocess.DEVNULL
    )
    environment = {
        **os.environ,
        "COMMONFARM_HUB": hub.url,
        "COMMONFARM_TOKEN": ApiToken.make(user, "test", who="test").reveal(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    try:
        _wait(rsync, daemon)
        yield Machine(home, rsync, web, environment), source
    finally:
        daemon.kill()
        daemon.wait()


@pytest.fixture
def nginx(machine: tuple[Machine, Path]) -> Iterator[None]:
    """Run the server of the guide."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    mirror, _ = machine
    [block] = NGINX.findall(GUIDE.read_text())
    server = mirror.here(block).replace("listen 80;", f"listen 127.0.0.1:{mirror.web};")
    server = server.replace("listen [::]:80;", "")
    paths = "".join(
        f"{name}_temp_path {mirror.home}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = mirror.home / "nginx.conf"
    config.write_text(
        f"daemon off; pid {mirror.home}/pid; error_log stderr crit; events {{}}\n"
        f"{'user root;' if os.getuid() == 0 else ''}\n"
        f"http {{ access_log off; {paths}\n{server}\n}}\n"
    )
    running = subprocess.Popen(["/usr/sbin/nginx", "-e", "stderr", "-c", config])
    try:
        _wait(mirror.web, running)
        yield
    finally:
        running.terminate()
        running.wait(15)


@pytest.mark.django_db(transaction=True)
def test_its_commands_work_as_they_stand(machine: tuple[Machine, Path], nginx: None) -> None:
    published("first")
    mirror, source = machine
    stages, script, add, proof, show, able, ahead = BLOCK.findall(GUIDE.read_text())

    mirror.run(stages)
    assert sorted(file.name for file in mirror.served.iterdir()) == ["activities", "dists", "soas"]
    mirror.run(script)
    mirror.run("/usr/local/bin/pull-first")

    assert mirror.get("/first/soas/image.iso", Range="bytes=1-2") == (206, b"yt")
    assert mirror.get("/first/none")[0] == 404
    assert b"soas/" in mirror.get("/first/")[1]

    said = mirror.run(add)
    mirror.token = Mirror.named("north").token
    assert mirror.token in said
    mirror.run(proof)
    registry_tasks.prove(Mirror.named("north").pk)
    assert Mirror.named("north").proved_at, Mirror.named("north").proof_problem
    assert "state:      unprobed" in mirror.run(show)
    mirror.run(able)
    assert Mirror.named("north").enabled

    # A pull keeps the file, brings what is new, and drops what is gone.
    put(source / "public", "soas/new.iso")
    (source / "public" / FILES[0]).unlink()
    mirror.run("/usr/local/bin/pull-first")
    assert (mirror.served / "commonfarm-mirror.txt").exists()
    assert (mirror.served / "soas/new.iso").exists()
    assert not (mirror.served / FILES[0]).exists()

    # What is under embargo is fetched ahead; what the mirror has already is not fetched again.
    mirror.run(ahead)
    staged = mirror.home / "srv/staging/first"
    assert (staged / "soas/next.iso").exists()
    assert (staged / FILES[1]).stat().st_ino == (mirror.served / FILES[1]).stat().st_ino


@pytest.mark.django_db(transaction=True)
def test_the_script_never_runs_twice_at_once(machine: tuple[Machine, Path]) -> None:
    mirror, _ = machine
    _, script, *_ = BLOCK.findall(GUIDE.read_text())
    mirror.run(script)
    lock, again = (mirror.home / f"srv/mirror/.pull-first.{what}" for what in ("lock", "again"))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mirror.run("/usr/local/bin/pull-first")
        assert not list(mirror.served.iterdir())
    assert again.exists()  # whoever holds the lock sees that
    mirror.run("/usr/local/bin/pull-first")
    assert (mirror.served / "dists").exists()
    assert not again.exists()


def test_its_apache_serves_files_as_they_are(tmp_path: Path) -> None:
    [port] = free_ports(1)
    here = Machine(tmp_path, 0, port, {})
    put(here.served, "soas/image.iso", "soas/page.html", "soas/.image.iso.tmp", data=b"x" * 3000)
    (here.served / "latest").symlink_to("soas")
    [block] = APACHE.findall(GUIDE.read_text())
    loaded = ("mpm_event", "authz_core", "alias", "autoindex", "mime", "env", "filter", "deflate")
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in loaded
    )
    config = tmp_path / "apache.conf"
    config.write_text(
        f"ServerRoot {tmp_path}\nPidFile {tmp_path}/pid\nErrorLog {tmp_path}/errors\n"
        f"Listen 127.0.0.1:{port}\nMutex posixsem\n{modules}"
        "TypesConfig /etc/mime.types\nAddOutputFilterByType DEFLATE text/html\n"
        + here.here(block).replace("*:80", f"*:{port}")
    )
    with servers.started(tmp_path, ["apache2", "-X", "-f", str(config)], port):
        for path in ("soas/image.iso", "latest/page.html"):
            packed = {"Accept-Encoding": "gzip"}
            assert here.get(f"/first/{path}", **packed) == (200, b"x" * 3000), path
        assert here.get("/first/soas/image.iso", Range="bytes=1-2") == (206, b"xx")
        assert here.get("/first/none")[0] == here.get("/first/soas/.image.iso.tmp")[0] == 404
        assert b"image.iso" in here.get("/first/soas/")[1]


@pytest.mark.parametrize("guide", ["run-a-mirror", "serve-downloads"])
def test_its_units_are_what_systemd_takes(tmp_path: Path, guide: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    [(name, unit)] = UNIT.findall((GUIDE.parent / f"{guide}.md").read_text())
    file = tmp_path / name
    file.write_text(unit.replace("/usr/bin/commonfarm", sys.executable))
    verify = ["systemd-analyze", "verify", "--man=no", str(file)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.getuid() != 0, reason="adds a user to files of its own, as root only")
def test_its_user_has_a_shell_in_which_a_forced_command_runs(tmp_path: Path) -> None:
    put(tmp_path / "etc", "passwd", "shadow", "group", "gshadow", data=b"")
    [block] = ROOT.findall(GUIDE.read_text())
    made = block.splitlines()[0].split()
    subprocess.run([*made, "--prefix", str(tmp_path)], check=True, timeout=30)
    assert (tmp_path / "etc/passwd").read_text().endswith(":/home/mirror:/bin/sh\n")
