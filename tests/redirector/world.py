"""A small world: a key, mirror maps signed by it, a published folder, a redirector that runs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commonfarm.redirector.mirror_map import (
    File,
    Mirror,
    MirrorMap,
    seal,
    serialise,
    to_be_signed,
    write,
)


def mirror(name: str, tree: str = "demo", country: str = "DE", **changes: object) -> Mirror:
    fields = {"url": f"http://{name}.example.org/{tree}/", "families": frozenset({4, 6})}
    return Mirror(**({"name": name, "tree": tree, "country": country} | fields | changes))  # type: ignore[arg-type]


def map_of(
    mirrors: Iterable[Mirror], files: dict[str, File], generation: int = 1, tree: str = "demo"
) -> MirrorMap:
    return MirrorMap(generation, "2026-01-01T00:00:00+00:00", tuple(mirrors), {tree: files})


def signed(the_map: MirrorMap, key: Ed25519PrivateKey) -> bytes:
    payload = serialise(the_map)
    return seal(payload, key.sign(to_be_signed(payload)))


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Edge:
    """A redirector that runs as a process of its own."""

    home: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.published.mkdir(parents=True, exist_ok=True)
        (self.home / "key.pub").write_bytes(public_pem(self.key))

    @property
    def published(self) -> Path:
        return self.home / "published"

    @property
    def map_file(self) -> Path:
        return self.home / "map" / "current"

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

    def write_map(self, the_map: MirrorMap) -> None:
        write(self.map_file, signed(the_map, self.key))

    def start(self, *proxies: str, address: str = "127.0.0.1", files: str = "") -> Edge:
        """Start it; `files` are the limits of open files, soft and hard, as prlimit(1) has them."""
        with (self.home / "log").open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *(["prlimit", f"--nofile={files}"] if files else []),
                    *(sys.executable, "-m", "commonfarm.redirector", address, "0"),
                    *(str(self.published), str(self.map_file), str(self.home / "key.pub")),
                    *proxies,
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
