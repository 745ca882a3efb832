"""The signer's process: one request after the other from its socket, mirror maps beside them.

That it keeps its connection to the database and remembers past checks only saves time: killed at
any point, the same request is answered again.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socketserver
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from commonfarm.archive.signer.protocol import (
    KINDS,
    MOST_IDS,
    MOST_REQUEST_BYTES,
    SignedRelease,
)
from commonfarm.lib.config import Config
from commonfarm.lib.errors import CommonfarmError, Reason, RefusedError

READ_SECONDS = 10.0
UNHURRIED = ("mirror-map", "mirror-map-delta")
"""To check a full map takes a while; nothing waits for that, and what it needs is its own."""
_one_at_a_time = ThreadPoolExecutor(1, "signing")
_log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Make the keys if there are none, then answer until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    os.umask(0o077)
    _start_django(config)
    from commonfarm.archive.signer.keys import Keys

    path = config.signer_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = Keys(config)
    keys.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path.unlink(missing_ok=True)
    gc.freeze()  # what was imported stays: the collector need not look at it for each map
    with Server(path, keys) as server:
        _log.info("signer of %s listens, key %s", config.name, keys.fingerprint())
        server.serve_forever(poll_interval=1.0)


def _start_django(config: Config) -> None:
    """Start Django with the role that may only read."""
    import django
    from django.conf import settings

    database = settings.DATABASES["default"]
    database["USER"] = config.database.signer_user
    database["OPTIONS"] = {"options": "-c default_transaction_read_only=on"}
    django.setup()


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on the socket; who may connect is decided by its group."""

    daemon_threads = True

    def __init__(self, path: Path, keys: Any) -> None:
        self.keys = keys
        super().__init__(str(path), Handler)
        group = path.parent.stat().st_gid
        os.chown(path, -1, group)
        path.chmod(0o660)


class Handler(socketserver.StreamRequestHandler):
    """Answers one request."""

    timeout = READ_SECONDS

    def handle(self) -> None:
        """Read one line, answer one line."""
        from django.db import connections

        try:
            self._handle()
        finally:
            connections.close_all()  # they are of this thread, which ends

    def _handle(self) -> None:
        try:
            line = self.rfile.readline(MOST_REQUEST_BYTES + 1)
        except OSError:
            return
        if not line:
            return  # a look whether somebody listens
        server = cast("Server", self.server)
        answer = json.dumps(answer_to(line, server.keys)).encode() + b"\n"
        try:
            self.connection.settimeout(60)
            self.wfile.write(answer)
        except OSError:
            _log.warning("whoever asked has gone")


def answer_to(line: bytes, keys: Any) -> dict[str, Any]:
    """Return the answer to one request, whatever it is."""
    from django.db import DatabaseError

    kind: str = "?"
    ids: list[int] = []
    try:
        kind, ids = _parse(line)
        if kind in UNHURRIED:
            done = _sign(kind, ids, keys)
        else:
            done = _one_at_a_time.submit(_sign_next, kind, ids, keys).result()
    except RefusedError as error:
        _log.warning("refused %s %s: %s", kind, ids, error)
        return {"refused": _told(error.reason)}
    except CommonfarmError as error:
        _log.warning("failed %s %s: %s", kind, ids, error)
        return {"failed": _told(error.reason)}
    except (DatabaseError, OSError) as error:
        _log.warning("failed %s %s: %s", kind, ids, error)
        reason = Reason("signer-cannot-read", f"the signer cannot read: {error}", "see its log")
        return {"failed": _told(reason)}
    except Exception:
        # A bug must not end the process: the next request is another one.
        _log.exception("failed %s %s", kind, ids)
        return {"failed": _told(Reason("signer-failed", "the signer failed", "see its log"))}
    _log.info("signed %s %s", kind, ids)
    return {"done": done}


def _parse(line: bytes) -> tuple[str, list[int]]:
    try:
        request = json.loads(line)
        kind = request["sign"]
        ids = request["ids"] if kind == "statements" else [request["id"]]
    except (ValueError, TypeError, KeyError):
        raise _odd("a request is one line of JSON with `sign` and `id`") from None
    if kind not in KINDS:
        raise _odd(f"there is no {str(kind)[:40]!r} to sign")
    if not isinstance(ids, list) or not 0 < len(ids) <= MOST_IDS:
        raise _odd(f"`ids` is a list of up to {MOST_IDS} numbers")
    if not all(type(one) is int and 0 <= one < 2**63 for one in ids):
        raise _odd("an id is a number")
    return kind, ids


def _sign_next(kind: str, ids: list[int], keys: Any) -> dict[str, Any]:
    """Sign in the thread that keeps its connection, unless it is broken."""
    from django.db import close_old_connections

    close_old_connections()
    try:
        return _sign(kind, ids, keys)
    finally:
        close_old_connections()


def _sign(kind: str, ids: list[int], keys: Any) -> dict[str, Any]:
    from django.conf import settings
    from django.utils import timezone

    from commonfarm.archive import manifest, provenance, push_statement
    from commonfarm.archive.signer import approve, approve_manifest, approve_map, approve_push
    from commonfarm.redirector import mirror_map

    match kind:
        case "publication":
            releases = approve.releases(ids[0])
            with keys.agent():
                return {
                    "releases": [
                        SignedRelease(folder, keys.clear_sign(text), keys.detached(text)).to_json()
                        for folder, text in releases
                    ]
                }
        case "manifest":
            statement = approve_manifest.statement(ids[0], keys.statements.public_key())
            return {"envelope": manifest.seal(statement, keys.statements).decode()}
        case "statements":
            sealed = [provenance.seal(one, keys.statements) for one in approve.statements(ids)]
            return {"envelopes": [one.decode() for one in sealed]}
        case "mirror-map" | "mirror-map-delta":
            folder = settings.COMMONFARM.mirror_map.parent
            header = approve_map.header(folder, ids[0], delta=kind == "mirror-map-delta")
            return {"signature": keys.statements.sign(mirror_map.to_be_signed(header)).hex()}
        case "push" | "push-staged":
            approve_it = approve_push.staged if kind == "push-staged" else approve_push.published
            told = approve_it(ids[0], settings.COMMONFARM.name, timezone.now())
            return {"envelope": push_statement.seal(told, keys.statements).decode()}
        case _:
            return {"fingerprint": keys.fingerprint()}


def _odd(text: str) -> RefusedError:
    return RefusedError(Reason("odd-request", text, "ask as `signer.protocol` says"))


def _told(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text, "lifted_by": reason.lifted_by}
