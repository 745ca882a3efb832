"""Real servers of mirrors on loopback: each serves a folder on a free port until its block ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

APACHE = """
ServerRoot {home}
PidFile {home}/pid
ErrorLog {home}/errors
Listen 127.0.0.1:{port}
ServerName 127.0.0.1
Mutex posixsem
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule autoindex_module {modules}/mod_autoindex.so
TypesConfig /etc/mime.types
DocumentRoot {folder}
<Directory {folder}>
  Options +Indexes +FollowSymLinks
  {options}
  Require all granted
</Directory>
"""
NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/errors;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {home}/t; proxy_temp_path {home}/t;
  fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  types {{ text/html html; application/octet-stream deb; }}
  server {{ listen 127.0.0.1:{port}; root {folder}; autoindex on; {options} }}
}}
"""
LIGHTTPD = """
server.modules = ("mod_dirlisting")
server.document-root = "{folder}"
server.port = {port}
server.bind = "127.0.0.1"
server.errorlog = "{home}/errors"
mimetype.assign = (".html" => "text/html", "" => "application/octet-stream")
dir-listing.activate = "enable"
{options}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  root * {folder}
  file_server browse
}}
"""
RSYNC = """
use chroot = no
port = {port}
address = 127.0.0.1
log file = {home}/log
pid file = {home}/pid
[tree]
path = {folder}
{options}
"""
_MODULES = "/usr/lib/apache2/modules"


@contextmanager
def started(home: Path, command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the foreground and wait until it listens on `port`."""
    # Debian's servers lie where not every user looks.
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    command = [program, *command[1:]]
    output = (home / "output").open("wb")
    # Apache and lighttpd tell times in their own zone; Caddy keeps state in its home.
    environment = os.environ | {"TZ": "UTC", "HOME": str(home)}
    process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (home / "output").read_text()
            assert time.monotonic() < until, (home / "output").read_text()
            time.sleep(0.01)
        yield process
    finally:
        # Each is a single process, and rsync's takes half a second to end by itself.
        process.kill()
        process.wait()
        output.close()


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _written(
    home: Path, text: str, folder: Path, options: str, values: dict[str, object] | None = None
) -> tuple[Path, int]:
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = home / "config"
    config.write_text(
        text.format(
            home=home, folder=folder, port=port, options=options, modules=_MODULES, **values or {}
        )
    )
    return config, port


@contextmanager
def apache(home: Path, folder: Path, options: str = "IndexOptions FancyIndexing") -> Iterator[str]:
    """Serve `folder` by Apache and yield its address."""
    config, port = _written(home, APACHE, folder, options)
    with started(home, ["apache2", "-X", "-f", str(config)], port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def nginx(home: Path, folder: Path, options: str = "") -> Iterator[str]:
    """Serve `folder` by nginx and yield its address."""
    config, port = _written(home, NGINX, folder, options)
    with started(home, ["nginx", "-c", str(config), "-e", f"{home}/errors"], port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def lighttpd(home: Path, folder: Path, options: str = "") -> Iterator[str]:
    """Serve `folder` by lighttpd and yield its address."""
    config, port = _written(home, LIGHTTPD, folder, options)
    with started(home, ["lighttpd", "-D", "-f", str(config)], port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def caddy(home: Path, folder: Path, options: str = "") -> Iterator[str]:
    """Serve `folder` by Caddy and yield its address."""
    config, port = _written(home, CADDY, folder, options)
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    with started(home, command, port):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def rsyncd(home: Path, folder: Path, options: str = "") -> Iterator[str]:
    """Serve `folder` as the module `tree` by rsync's daemon and yield its address."""
    config, port = _written(home, RSYNC, folder, options)
    command = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
    with started(home, command, port):
        yield f"rsync://127.0.0.1:{port}/tree/"
