"""What `serve-downloads.md` shows works: nginx, Prometheus, and a redirector elsewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from commonfarm.mirrors.models import FileCount, Redirector
from commonfarm.redirector import __main__ as redirector
from tests.mirrors.registered import NOW, published
from tests.redirector.world import Edge, file_of, mirror

GUIDE = Path(__file__).parents[2] / "docs/how-to/serve-downloads.md"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or ""
ENOUGH_SECONDS = 20.0
DATA = b"a file of the tree" * 1000


def blocks(heading: str, kind: str) -> list[str]:
    """Return the blocks of a kind below a heading."""
    section = GUIDE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{kind}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    tmp_path.chmod(0o755)
    made = Edge(tmp_path)
    made.put("soas/a.iso", DATA)
    made.put("soas/own.iso", DATA)
    made.put("soas/debian/dists/stable/InRelease", b"now")
    secure = mirror("one", "soas", https="https://one.example.org/soas/")
    made.write_map(
        [secure, mirror("two", "soas", country="FR")],
        {"soas/a.iso": file_of(DATA, 0, 1), "soas/debian/dists/stable/InRelease": file_of(b"now")},
    )
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()


@contextmanager
def nginx(home: Path, config: str, before: str = "", after: str = "") -> Iterator[None]:
    """Run nginx with what stands in its `http`, and around that, until the block ends."""
    file = home / "nginx.conf"
    kept = "\n".join(
        f"{name}_temp_path {home}/temp;"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    file.write_text(
        f"{before} {user} daemon off; pid {home}/pid; error_log {home}/error;\n"
        f"events {{}}\nhttp {{ access_log off; {kept}\n{config} }}\n{after}\n"
    )
    with subprocess.Popen([NGINX, "-e", str(home / "error"), "-c", str(file)]) as running:
        try:
            deadline = time.monotonic() + ENOUGH_SECONDS
            while not (home / "pid").exists() or not (home / "pid").read_text():
                assert running.poll() is None, (home / "error").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            running.terminate()


@pytest.mark.skipif(not NGINX, reason="nginx is not installed")
def test_nginx_before_the_redirector_passes_on_who_asks_and_takes_indexes(edge: Edge) -> None:
    edge.start("--public", "https://download.example.org", "--trusted-proxy", "127.0.0.1")
    port, key = free_port(), edge.home / "key.pem"
    make = (
        f"openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=x -keyout {key} -out {key}.crt"
    )
    subprocess.run(make.split(), check=True, capture_output=True)
    [served] = blocks("Behind nginx, with TLS", "nginx")
    [indexes] = blocks("Who sends our own bytes", "nginx")
    [folders] = blocks("Let people look through folders", "nginx")
    config = served.rstrip().removesuffix("}") + folders + indexes + "}\n"
    for shown, ours in (
        ("127.0.0.1:8423", f"127.0.0.1:{edge.port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/download.pem", f"{key}.crt"),
        ("/etc/ssl/download.key", str(key)),
        ("/var/lib/commonfarm/production/published", str(edge.published)),
    ):
        assert shown in config
        config = config.replace(shown, ours)
    with nginx(edge.home, config):
        plain, edge.port = edge.port, port
        secure = ("-k", "--connect-to", f"download.example.org:443:127.0.0.1:{port}")

        def get(path: str, *more: str) -> tuple[int, dict[str, str], bytes]:
            command = ["curl", "-q", "-sS", "-i", *secure, *more]
            done = subprocess.run(
                [*command, f"https://download.example.org{path}"], capture_output=True, check=True
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            return int(lines[0].split()[1]), dict(x.split(": ", 1) for x in lines[1:]), body

        status, headers, _ = get("/soas/a.iso")
        assert (status, headers["Location"]) == (302, "https://one.example.org/soas/a.iso")
        # A client that names itself another one's is not believed: the last hop is.
        forged = get(
            "/soas/a.iso", "-H", "X-Forwarded-For: 127.0.0.1", "-H", "X-Forwarded-Proto: http"
        )
        assert forged[1]["Location"] == "https://one.example.org/soas/a.iso"
        assert get("/soas/own.iso")[::2] == (200, DATA)
        assert get("/soas/own.iso", "-r", "0-4")[::2] == (206, DATA[:5])
        assert get("/soas/debian/dists/stable/InRelease")[::2] == (200, b"now")
        assert get("/soas/debian/dists/stable/InRelease.meta4")[0] == 200
        assert get("/soas/debian/dists/stable/no-such-file")[0] == 404
        for folder, name in (("/soas/", b"own.iso"), ("/soas/debian/dists/", b"stable/")):
            status, _, page = get(folder)
            assert status == 200
            assert b'<a href="' + name + b'">' in page
        assert get("/")[0] == get("/other/")[0] == get("/soas.r1/")[0] == 404
        edge.port = plain
    # The indexes came from nginx: the redirector served the other files alone.
    body = edge.get("/-/metrics")[2].decode()
    assert 'requests_total{outcome="served"} 2' in body


STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@pytest.mark.skipif(not STREAM.exists(), reason="libnginx-mod-stream is not installed")
def test_nginx_passes_rsync_on(tmp_path: Path) -> None:
    [config] = blocks("rsync, behind a firewall", "nginx")
    port, home = free_port(), tmp_path
    config = config.replace("listen 203.0.113.5:8425", f"listen 127.0.0.1:{port}")
    # What answers is no rsync here: the daemon's own tests have that.
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        config = config.replace("127.0.0.1:8425", f"127.0.0.1:{daemon.getsockname()[1]}")
        with nginx(home, "", before=f"load_module {STREAM};", after=config):
            daemon.settimeout(ENOUGH_SECONDS)
            with socket.create_connection(("127.0.0.1", port), ENOUGH_SECONDS) as mirror:
                answering, _ = daemon.accept()
                with answering:
                    answering.sendall(b"@RSYNCD: 32.0\n")
                    assert mirror.recv(8) == b"@RSYNCD:"


def test_prometheus_takes_the_configuration_and_its_alerts_fire(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    scrape, rules = blocks("Watch it", "yaml")
    (tmp_path / "prometheus.yml").write_text(scrape)
    (tmp_path / "downloads.yml").write_text(rules)
    (tmp_path / "test.yml").write_text(FIRING)
    for words in (("check", "config", "prometheus.yml"), ("test", "rules", "test.yml")):
        done = subprocess.run(["promtool", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def firing(alert: str, labels: str, summary: str) -> str:
    return (
        f"      - eval_time: 30m\n        alertname: {alert}\n        exp_alerts:\n"
        f"          - exp_labels: {labels}\n            exp_annotations: {{summary: '{summary}'}}\n"
    )


FIRING = (
    """\
rule_files: [downloads.yml]
tests:
  - interval: 1m
    input_series:
      - series: commonfarm_redirector_requests_total{outcome="busy"}
        values: 0+5x40
      - series: commonfarm_redirector_requests_total{outcome="redirected"}
        values: 0+500x40
      - series: commonfarm_redirector_mirrors{tree="soas"}
        values: 10x40
      - series: commonfarm_redirector_mirrors_up{tree="soas"}
        values: 4x40
      - series: commonfarm_redirector_mirrors{tree="well"}
        values: 10x40
      - series: commonfarm_redirector_mirrors_up{tree="well"}
        values: 9x40
      - series: commonfarm_redirector_map_reload_failures_total
        values: 0x25 1x15
    alert_rule_test:
"""
    + firing(
        "OriginIsFull",
        "{outcome: busy}",
        "clients are told to come again, as we serve all that we can",
    )
    + firing("FewMirrors", "{tree: soas}", "fewer than half of the mirrors of soas serve")
    + firing(
        "MirrorMapRefused",
        "{}",
        "a mirror map was refused, the one before stays in force; the log says why",
    )
)


def test_the_alerts_ask_for_what_there_is(edge: Edge) -> None:
    edge.start()
    there = edge.get("/-/metrics")[2].decode()
    asked = set(re.findall(r"commonfarm_redirector_\w+", GUIDE.read_text()))
    assert len(asked) >= 6
    assert [name for name in asked if f"# TYPE {name} " not in there] == []
    assert 'requests_total{outcome="busy"}' in there


def test_a_redirector_elsewhere_starts_as_it_is_shown() -> None:
    [unit] = blocks("A redirector on another machine", "ini")
    [line] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    words = shlex.split(line)
    assert words[:3] == ["/usr/bin/python3", "-m", "commonfarm.redirector"]
    told = redirector._parser().parse_args(words[3:])
    assert str(told.mirror_map) == "/var/lib/downloads/map"
    assert told.public == "https://download.example.org"


def test_the_map_is_copied_whole_and_serves_there(edge: Edge, tmp_path: Path) -> None:
    copy, _, _ = blocks("A redirector on another machine", "sh")
    (edge.map / ".current.new").write_bytes(b"half of one")
    there = tmp_path / "there"
    (there / "map").mkdir(parents=True)
    copy = copy.replace(
        "farm.example.org:/var/lib/commonfarm/production/mirror-map/", f"{edge.map}/"
    )
    copy = copy.replace("/var/lib/downloads/map/", f"{there}/map/")
    run(copy)
    assert [file.name for file in (there / "map").iterdir()] == ["current"]
    other = Edge(there, key=edge.key).start()
    try:
        assert other.get("/soas/a.iso")[0] == 302
    finally:
        other.stop()


@pytest.mark.django_db(transaction=True)
def test_its_counts_come_back_once(
    request: pytest.FixtureRequest, settings: Any, tmp_path: Path
) -> None:
    settings.STATIC_URL = "/unused/"
    hub = request.getfixturevalue("live_server").url
    published("demo", ("a.iso",))
    token = Redirector.add("edge-1", who="user:anna", now=NOW).reveal()
    (tmp_path / "counts-header").write_text(f"Authorization: Bearer {token}\n")
    spool = tmp_path / "counts"
    spool.mkdir()
    name, day = "0" * 32, timezone.now().date().isoformat()
    lines = ({"format": 1, "id": name, "day": day}, ["demo", "a.iso", "", "DE", 3, 3000])
    batch = "".join(json.dumps(line) + "\n" for line in lines)
    send = blocks("A redirector on another machine", "sh")[2]
    send = send.replace("/var/lib/downloads/counts", str(spool))
    send = send.replace("/etc/commonfarm", str(tmp_path))
    send = send.replace("https://farm.example.org", hub)
    run(send)  # there is none yet
    for _ in range(2):
        (spool / f"{name}.counts").write_text(batch)
        run(send)
        assert list(spool.iterdir()) == []
    assert FileCount.objects.get().downloads == 3
    (tmp_path / "counts-header").write_text("Authorization: Bearer no\n")
    (spool / f"{name}.counts").write_text(batch)
    run(send, code=22)
    assert len(list(spool.iterdir())) == 1, "what was not taken is gone"


def run(script: str, code: int = 0) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
