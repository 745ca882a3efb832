"""A mirror in the internet of the story: nginx and rsyncd over a folder that rsync fills."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from examples.first.command import StoryError, run
from examples.sugarlabs.downloads.internet import Internet

START_SECONDS = 20.0

_NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/nginx.log;
events {{}}
http {{
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {state}/body;
    proxy_temp_path {state}/proxy;
    fastcgi_temp_path {state}/fastcgi;
    uwsgi_temp_path {state}/uwsgi;
    scgi_temp_path {state}/scgi;
    server {{
        listen {address}:80;
        root {files};
        autoindex on;
    }}
}}
"""
_RSYNCD = """\
pid file = {state}/rsyncd.pid
log file = {state}/rsyncd.log
address = {address}
use chroot = no
[sugarlabs]
path = {files}
read only = yes
"""


@dataclass
class MirrorSite:
    """One mirror: its name, country and address, and its folders below `home`."""

    internet: Internet
    home: Path
    name: str
    country: str
    address: str
    has_rsync: bool = True
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in (self.files, self.staged, self._state):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)

    @property
    def files(self) -> Path:
        """What it serves."""
        return self.home / self.name / "files"

    @property
    def staged(self) -> Path:
        """What it holds for the next release, and serves to nobody."""
        return self.home / self.name / "staged"

    @property
    def _state(self) -> Path:
        return self.home / self.name / "state"

    @property
    def http(self) -> str:
        """Where it serves its copy by HTTP."""
        return f"http://{self.address}/"

    @property
    def rsync(self) -> str:
        """Where others may list it by rsync, empty where it has none."""
        return f"rsync://{self.address}/sugarlabs/" if self.has_rsync else ""

    def start(self) -> None:
        """Start its servers, and return when they listen."""
        user = "user nobody nogroup;" if os.getuid() == 0 else ""
        known = {"address": self.address, "state": self._state, "files": self.files, "user": user}
        nginx, rsyncd = self._state / "nginx.conf", self._state / "rsyncd.conf"
        nginx.write_text(_NGINX.format(**known))
        rsyncd.write_text(_RSYNCD.format(**known))
        self._run("/usr/sbin/nginx", "-e", self._state / "nginx.log", "-c", nginx)
        if self.has_rsync:
            self._run("rsync", "--daemon", "--no-detach", f"--config={rsyncd}")
        deadline = time.monotonic() + START_SECONDS
        for port in (80, 873) if self.has_rsync else (80,):
            while not self._listens(port):
                if time.monotonic() > deadline:
                    raise StoryError(f"{self.name} does not listen on port {port}: {self._state}")
                time.sleep(0.05)

    def die(self) -> None:
        """End as if the power failed."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)  # nginx's workers outlive their master
            process.wait()
        self._processes.clear()

    def pull(self, source: str, tree: str) -> None:
        """Fetch what is public of a tree from the rsync module at `source`, without moving again
        what is staged; what is gone goes last.
        """
        copy = [*self._rsync(), f"--link-dest={self.staged / tree}"]
        target = f"{self.files / tree}/"
        run(*copy, source, target)
        run(*copy, "--delete-after", source, target)

    def stage(self, source: str, password_file: Path, tree: str) -> None:
        """Fetch what is under embargo, from the module for registered mirrors; without moving what
        is served already.
        """
        known = [f"--password-file={password_file}", f"--link-dest={self.files / tree}"]
        run(*self._rsync(), *known, source, f"{self.staged / tree}/")

    def reveal(self, tree: str) -> None:
        """Serve what is staged: its own links to it, no bytes are moved."""
        staged, served = f"{self.staged / tree}/", f"{self.files / tree}/"
        run("rsync", "-rlt", f"--link-dest={self.staged / tree}", staged, served)

    def may_stage(self, source: str, password_file: Path) -> bool:
        """Say whether the module for registered mirrors is there, and takes the password."""
        command = self.internet.command("rsync", f"--password-file={password_file}", source)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def alter(self, path: str) -> None:
        """Change one byte of a file, and nothing that a listing shows."""
        file = self.files / path
        before = file.stat()
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        other = file.with_name(f".{file.name}.altered")
        other.write_bytes(content)
        other.chmod(0o644)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(file)

    def _rsync(self) -> list[str]:
        options = ("--recursive", "--links", "--times", "--safe-links", "--timeout=60")
        return self.internet.command("rsync", *options)

    def _run(self, *arguments: str | Path) -> None:
        self._processes.append(
            subprocess.Popen(
                self.internet.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def _listens(self, port: int) -> bool:
        probe = f"import socket; socket.create_connection(('{self.address}', {port}), 1)"
        command = self.internet.command("/usr/bin/python3", "-c", probe)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
