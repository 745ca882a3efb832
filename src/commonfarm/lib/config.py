"""The configuration of one installation: a TOML file, read once by each process.

The file is made by the first `commonfarm up` with every value written out, so that what is in
force can be read in one place. Durations are in seconds.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from commonfarm.lib.errors import BadInputError, Problem

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

_KINDS = {str: "a text", int: "a number", bool: "true or false", dict: "a table", list: "a list"}

PROCESSES = ("hub", "live", "scheduler", "redirector")


@dataclass(frozen=True, slots=True)
class Database:
    """Where PostgreSQL listens: a socket directory (absolute path) or a host name, and the role."""

    embedded: bool
    host: str
    port: int
    name: str
    user: str
    signer_user: str


@dataclass(frozen=True, slots=True)
class Listen:
    """The address and ports on which this machine's processes answer.

    An installation that was made before there was rsync has no port for it: 0, it is not offered.
    """

    address: str
    hub: int
    live: int
    scheduler: int
    redirector: int
    rsync: int = 0

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are in use, by what listens there."""
        found = {process: getattr(self, process) for process in PROCESSES}
        return found | ({"rsync": self.rsync} if self.rsync else {})


@dataclass(frozen=True, slots=True)
class Public:
    """How the outside reaches the processes, where a reverse proxy stands before them.

    Each is a base address without a slash at its end; empty where it is the one of `Listen`.
    `trusted_proxies` are the addresses and networks of the proxies whose word about who asks (the
    header `X-Forwarded-For`) is believed.
    """

    hub: str = ""
    live: str = ""
    scheduler: str = ""
    redirector: str = ""
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """All that one installation is told; see `docs/reference/configuration.md`."""

    file: Path
    name: str
    state: Path
    store: Path
    published: Path
    runtime: Path
    database: Database
    listen: Listen
    public: Public = Public()

    def url(self, process: str) -> str:
        """Return where `process` (one of PROCESSES) answers on this machine, no slash at its end.

        For what runs beside it; what is shown or given to others is `public_url`.
        """
        return f"http://{self._host}:{getattr(self.listen, process)}"

    @property
    def rsync_url(self) -> str:
        """Where rsync's daemon answers on this machine, empty where there is none."""
        return f"rsync://{self._host}:{self.listen.rsync}" if self.listen.rsync else ""

    @property
    def public_rsync_url(self) -> str:
        """Where mirrors reach rsync's daemon: by the redirector's public name, where it has one."""
        if not self.listen.rsync or not self.public.redirector:
            return self.rsync_url
        host = urlsplit(self.public.redirector).netloc
        return f"rsync://{re.sub(r':[0-9]+$', '', host)}:{self.listen.rsync}"

    @property
    def _host(self) -> str:
        address = self.listen.address
        return f"[{address}]" if ":" in address else address

    def public_url(self, process: str) -> str:
        """Return the base address by which people, builders and downloads reach `process`."""
        return getattr(self.public, process) or self.url(process)

    @property
    def secret_key_file(self) -> Path:
        """The key by which hub and live sign sessions and short-lived tokens; only they read it."""
        return self.state / "secrets" / "django-key"

    @property
    def signer_socket(self) -> Path:
        """Where the signer listens for requests."""
        return self.runtime / "signer" / "socket"

    @property
    def keyring(self) -> Path:
        """The signer's directory of keys, readable by it alone."""
        return self.state / "keys"

    @property
    def public_keys(self) -> Path:
        """The public halves of the signer's keys, readable by everyone."""
        return self.state / "public-keys"

    @property
    def followed(self) -> Path:
        """Where the worker keeps a clone of the estate's repository, and what opens it."""
        return self.state / "followed"

    @property
    def rsyncd_config(self) -> Path:
        """What rsync's daemon serves; the worker writes it, the daemon reads it anew each time."""
        return self.state / "rsyncd" / "rsyncd.conf"

    @property
    def rsyncd_secrets(self) -> Path:
        """The passwords by which mirrors read what is under embargo, for rsync's daemon."""
        return self.state / "rsyncd" / "secrets"

    @property
    def rsyncd_locks(self) -> Path:
        """Where rsync's daemon counts its connections."""
        return self.runtime / "rsyncd" / "lock"

    @property
    def operator(self) -> Path:
        """Where the operator keeps the key by which mirrors are told to pull."""
        return self.state / "operator"

    @property
    def mirror_map(self) -> Path:
        """The file that the worker writes and the redirector maps into memory."""
        return self.state / "mirror-map" / "current"

    @property
    def places(self) -> tuple[Path, ...]:
        """The files that tell where addresses are; of several, the first by name is believed."""
        return tuple(sorted((self.state / "places").glob("*.mmdb")))

    @property
    def counts(self) -> Path:
        """The spool through which the redirector's counts reach the worker."""
        return self.state / "counts"


def default(name: str, file: Path, state: Path, runtime: Path, ports: Listen) -> Config:
    """Return the configuration of a new installation with everything below `state`."""
    return Config(
        file=file,
        name=name,
        state=state,
        store=state / "store",
        published=state / "published",
        runtime=runtime,
        database=Database(
            embedded=True,
            host=str(runtime / "postgres"),
            port=5432,
            name="commonfarm",
            user="commonfarm",
            signer_user="commonfarm_signer",
        ),
        listen=ports,
    )


def load(file: Path) -> Config:
    """Read `file`; raise BadInputError naming it and what is wrong."""

    def bad(what: str, to_do: str, line: int = 0) -> BadInputError:
        return BadInputError(Problem(str(file), line, 0, what, to_do))

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}", "name an installation that exists") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise bad(
            f"is not TOML: {error}", "mend that line", int(found[1]) if found else 0
        ) from None

    def value(table: dict[str, Any], where: str, key: str, kind: type) -> Any:
        found = table.get(key)
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            label = f"{where}.{key}" if where else key
            raise bad(f"{label} is {found!r}, not {_KINDS[kind]}", f"set {label}")
        return found

    def table(key: str) -> dict[str, Any]:
        return dict(value(data, "", key, dict))

    def path(key: str) -> Path:
        found = Path(value(paths, "paths", key, str))
        if not found.is_absolute():
            raise bad(f"paths.{key} is {str(found)!r}, which is relative", "write an absolute path")
        return found

    def public_address(process: str) -> str:
        if process not in public:
            return ""
        found = str(value(public, "public", process, str))
        if not _is_origin(found):
            to_do = "write it as https://HOST or https://HOST:PORT"
            raise bad(f"public.{process} is {found!r}, which is no base address", to_do)
        return found

    def trusted_proxies() -> tuple[str, ...]:
        if "trusted_proxies" not in public:
            return ()
        found = value(public, "public", "trusted_proxies", list)
        for one in found:
            if not _is_network(one):
                to_do = "write an address such as 127.0.0.1, or a network such as 10.1.0.0/16"
                raise bad(f"public.trusted_proxies has {one!r}, which is no network", to_do)
        return tuple(found)

    name = value(data, "", "name", str)
    if _NAME.fullmatch(name) is None:
        raise bad(f"the name {name!r} is not allowed", "use small letters, digits and hyphens")
    paths, database, listen = table("paths"), table("database"), table("listen")
    public = table("public") if "public" in data else {}
    known = (*PROCESSES, "trusted_proxies")
    for key in public:
        if key not in known:
            raise bad(f"public.{key} is not known", f"use {', '.join(known)}")
    return Config(
        file=file,
        name=name,
        state=path("state"),
        store=path("store"),
        published=path("published"),
        runtime=path("runtime"),
        database=Database(
            embedded=value(database, "database", "embedded", bool),
            host=value(database, "database", "host", str),
            port=value(database, "database", "port", int),
            name=value(database, "database", "name", str),
            user=value(database, "database", "user", str),
            signer_user=value(database, "database", "signer_user", str),
        ),
        listen=Listen(
            address=value(listen, "listen", "address", str),
            **{process: value(listen, "listen", process, int) for process in PROCESSES},
            rsync=value(listen, "listen", "rsync", int) if "rsync" in listen else 0,
        ),
        public=Public(
            **{process: public_address(process) for process in PROCESSES},
            trusted_proxies=trusted_proxies(),
        ),
    )


def _is_origin(url: str) -> bool:
    """Say whether `url` is scheme, host and perhaps port, with nothing a header trips on."""
    if re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?", url) is None:
        return False
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_network(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(ip_network(text))
    except ValueError:
        return False


def dump(config: Config) -> str:
    """Return `config` as the TOML that `load` reads."""
    quoted = {
        key: '"' + str(getattr(config, key)).replace("\\", "\\\\").replace('"', '\\"') + '"'
        for key in ("state", "store", "published", "runtime")
    }
    database, listen = config.database, config.listen
    return "\n".join(
        [
            "# One installation of Commonfarm. No other may share its paths, database or ports.",
            f'name = "{config.name}"',
            "",
            "[paths]",
            *(f"{key} = {text}" for key, text in quoted.items()),
            "",
            "[database]",
            "# embedded: run the bundled PostgreSQL; otherwise connect to host and port.",
            f"embedded = {str(database.embedded).lower()}",
            f'host = "{database.host}"',
            f"port = {database.port}",
            f'name = "{database.name}"',
            f'user = "{database.user}"',
            f'signer_user = "{database.signer_user}"',
            "",
            "[listen]",
            f'address = "{listen.address}"',
            *(f"{process} = {port}" for process, port in listen.ports.items()),
            "",
            *_dump_public(config.public),
        ]
    )


def _dump_public(public: Public) -> list[str]:
    told = {process: getattr(public, process) for process in PROCESSES}
    lines = [f'{process} = "{url}"' for process, url in told.items() if url]
    if public.trusted_proxies:
        lines.append(f"trusted_proxies = {json.dumps(public.trusted_proxies)}")
    return ["[public]", *lines, ""] if lines else []


def current() -> Config:
    """Return the configuration this process was started with (`COMMONFARM_CONFIG`).

    Without that variable (lint, makemigrations) it is a configuration that names no real place.
    """
    file = os.environ.get("COMMONFARM_CONFIG")
    if file:
        return load(Path(file))
    nowhere = Path("/nonexistent/commonfarm")
    return default("unconfigured", nowhere, nowhere, nowhere, Listen("127.0.0.1", 0, 0, 0, 0))
