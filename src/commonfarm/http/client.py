"""The client of the hub's API that every command of the CLI speaks through."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from commonfarm.agent.protocol import CHUNK_BYTES
from commonfarm.lib.errors import (
    BadInputError,
    NotFoundError,
    Problem,
    Reason,
    RefusedError,
    UnreachableError,
)
from commonfarm.lib.secret import Secret

TIMEOUT_SECONDS = 60.0
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class HubClient:
    """Speaks to one hub as one user. Errors come back as the exceptions of `lib.errors`."""

    url: str
    token: Secret

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at `/api/v1` + `path`."""
        return self._json("GET", path, query=query)

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield every item of a paginated list."""
        while True:
            page = self.get(path, **query)
            yield from page["items"]
            if page["next"] is None:
                return
            query["after"] = page["next"]

    def post(self, path: str, body: Any = None) -> Any:
        """POST `body` as JSON under a fresh idempotency key and return the answer."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        return self._json("POST", path, json.dumps(body).encode(), headers)

    def patch(self, path: str, body: Any) -> Any:
        """Change what is at `path`, from the version that is there now, and return the answer."""
        with self._open("GET", path) as now:
            headers = {"Content-Type": "application/json", "If-Match": now.headers.get("ETag", "")}
        return self._json("PATCH", path, json.dumps(body).encode(), headers)

    def delete(self, path: str) -> None:
        """Remove what is at `path`."""
        self._open("DELETE", path).close()

    def put_bytes(self, path: str, data: bytes, **query: Any) -> Any:
        """PUT raw bytes and return the answer."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._json("PUT", path, data, headers, query=query)

    def upload(self, file: Path, progress: Progress) -> tuple[str, int]:
        """Bring `file` to the store, going on where it stopped; return its SHA-256 and size.

        `progress` is told its name, the bytes sent and its size. RefusedError when it changes
        meanwhile.
        """
        with file.open("rb") as data:
            sha256, size = hashlib.file_digest(data, "sha256").hexdigest(), data.tell()
            asked = {"size": size, "sha256": sha256}
            sent = self.post("/store/uploads", asked)["received"]
            while sent < size:
                progress(file.name, sent, size)
                data.seek(sent)
                chunk = data.read(CHUNK_BYTES)
                if not chunk:
                    raise RefusedError(
                        Reason("file-changed", f"{file} got shorter while it was read", "try again")
                    )
                sent = self.put_bytes(f"/store/uploads/{sha256}", chunk, offset=sent)["received"]
        progress(file.name, size, size)
        return sha256, size

    def download(self, path: str, to: Path, **query: Any) -> None:
        """Write the bytes at `path` into the file `to`."""
        with self._open("GET", path, query=query) as answer, to.open("wb") as out:
            with self._reaching():
                shutil.copyfileobj(answer, out, CHUNK_BYTES)

    def _json(self, *arguments: Any, **options: Any) -> Any:
        """Return the JSON that `_open` is answered with, None for an empty body."""
        with self._open(*arguments, **options) as response, self._reaching():
            text = response.read()
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise UnreachableError(
                Reason(
                    "not-a-hub",
                    f"what answers at {self.url} is no hub: it does not speak JSON",
                    "look at the address",
                )
            ) from None

    def _open(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
    ) -> HTTPResponse:
        asked = {key: value for key, value in (query or {}).items() if value is not None}
        url = f"{self.url}/api/v1{path}" + (f"?{urlencode(asked, doseq=True)}" if asked else "")
        request = Request(url, data=data, method=method)  # noqa: S310 - the hub's own address
        # Not sent along to where the hub, or who stands in for it, redirects us.
        request.add_unredirected_header("Authorization", f"Bearer {self.token.reveal()}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        # Plain HTTP is spoken on loopback only, which is never behind a proxy.
        opener = build_opener(*([ProxyHandler({})] if url.startswith("http:") else []))
        with self._reaching():
            return cast("HTTPResponse", opener.open(request, timeout=TIMEOUT_SECONDS))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Raise what goes wrong between us and the hub as an exception of `lib.errors`."""
        try:
            yield
        except HTTPError as error:
            raise _as_error(error) from None
        except (OSError, HTTPException) as error:
            here = self.url.startswith("http:")  # plain HTTP is spoken on loopback only
            raise UnreachableError(
                Reason(
                    "hub-unreachable",
                    f"the hub at {self.url} does not answer: {getattr(error, 'reason', error)}",
                    "start it with `commonfarm up`, or look at `commonfarm status`"
                    if here
                    else "look at the address, or ask who runs it",
                )
            ) from None


def _as_error(error: HTTPError) -> Exception:
    """Return the exception that the hub's problem details stand for."""
    try:
        body = json.load(error)
    except (ValueError, OSError, HTTPException):
        body = None
    if not isinstance(body, dict):  # something between us and the hub answered
        what = f"{error.url} answers {error.code} {error.reason}"
        body = {"detail": what, "lifted_by": "see that this is the address of a hub"}
    code = str(body.get("type", "")).rpartition(":")[2] or f"http-{error.code}"
    reason = Reason(code, body.get("detail") or str(error), body.get("lifted_by", ""))
    if body.get("problems"):
        return BadInputError(
            *(
                Problem(
                    one.get("file") or one.get("where", ""),
                    one.get("line", 0),
                    one.get("column", 0),
                    one["what"],
                    one.get("to_do", ""),
                )
                for one in body["problems"]
            )
        )
    if error.code == 404:
        return NotFoundError(reason)
    if error.code >= 500:
        return UnreachableError(reason)
    return RefusedError(reason)
