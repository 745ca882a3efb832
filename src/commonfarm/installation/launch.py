"""How each process of an installation is started: command, user, environment, how to ask if it
answers.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path

import psycopg

from commonfarm.installation import leftovers, users
from commonfarm.installation.postgres import EmbeddedPostgres
from commonfarm.lib.config import Config
from commonfarm.lib.places import CONFIG_VARIABLE

PROBE_SECONDS = 3.0
SYSTEM_BUILDERS = Path("/var/lib/commonfarm-agent")
_LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""
_KEPT = ("LANG", "LC_ALL", "PATH", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What our processes get of the environment of who starts `up`; no secret is among it."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that `up` keeps running.

    `answers` says whether it does its work now. `before` runs ahead of each start. `extra` is
    added to the environment. `lifeline` starts it through sudo, tied to a pipe.
    """

    name: str
    command: list[str]
    answers: Callable[[], bool]
    address: str = ""
    before: Callable[[], None] = lambda: None
    umask: int = 0o022
    stop_signal: str = "TERM"
    lifeline: bool = False
    extra: dict[str, str] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """Return the whole command: as its user, and ending when `up` does."""
        if self.lifeline:
            helper = str(Path(__file__).with_name("lifeline.py"))
            return ["sudo", "-n", "/usr/bin/python3", helper, *self.command]
        words = ["setpriv", f"--pdeathsig={self.stop_signal}"]
        if self.name != "agent":
            words.append("--no-new-privs")
            if users.separate():
                user = users.user_of(self.name)
                words += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*words, "--", *self.command]

    def environment(self, config: Config) -> dict[str, str]:
        """Return the environment it is started with."""
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        if self.name == "agent":
            kept |= {key: value for key, value in os.environ.items() if "proxy" in key.lower()}
        return (
            kept
            | {
                leftovers.VARIABLE: leftovers.mark(config.state, self.name),
                CONFIG_VARIABLE: str(config.file),
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": "/root" if self.name == "agent" else "/nonexistent",
            }
            | self.extra
        )


def embedded_postgres(config: Config) -> EmbeddedPostgres:
    """Return the embedded PostgreSQL of `config`."""
    return EmbeddedPostgres(
        data=config.state / "postgres",
        socket_directory=Path(config.database.host),
        port=config.database.port,
        runs_as=users.user_of("postgres") if users.separate() else None,
        peers=users.peers(config),
    )


def postgres(server: EmbeddedPostgres) -> Process:
    """Return the embedded PostgreSQL as a process."""

    def answers() -> bool:
        try:
            with server.connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    return Process(
        "postgres",
        server.command(),
        answers,
        address=str(server.socket_directory),
        before=server.settle,
        umask=0o077,
        stop_signal="INT",
    )


def services(config: Config) -> list[Process]:
    """Return the processes that serve, in the order of their start."""
    program = [sys.executable, "-m", "commonfarm.cli.main"]

    def served(name: str, path: str) -> Process:
        port = getattr(config.listen, name)
        return Process(
            name,
            [*program, name],
            lambda: http_answers(config.listen.address, port, path),
            address=config.url(name),
            umask=0o007,
        )

    found = [
        Process(
            "signer",
            [*program, "signer"],
            lambda: signer_answers(config.signer_socket),
            address=str(config.signer_socket),
            # Its public keys are read by everyone; its key folder is closed by its own mode.
            umask=0o022,
        ),
        served("hub", "/sign-in/"),
        served("live", "/"),
        served("scheduler", "/"),
        Process(
            "worker",
            [*program, "worker"],
            lambda: worker_lives(config, "worker"),
            umask=0o002,
            # glibc would keep a heap for each of many threads: 1 GB where 400 MB are enough.
            extra={"MALLOC_ARENA_MAX": "2"},
        ),
        Process("operator", [*program, "operator"], lambda: worker_lives(config, "operator")),
        served("redirector", "/"),
    ]
    return [*found, rsyncd(config)] if config.listen.rsync else found


def rsyncd(config: Config) -> Process:
    """Return rsync's daemon, by which mirrors pull; what it serves the worker has written."""
    address, port = config.listen.address, config.listen.rsync

    def begin() -> None:
        """Have something to read before the worker was there: it ends without."""
        if not config.rsyncd_config.exists():
            users.write_private(config.rsyncd_config, "", users.RSYNC_GROUP)

    return Process(
        "rsyncd",
        [
            "rsync",
            "--daemon",
            "--no-detach",
            f"--address={address}",
            f"--port={port}",
            f"--config={config.rsyncd_config}",
            # Its log would have the addresses of users.
            "--log-file=/dev/null",
        ],
        lambda: rsync_answers(address, port),
        address=config.rsync_url,
        before=begin,
    )


def agent(config: Config) -> Process:
    """Return the local builder: the agent that the hub serves, as root."""
    zipapp, state = agent_files(config)
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return Process(
        "agent",
        [python, str(zipapp), "run", "--state", str(state)],
        lambda: True,
        address=config.url("scheduler"),
        lifeline=not users.separate(),
    )


def agent_files(config: Config) -> tuple[Path, Path]:
    """Return where the local builder's zipapp and its state are.

    Builds run as ids of nobody, who could not pass through a home that is closed to others, as
    Debian makes them: then the builder, which is root's, has its state among the system's.
    """
    folder = config.state / "agent"
    if not users.separate() and any(_is_closed(one) for one in folder.parents):
        known = hashlib.sha256(str(config.state).encode()).hexdigest()[:8]
        folder = SYSTEM_BUILDERS / f"{os.getuid()}-{known}"
    return config.state / "agent.pyz", folder


def _is_closed(folder: Path) -> bool:
    return folder.exists() and not folder.stat().st_mode & stat.S_IXOTH


def is_listened_to_by(user: str, address: str, port: int) -> bool:
    """Say whether who listens on exactly that address and port is `user`'s process.

    Nobody else can then have a listener that is asked instead: the kernel refuses such a bind.
    """
    uid = str(pwd.getpwnam(user).pw_uid)
    known = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    wanted = {(ip_address(where[0]).packed, port) for *_, where in known}
    for table in ("tcp", "tcp6"):
        file = Path("/proc/net", table)
        rows = file.read_text("ascii").splitlines()[1:] if file.exists() else []
        for local, _remote, state, *_rest, owner in (row.split()[1:8] for row in rows):
            if state == _LISTENS and owner == uid and _endpoint(local) in wanted:
                return True
    return False


def _endpoint(text: str) -> tuple[bytes, int]:
    """Read ADDRESS:PORT of /proc/net/tcp: words of 32 bits, each in this machine's byte order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words), int(port, 16)


def http_answers(address: str, port: int, path: str) -> bool:
    """Say whether a server gives any answer to GET `path` but one of its own failing (500)."""
    connection = HTTPConnection(address, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status != 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def rsync_answers(address: str, port: int) -> bool:
    """Say whether an rsync daemon greets who connects."""
    try:
        with socket.create_connection((address, port), PROBE_SECONDS) as probe:
            return probe.recv(64).startswith(b"@RSYNCD: ")
    except OSError:
        return False


def signer_answers(path: Path) -> bool:
    """Say whether the signer takes a connection at `path`, and ends one that asks nothing."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
            probe.shutdown(socket.SHUT_WR)
            return probe.recv(64) == b""
        except OSError:
            return False


def worker_lives(config: Config, name: str) -> bool:
    """Say whether the heartbeat of this machine's process `name` is fresh in the database."""
    database = config.database
    try:
        with psycopg.connect(
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            connect_timeout=int(PROBE_SECONDS),
        ) as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM guard_heartbeat WHERE host = %s AND process = %s"
                " AND at > now() - interval '10 seconds')",
                [socket.gethostname(), name],
            ).fetchone()
    except psycopg.Error:
        return False
    return bool(row and row[0])
