"""Makes the configuration of an installation, and refuses what two installations would share."""

from __future__ import annotations

import hashlib
import os
import socket
from itertools import count
from pathlib import Path

from commonfarm.lib.config import PROCESSES, Config, Database, Listen, default, dump, load
from commonfarm.lib.errors import CommonfarmError, Reason, RefusedError
from commonfarm.lib.places import (
    HOME_VARIABLE,
    INSTALLATION_VARIABLE,
    config_folder,
    find,
    installations,
    runtime_folder,
    state_folder,
)

FIRST_NAME = "production"
FIRST_PORT = 8420


def find_or_make() -> Config:
    """Return the chosen installation's configuration, made and written down on first use.

    RefusedError when it shares paths, database or ports with another one of this machine and user.
    """
    name = os.environ.get(INSTALLATION_VARIABLE)
    known = installations()
    if name in known or (not name and known) or os.environ.get("COMMONFARM_CONFIG"):
        config = find()
    else:
        config = make(name or FIRST_NAME)
    for other in _others(config):
        refuse_sharing(config, other)
    return config


def make(name: str) -> Config:
    """Write the configuration of a new installation `name`, with free ports, and return it."""
    file = config_folder() / f"{name}.toml"
    taken = {
        port
        for other in _others(default(name, file, file, file, Listen("127.0.0.1", 0, 0, 0, 0)))
        for port in other.listen.ports.values()
    }
    listen = Listen("127.0.0.1", *free_ports("127.0.0.1", len(PROCESSES) + 1, taken))
    config = default(name, file, state_folder(name), runtime_folder(name), listen)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(dump(config), encoding="utf-8")
    try:
        load(partial)
        partial.chmod(0o644)
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)
    return config


def free_ports(address: str, number: int, taken: set[int]) -> list[int]:
    """Return ports that can be bound now and are not `taken`, below the range of the kernel's own.

    Each `COMMONFARM_HOME` begins to look elsewhere, so that two that start at once rarely meet.
    """
    home = os.environ.get(HOME_VARIABLE)
    first = FIRST_PORT
    if home:
        first = 9000 + int(hashlib.sha256(os.fsencode(home)).hexdigest()[:8], 16) % 20_000
    free: list[int] = []
    for port in count(first):
        if len(free) == number:
            return free
        if port not in taken and _bindable(address, port):
            free.append(port)
    raise AssertionError("counting ends")


def refuse_taken_ports(config: Config) -> None:
    """Raise RefusedError that names the process whose port somebody else has bound."""
    for process, port in config.listen.ports.items():
        if not _bindable(config.listen.address, port):
            raise RefusedError(port_taken(config, process))


def port_taken(config: Config, process: str) -> Reason:
    """Return the reason that says somebody else has the port of `process`."""
    port = getattr(config.listen, process)
    return Reason(
        "port-taken",
        f"port {port} of {process} is in use by another program",
        f"stop that program (`ss -ltnp sport = :{port}` names it), or set"
        f" listen.{process} in {config.file}",
    )


def refuse_sharing(config: Config, other: Config) -> None:
    """Raise RefusedError if `config` shares a path, the database or a port with `other`."""

    def refuse(what: str, key: str) -> RefusedError:
        return RefusedError(
            Reason(
                "shared-with-another",
                f"{config.name} and {other.name} share {what}",
                f"set {key} in {config.file} to its own",
            )
        )

    for key in ("state", "store", "published", "runtime"):
        mine: Path = getattr(config, key).resolve()
        for place in (other.state, other.store, other.published, other.runtime):
            theirs = place.resolve()
            if mine == theirs or mine in theirs.parents or theirs in mine.parents:
                raise refuse(f"files: {mine} and {theirs}", f"paths.{key}")
    database = _place(config.database)
    if database == _place(other.database):
        raise refuse(f"the database {database[2]} at {database[0]}", "database.host")
    theirs_bound = {port: process for process, port in other.listen.ports.items()}
    for process, port in config.listen.ports.items():
        if port in theirs_bound:
            raise refuse(f"port {port} ({theirs_bound[port]} of {other.name})", f"listen.{process}")


def _place(database: Database) -> tuple[str, int, str]:
    host = database.host
    return (os.path.realpath(host) if host.startswith("/") else host), database.port, database.name


def _others(config: Config) -> list[Config]:
    found = []
    for name in installations():
        file = config_folder() / f"{name}.toml"
        if config.file.exists() and file.samefile(config.file):
            continue
        try:
            found.append(load(file))
        except CommonfarmError:
            continue  # It cannot run as it is, and says so itself when it is started.
    return found


def _bindable(address: str, port: int) -> bool:
    if not 0 < port < 65536:
        return False
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # As servers do: a closed connection that lingers does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
