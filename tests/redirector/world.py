"""A small world: a key, mirror maps signed by it, a published folder, a redirector that runs."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commonfarm.redirector.mirror_map import (
    Answers,
    File,
    Hashes,
    Mirror,
    Override,
    Tree,
    to_be_signed,
)
from commonfarm.redirector.mirror_map.writing import Columns, Head, build, write
from commonfarm.redirector.state import Settings

EVERYWHERE = Answers.HTTP4 | Answers.HTTP6 | Answers.HTTPS4 | Answers.HTTPS6
WRITTEN_AT = "2026-01-01T00:00:00+00:00"


def mirror(name: str, tree: str = "demo", country: str = "DE", **changes: object) -> Mirror:
    fields = {"http": f"http://{name}.example.org/{tree}/", "answers": EVERYWHERE}
    return Mirror(**({"name": name, "tree": tree, "country": country} | fields | changes))  # type: ignore[arg-type]


def file_of(data: bytes, *mirrors: int, changes: bool = False, mirrors_from: int = 0) -> File:
    """Return a file of these bytes that the mirrors of these numbers have."""
    bits = sum(1 << number for number in mirrors)
    return File(len(data), hashlib.sha256(data).digest(), changes, bits, mirrors_from)


def tree_of(name: str = "demo", **changes: object) -> Tree:
    fields: dict[str, object] = {"revision": 1, "aliases": {}, "repositories": {}}
    return Tree(**({"name": name} | fields | changes))  # type: ignore[arg-type]


def write_map(
    folder: Path,
    key: Ed25519PrivateKey,
    mirrors: Iterable[Mirror],
    files: Mapping[str, File],
    generation: int = 1,
    *,
    trees: Iterable[Tree] = (),
    hashes: Mapping[str, Hashes] | None = None,
    overrides: Iterable[Override] = (),
    written_at: str = WRITTEN_AT,
) -> None:
    """Write a full map of `files` (by `tree/path`) into `folder`, signed by `key`."""
    mirrors, named = tuple(mirrors), {tree.name: tree for tree in trees}
    for path in files:
        name = path.partition("/")[0]
        named.setdefault(name, tree_of(name))
    head = Head(generation, written_at, mirrors, tuple(named.values()), tuple(overrides))
    payload = build(head, Columns.of(files, len(mirrors), hashes))
    write(folder, payload, key.sign(to_be_signed(payload.header)), key.public_key())


def settings_of(home: Path, **changes: object) -> Settings:
    """Return the settings of a redirector in this process, with all its folders below `home`."""
    fields = {
        "published": home / "published",
        "mirror_map": home / "map",
        "public_key": home / "key.pub",
    }
    return Settings(**(fields | changes))  # type: ignore[arg-type]


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def settle(port: int) -> None:
    """Return when nginx has logged all that it answered: it does one thing after the other."""
    client = HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("HEAD", "/none")
    client.getresponse().read()
    client.close()


@dataclass
class Edge:
    """A redirector that runs as a process of its own."""

    home: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.published.mkdir(parents=True, exist_ok=True)
        self.spool.mkdir(exist_ok=True)
        (self.home / "key.pub").write_bytes(public_pem(self.key))

    @property
    def published(self) -> Path:
        return self.home / "published"

    @property
    def map(self) -> Path:
        return self.home / "map"

    @property
    def map_file(self) -> Path:
        return self.map / "current"

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, data: bytes) -> None:
        file = self.published / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def write_map(
        self,
        mirrors: Iterable[Mirror],
        files: Mapping[str, File],
        generation: int = 1,
        **more: Any,
    ) -> None:
        write_map(self.map, self.key, mirrors, files, generation, **more)

    def start(
        self, *options: str, address: str = "127.0.0.1", port: int = 0, files: str = ""
    ) -> Edge:
        """Start it; `files` are the limits of open files, soft and hard, as prlimit(1) has them."""
        with (self.home / "log").open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *(["prlimit", f"--nofile={files}"] if files else []),
                    *(sys.executable, "-m", "commonfarm.redirector"),
                    *("--address", address, "--port", str(port)),
                    *("--published", str(self.published)),
                    *("--mirror-map", str(self.map), "--public-key", str(self.home / "key.pub")),
                    *("--spool", str(self.spool)),
                    *options,
                ],
                stderr=out,
                env={key: value for key, value in os.environ.items() if "DJANGO" not in key},
            )
        self.port = int(self.wait_for_log(r"answering on \('[^']*', (\d+)")[1])
        return self

    def wait_for_log(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.log) if (self.home / "log").exists() else None
            if found:
                return found
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, f"no {pattern!r} in: {self.log}"
            time.sleep(0.02)

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()

    def raw(self, data: bytes, wait: float = 5) -> bytes:
        """Send bytes as they are and return all that comes until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as client:
            client.sendall(data)
            received = b""
            while piece := client.recv(65536):
                received += piece
        return received

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                *("curl", "-q", "-sS", "--path-as-is", "-i", "--max-time", "20"),
                *options,
                self.url + path,
            ],
            capture_output=True,
            check=False,
        )

    def get(self, path: str, *options: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (last of a name wins) and body as curl got them."""
        out = self.curl(path, *options)
        assert out.returncode == 0, out.stderr
        head, _, body = out.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers, body
