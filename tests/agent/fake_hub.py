"""A hub of one builder for the agent's tests: speaks the protocol over HTTP, remembers all it got.

It checks what it is told as the real one does (credential, generation, lease, gaps, hashes), and
can be made to misbehave: be away, at once or once a log says something, answer 500 for a while,
forget the end of a log, cancel, end a lease, refuse reports.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from commonfarm.agent.protocol import CHUNK_BYTES, LOG_PIECE_BYTES, Lease

_LEASES = re.compile(r"/api/v1/agent/leases/(\d+)/(renew|log|uploads|report|files)(?:/(\w+))?")
DEADLINE = "2030-01-01T00:00:00Z"


@dataclass
class Given:
    """A lease and what the agent brought for it."""

    lease: Lease
    files: dict[str, bytes]
    log: bytes = b""
    uploads: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, dict[str, Any]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    renewals: int = 0
    cancel: str = ""
    over: bool = False
    refusals: int = 0

    @property
    def report(self) -> dict[str, Any] | None:
        """The first report, once it came."""
        return self.reports[0] if self.reports else None

    def artifact(self, ending: str) -> bytes:
        """The bytes of the one artifact whose name ends so."""
        [name] = [n for n in self.announced if n.endswith(ending)]
        return self.uploads[self.announced[name]["sha256"]]


class FakeHub:
    """Hub and scheduler in one server; use as a context manager."""

    def __init__(self, token: str = "cf_token_of_the_tests") -> None:
        self.token = token
        self.credential = "cf_builder_credential_0123456789"
        self.generation = 1
        self.given: dict[int, Given] = {}
        self.queue: list[Given] = []
        self.polls: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.failing = 0
        self.away_after = b""
        self.redirect_to = ""
        self.lock = threading.RLock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it answers, both as hub and as scheduler."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def offer(self, lease: Lease, files: dict[str, bytes]) -> Given:
        """Queue a lease; `files` are the bytes by SHA-256."""
        given = Given(lease, files)
        with self.lock:
            self.given[lease.id] = given
            self.queue.append(given)
        return given


class _Handler(BaseHTTPRequestHandler):
    server_hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _answer(self, status: int, body: Any = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        if status == 204:
            data = b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 307:
            self.send_header("Location", self.server_hub.redirect_to)
        self.end_headers()
        self.wfile.write(data)

    def _problem(self, status: int, detail: str, **more: Any) -> None:
        self._answer(status, {"status": status, "detail": detail, **more})

    def _handle(self) -> None:
        hub = self.server_hub
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        with hub.lock:
            hub.requests.append((self.command, parts.path))
            if hub.redirect_to:
                return self._answer(307)
            if hub.failing:
                hub.failing -= 1
                return self._problem(503, "the hub is busy")
            if parts.path == "/api/v1/agent/enrol":
                return self._enrol(json.loads(body))
            if self.headers.get("Authorization") != f"Bearer {hub.credential}":
                return self._problem(401, "no such builder")
            if parts.path == "/lease":
                return self._lease(json.loads(body))
            found = _LEASES.fullmatch(parts.path)
            given = hub.given.get(int(found[1])) if found else None
            if found is None or given is None:
                return self._problem(404, "no such lease")
            if given.over:
                return self._problem(410, "the lease is over", lifted_by="ask for another")
            offset = int(parse_qs(parts.query).get("offset", ["0"])[0])
            getattr(self, f"_{found[2]}")(given, found[3], offset, body)
            return None

    def _enrol(self, request: dict[str, Any]) -> None:
        hub = self.server_hub
        if request["token"] != hub.token:
            return self._problem(403, "the token is unknown or used", lifted_by="ask for a new one")
        hub.token = ""
        return self._answer(
            200,
            {
                "builder": request["name"],
                "generation": hub.generation,
                "credential": hub.credential,
                "scheduler_urls": [hub.url],
            },
        )

    def _lease(self, request: dict[str, Any]) -> None:
        hub = self.server_hub
        hub.polls.append(request)
        if request["generation"] != hub.generation:
            return self._problem(410, "this generation is past", lifted_by="enrol again")
        if not hub.queue or not request["clean"]:
            threading.Event().wait(0.05)
            return self._answer(204)
        return self._answer(200, asdict(hub.queue.pop(0).lease))

    def _renew(self, given: Given, _: str, _offset: int, _body: bytes) -> None:
        given.renewals += 1
        self._answer(200, {"deadline_at": DEADLINE, "cancel": given.cancel})

    def _files(self, given: Given, sha256: str, _: int, _body: bytes) -> None:
        if sha256 not in given.files:
            return self._problem(404, "no such file")
        return self._answer(200, given.files[sha256])

    def _log(self, given: Given, _: str, offset: int, body: bytes) -> None:
        if len(body) > LOG_PIECE_BYTES:
            return self._problem(413, "the piece is too long")
        if offset > len(given.log):
            return self._problem(409, "there is a gap", received=len(given.log))
        given.log = given.log[:offset] + body
        hub = self.server_hub
        if hub.away_after and hub.away_after in given.log:
            hub.failing = 10**6
        return self._answer(200, {"received": len(given.log)})

    def _uploads(self, given: Given, sha256: str | None, offset: int, body: bytes) -> None:
        if sha256 is None:
            request = json.loads(body)
            given.announced[request["name"]] = request
            have = given.uploads.setdefault(request["sha256"], b"")
            return self._answer(200, {"received": len(have)})
        if len(body) > CHUNK_BYTES:
            return self._problem(413, "the chunk is too long")
        have = given.uploads[sha256]
        if offset > len(have):
            return self._problem(409, "there is a gap", received=len(have))
        given.uploads[sha256] = have = have[:offset] + body
        [size] = {a["size"] for a in given.announced.values() if a["sha256"] == sha256}
        if len(have) == size and hashlib.sha256(have).hexdigest() != sha256:
            given.uploads[sha256] = b""
            return self._problem(422, "the file is not what was announced")
        return self._answer(200, {"received": len(have)})

    def _report(self, given: Given, _: str, _offset: int, body: bytes) -> None:
        report = json.loads(body)
        if report["generation"] != self.server_hub.generation:
            return self._problem(410, "this generation is past")
        given.reports.append(report)
        if len(given.reports) <= given.refusals:
            return self._problem(422, "it has 1001 artifacts", lifted_by="send at most 1000")
        return self._answer(200)
