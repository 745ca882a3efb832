"""What `redirect.py` measures on: a map, the servers, and clients that ask."""

from __future__ import annotations

import gc
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import iptocc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commonfarm.redirector.mirror_map import Answers, Mirror, Tree, load, to_be_signed

if TYPE_CHECKING:
    from commonfarm.redirector.mirror_map.writing import Columns, Head, Payload

CONNECTIONS = 32
OPEN_CONNECTIONS = 256
NETWORKS = 5_000
COUNTRIES = 60
SETS = 3_000
TICK = os.sysconf("SC_CLK_TCK")
PUBLIC = "http://download.example.org"
DATE = "2026-11-21T12:00:00+00:00"

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {home}/t;
  proxy_temp_path {home}/t; fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t;
  scgi_temp_path {home}/t;
  server {{
    listen 127.0.0.1:{port};
    {headers}
    location / {{ return 302 {location}; }}
  }}
}}
"""


@dataclass(frozen=True)
class Size:
    """How large one case is."""

    files: int
    changed: int
    mirrors: int
    seconds: float


FULL, QUICK = Size(1_000_000, 20_000, 200, 5.0), Size(50_000, 1_000, 200, 1.5)


def path(number: int) -> bytes:
    """Return the path of a file as long as those of a Debian pool are."""
    return b"demo/pool/main/l/lib%d/libsomething%d_1.2.3-4_amd64.deb" % (number % 997, number)


def clients() -> tuple[list[str], list[str]]:
    """Return an address in each of NETWORKS networks of the COUNTRIES most common countries."""
    dice, found = random.Random(4), dict[str, list[str]]()  # noqa: S311 - test data
    for _ in range(40_000):
        address = str(IPv4Address(dice.randrange(1 << 24, 224 << 24)))
        found.setdefault(iptocc.country_code(address) or "", []).append(address)
    found.pop("", None)
    countries = sorted(found, key=lambda one: (-len(found[one]), one))[:COUNTRIES]
    every = [address for country in countries for address in found[country]]
    return dice.sample(every, NETWORKS), countries


def head(size: Size, generation: int, countries: Sequence[str], path_part: str = "pub") -> Head:
    """Return what a map says besides its files."""
    from commonfarm.redirector.mirror_map.writing import Head

    mirrors = [
        Mirror(
            name=f"mirror{number}",
            tree="demo",
            http=f"http://mirror{number}.example.org/{path_part}/demo/",
            https=f"https://mirror{number}.example.org/{path_part}/demo/",
            country=countries[number % len(countries)],
            answers=Answers(15),
        )
        for number in range(size.mirrors)
    ]
    return Head(generation, DATE, mirrors, [Tree("demo", 1, {}, {}, "")])


def columns(size: Size, numbers: range) -> Columns:
    """Return these files, each on one of SETS sets of three quarters of the mirrors."""
    import numpy as np

    from commonfarm.redirector.mirror_map.writing import Columns

    dice, count = np.random.default_rng(numbers.step), len(numbers)
    sets = np.packbits(dice.random((SETS, size.mirrors)) < 0.75, axis=1, bitorder="little")
    return Columns(
        paths=[path(number) for number in numbers],
        sizes=dice.integers(1, 1_000_000, size=count),
        sha256=np.frombuffer(dice.bytes(32 * count), np.uint8).reshape(-1, 32),
        rows=np.arange(count),
        flags=np.zeros(count, np.uint8),
        holdings=sets[dice.integers(SETS, size=count)],
    )


@dataclass(frozen=True)
class Home:
    """Where one server has its files. Maps are built in another process, for its memory."""

    folder: Path
    size: Size

    def build(self) -> None:
        """Write a full map, and keep ready a delta and another full one."""
        from commonfarm.redirector.mirror_map.writing import build, build_delta, write

        key, countries = Ed25519PrivateKey.generate(), clients()[1]
        public = key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "key").write_bytes(pem)

        def put(folder: str, payload: Payload) -> None:
            write(self.folder / folder, payload, key.sign(to_be_signed(payload.header)), public)

        every = columns(self.size, range(self.size.files))
        put("map", build(head(self.size, 1, countries), every))
        put("full", build(head(self.size, 3, countries, "mirrors"), every))
        step = self.size.files // self.size.changed
        changed = columns(self.size, range(0, self.size.files, step))
        base = load(self.folder / "map", public)
        put("delta", build_delta(base, head(self.size, 2, countries), changed))

    def swap(self, name: str) -> None:
        """Put the delta or the other full map in place, as the worker does."""
        source = self.folder / name / ("delta" if name == "delta" else "current")
        source.replace(self.folder / "map" / source.name)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], port: int) -> Iterator[int]:
    """Run a server on the first core until the block ends, and give its process id."""
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {0})
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{command[0]} does not answer") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()


@contextmanager
def ours(home: Home) -> Iterator[tuple[int, int]]:
    """Run our redirector; give its process id and port."""
    port, folder = free_port(), home.folder
    for name in ("published", "spool"):
        (folder / name).mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "commonfarm.redirector", "--port", str(port)),
        *("--published", str(folder / "published"), "--spool", str(folder / "spool")),
        *("--mirror-map", str(folder / "map"), "--public-key", str(folder / "key")),
        *("--public", PUBLIC, "--trusted-proxy", "127.0.0.1"),
    ]
    with started(command, port) as pid:
        yield pid, port


@contextmanager
def nginx(home: Home, answer: bytes) -> Iterator[tuple[int, int]]:
    """Run nginx with the header lines of `answer`, one of ours; give its process id and port."""
    program, port = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), free_port()
    if program is None:
        raise SystemExit("nginx is not installed: apt-get install nginx-light")
    lines = [line.split(": ", 1) for line in answer.decode().split("\r\n")[1:] if line]
    location = next(value for name, value in lines if name == "Location")
    own = ("Server", "Date", "Location", "Content-Length")  # nginx sets these itself
    headers = "\n".join(
        f"add_header {name} '{value}' always;" for name, value in lines if name not in own
    )
    text = NGINX.format(home=home.folder, port=port, headers=headers, location=location)
    (home.folder / "conf").write_text(text)
    arguments = ["-e", str(home.folder / "error"), "-c", str(home.folder / "conf")]
    with started([program, *arguments], port) as pid:
        yield pid, port


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def pss_mib(pid: int) -> float:
    """Return the memory of a process, shared pages by their share."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def connected(port: int, count: int, poll: select.epoll) -> dict[int, socket.socket]:
    """Return `count` connections by descriptor, watched by `poll`."""
    found = {}
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(client, select.EPOLLIN)
        found[client.fileno()] = client
    return found


def load_closed(port: int, requests: Sequence[bytes], seconds: float, least: int = 0) -> int:
    """Keep CONNECTIONS busy for `seconds` and `least` requests; return how many came back."""
    poll = select.epoll()
    clients = connected(port, CONNECTIONS, poll)
    next_request = cycle(requests).__next__
    answered, end = 0, time.monotonic() + seconds
    for client in clients.values():
        client.sendall(next_request())
    while time.monotonic() < end or answered < least:
        for number, _ in poll.poll(1):
            client = clients[number]
            answer = client.recv(8192)
            if not answer.startswith(b"HTTP/1.1 302 "):
                raise SystemExit(f"no redirect: {answer[:200]!r}")
            answered += 1
            client.sendall(next_request())
    for client in clients.values():
        client.close()
    return answered


@dataclass(frozen=True)
class Latency:
    """How long requests took, in milliseconds from when they were due, and how many were lost."""

    times: Sequence[float]
    lost: int

    @property
    def p99(self) -> float:
        """The time within which 99 of 100 were answered."""
        return sorted(self.times)[int(len(self.times) * 0.99)]


def load_open(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    at: float = 0.0,
    meanwhile: Callable[[], object] | None = None,
) -> Latency:
    """Ask `rate` times a second for `seconds`; do `meanwhile` after `at` seconds."""
    poll = select.epoll()
    clients = connected(port, OPEN_CONNECTIONS, poll)
    idle, due_of = deque(clients.values()), dict[int, float]()
    next_request, times, lost = cycle(requests).__next__, list[float](), 0
    begin = time.perf_counter()
    asked, total, end = 0, int(rate * seconds), begin + seconds + 5
    gc.disable()
    while (asked < total or due_of) and (now := time.perf_counter()) < end:
        if meanwhile is not None and now - begin > at:
            meanwhile()
            meanwhile = None
        due = min(int((now - begin) * rate), total)
        while asked < due and idle:
            client = idle.popleft()
            due_of[client.fileno()] = begin + asked / rate
            asked += 1
            client.sendall(next_request())
        for number, _ in poll.poll(0):
            client = clients[number]
            if client.recv(8192).startswith(b"HTTP/1.1 302 "):
                times.append((time.perf_counter() - due_of.pop(number)) * 1000)
                idle.append(client)
            else:
                lost += 1
                del due_of[number]
                poll.unregister(client)
    gc.enable()
    for client in clients.values():
        client.close()
    return Latency(times, lost + len(due_of))
