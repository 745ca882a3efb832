"""The agent's side of the protocol: HTTP with patience.

TLS everywhere but on loopback. A connection error or a 5xx is tried again with growing, jittered
pauses; 409 says from where to go on; 410 ends the lease.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import os
import random
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from commonfarm.agent.decode import (
    enrolled_from,
    lease_from,
    received_from,
    renewed_from,
)
from commonfarm.agent.errors import (
    AgentError,
    BadInputError,
    BrokenError,
    HubRefusedError,
    HubUnreachableError,
    LeaseOverError,
    StoppedError,
)
from commonfarm.agent.protocol import (
    CHUNK_BYTES,
    LOG_PIECE_BYTES,
    Enrolled,
    EnrolRequest,
    Lease,
    LeaseRequest,
    Received,
    Renewed,
    Report,
    SourceFile,
    UploadRequest,
)

_PREFIX = "/api/v1/agent"
_ANSWER_BYTES = 8 * 2**20
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_TIMEOUT_SECONDS = 30.0


class GapError(AgentError):
    """The hub has less than we thought; `received` bytes of it."""

    def __init__(self, received: int) -> None:
        super().__init__(f"the hub has {received} bytes")
        self.received = received


def checked_url(url: str) -> str:
    """Return `url` without a slash at its end; BadInputError unless it is https or loopback."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise BadInputError(f"{url!r} is not the address of a hub; write https://HOST[:PORT]")
    if parts.query or parts.fragment:
        raise BadInputError(f"{url!r} has a query; write https://HOST[:PORT]")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise BadInputError(
            f"{url} is plain HTTP to another machine, where anyone between could read the "
            "credential; use https://, or plain HTTP on loopback only"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect on the same host only: the credential goes with it."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise HubRefusedError(code, f"{req.full_url} redirects to another host, {new.netloc}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Hub:
    """A connection to one hub as one builder, or as nobody yet (no credential)."""

    def __init__(self, url: str, credential: str = "", stop: threading.Event | None = None) -> None:
        self._base = checked_url(url) + _PREFIX
        self._credential = credential
        self._stop = stop or threading.Event()

    def enrol(self, request: EnrolRequest) -> Enrolled:
        """Spend a token for a credential. Tried once: somebody waits for the answer."""
        body = self._once("POST", f"{self._base}/enrol", json.dumps(asdict(request)).encode())
        return enrolled_from(_decoded(body))

    def lease(self, scheduler: str, request: LeaseRequest) -> Lease | None:
        """Ask for a job once, waiting as long as `request` says; None if there is none.

        Raises HubUnreachableError at once when that scheduler does not answer, LeaseOverError when
        this generation is past.
        """
        url = f"{checked_url(scheduler)}/lease"
        timeout = request.wait_seconds + _TIMEOUT_SECONDS
        body = self._once("POST", url, json.dumps(asdict(request)).encode(), timeout)
        return lease_from(_decoded(body)) if body else None

    def renew(self, lease: int) -> Renewed:
        """Say that we still work; tried once, since the caller comes again soon."""
        return renewed_from(_decoded(self._once("POST", self._of(lease, "renew"), b"{}")))

    def fetch(self, lease: int, file: SourceFile, folder: Path, patience: float) -> None:
        """Bring a source file into `folder`; its size and hash are checked as it comes."""
        url = self._of(lease, "files", file.sha256)
        self._patiently(lambda: self._download(url, file, folder), patience)

    def send_log(self, lease: int, offset: int, piece: bytes) -> Received:
        """Send one piece, once; GapError says from where to go on."""
        if len(piece) > LOG_PIECE_BYTES:
            raise ValueError("a log piece is at most LOG_PIECE_BYTES")
        url = f"{self._of(lease, 'log')}?offset={offset}"
        return received_from(_decoded(self._once("PUT", url, piece)))

    def upload(self, lease: int, file: SourceFile, path: Path, patience: float) -> None:
        """Bring an artifact to the hub, going on from what it has."""
        announced = asdict(UploadRequest(file.name, file.size, file.sha256))
        answer = self._json("POST", self._of(lease, "uploads"), announced, patience)
        offset = received_from(answer).received
        with path.open("rb") as source:
            while offset < file.size or file.size == 0:
                source.seek(offset)
                chunk = source.read(CHUNK_BYTES)
                url = f"{self._of(lease, 'uploads', file.sha256)}?offset={offset}"
                try:
                    answer = self._json("PUT", url, chunk, patience)
                    offset = received_from(answer).received
                except GapError as gap:
                    if gap.received == offset:
                        raise BrokenError(f"the upload of {file.name} does not advance") from None
                    offset = gap.received
                if file.size == 0:
                    break

    def report(self, lease: int, report: Report, patience: float) -> None:
        """Tell how the job ended. Sent again until it is answered: the hub takes it once."""
        self._json("POST", self._of(lease, "report"), asdict(report), patience)

    def _of(self, lease: int, *parts: str) -> str:
        return "/".join([self._base, "leases", str(lease), *parts])

    def _json(self, method: str, url: str, body: Any, patience: float) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _decoded(self._patiently(lambda: self._once(method, url, data), patience))

    def _patiently(self, call: Any, patience: float) -> Any:
        """Call until it works; raise HubUnreachableError after `patience` seconds."""
        give_up_at = time.monotonic() + patience
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except HubUnreachableError:  # noqa: PERF203 - it waits anyway
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - only spreads the load
                if time.monotonic() + wait > give_up_at:
                    raise
                if self._stop.wait(wait):
                    raise StoppedError(
                        "the agent was stopped while the hub did not answer"
                    ) from None
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _open(self, method: str, url: str, data: bytes | None, timeout: float) -> Any:
        checked_url(url.partition("?")[0])
        kind = "application/json" if method == "POST" else "application/octet-stream"
        headers = {"User-Agent": "commonfarm-agent", "Content-Type": kind}
        if self._credential:
            headers["Authorization"] = f"Bearer {self._credential}"
        handlers: list[Any] = [_SameHost()]
        if url.startswith("http:"):
            handlers.append(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy
        request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
        return urllib.request.build_opener(*handlers).open(request, timeout=timeout)

    def _once(
        self, method: str, url: str, data: bytes | None, timeout: float = _TIMEOUT_SECONDS
    ) -> bytes:
        try:
            with self._open(method, url, data, timeout) as answer:
                body: bytes = answer.read(_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise _refusal(error, url) from None
        except (OSError, http.client.HTTPException) as error:
            raise HubUnreachableError(f"{_place(url)} does not answer: {error}") from None
        if len(body) > _ANSWER_BYTES:
            raise HubRefusedError(200, f"{_place(url)} answers more than the protocol allows")
        return body

    def _download(self, url: str, file: SourceFile, folder: Path) -> None:
        hasher, received = hashlib.sha256(), 0
        part = folder / f".{file.name}.part"
        try:
            with self._open("GET", url, None, _TIMEOUT_SECONDS) as answer, part.open("wb") as sink:
                while received <= file.size:
                    data = answer.read(2**20)
                    if not data:
                        break
                    received += len(data)
                    hasher.update(data)
                    sink.write(data)
        except urllib.error.HTTPError as error:
            raise _refusal(error, url) from None
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            socket.timeout,
        ) as error:
            raise HubUnreachableError(f"{_place(url)} does not answer: {error}") from None
        if received < file.size:
            raise HubUnreachableError(f"{file.name} came as {received} of {file.size} bytes")
        if received > file.size or hasher.hexdigest() != file.sha256:
            raise BrokenError(f"{file.name} is not what the lease says: size or SHA-256 differ")
        part.chmod(0o644)
        os.replace(part, folder / file.name)  # noqa: PTH105 - Path.replace reads the other way


def _place(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _refusal(error: urllib.error.HTTPError, url: str) -> AgentError:
    with error:
        try:
            body = json.loads(error.read(64 * 1024))
        except (ValueError, OSError, http.client.HTTPException):
            body = {}
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    said = str(problem.get("detail") or error.reason)
    if problem.get("lifted_by"):
        said += f"; {problem['lifted_by']}"
    if error.code == 409 and isinstance(problem.get("received"), int):
        return GapError(problem["received"])
    if error.code == 410:
        return LeaseOverError(said)
    if error.code >= 500 or error.code in (408, 429):
        return HubUnreachableError(f"{_place(url)} answers {error.code}: {said}")
    return HubRefusedError(error.code, f"{_place(url)} refuses ({error.code}): {said}")


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        raise HubRefusedError(200, "the hub's answer is not JSON") from None
