"""A mirror as its administrator runs one: nginx over a folder that rsync fills."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.first.command import StoryError, run

START_SECONDS = 10.0

_CONFIGURATION = """\
{user}
daemon off;
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/error.log;
events {{}}
http {{
    default_type application/octet-stream;
    log_format requests '$request_method $uri $status $body_bytes_sent';
    access_log {state}/access.log requests;
    client_body_temp_path {state}/body;
    proxy_temp_path {state}/proxy;
    fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi;
    scgi_temp_path {state}/scgi;
    sendfile on;
    server {{
        listen 127.0.0.1:{port};
        root {files};
    }}
}}
"""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class MirrorServer:
    """One mirror below `home`, answering on a port of loopback until it is stopped.

    The port of an earlier run is kept when it is still free, so that the address stays true.
    """

    def __init__(self, home: Path) -> None:
        self.name = home.name
        self.files = home / "files"
        self._state = home / "state"
        self._process: subprocess.Popen[bytes] | None = None
        for directory in (self.files, self._state):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)
        self.port = self._choose_port()

    @property
    def url(self) -> str:
        """The address under which it carries the tree."""
        return f"http://127.0.0.1:{self.port}/"

    def fill(self, tree: Path) -> None:
        """Bring the folder to the state of `tree`, packages before the indexes that name them.

        The order is the one Debian asks of its mirrors (https://www.debian.org/mirror/ftpmirror):
        a client in between sees old indexes and old packages, never new ones without theirs.
        """
        copy = ("rsync", "--recursive", "--links", "--times", "--perms", "--safe-links")
        source, target = f"{tree}/", f"{self.files}/"
        run(*copy, "--exclude=dists/", source, target)
        run(*copy, "--delete-after", source, target)

    def start(self) -> None:
        """Start nginx and return when it listens."""
        file = self._state / "nginx.conf"
        user = "user nobody nogroup;" if os.getuid() == 0 else ""
        file.write_text(
            _CONFIGURATION.format(user=user, state=self._state, port=self.port, files=self.files)
        )
        log = self._state / "error.log"
        # The mirror ends with whoever started it, even if that one is killed.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "/usr/sbin/nginx", "-e", log, "-c", file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise StoryError(f"nginx does not listen on port {self.port}; read {log}")

    def stop(self) -> None:
        """End nginx."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def served(self) -> list[str]:
        """Return the paths that were answered whole by GET (status 200), oldest first."""
        try:
            lines = (self._state / "access.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        asked = [line.split() for line in lines]
        return [one[1] for one in asked if len(one) == 4 and (one[0], one[2]) == ("GET", "200")]

    def _choose_port(self) -> int:
        kept = self._state / "port"
        if kept.exists():
            port = int(kept.read_text())
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind(("127.0.0.1", port))
                except OSError:
                    port = 0
            if port:
                return port
        port = free_port()
        kept.write_text(str(port))
        return port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
