"""What builders say to the scheduler: one request that asks for a job and may stay open a while."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import psycopg
from django.db import Error as DjangoError
from django.utils import timezone
from procrastinate.exceptions import ConnectorException
from psycopg_pool import PoolTimeout
from pydantic import TypeAdapter, ValidationError

from commonfarm.agent import protocol
from commonfarm.farm import leases, ledger
from commonfarm.farm.election import Scheduler
from commonfarm.farm.ledger import Heard
from commonfarm.farm.term import TermOverError
from commonfarm.fleet.interface import (
    Builder,
    check_facts,
    check_protocol,
    generation_over,
    past_bearer,
)
from commonfarm.lib.errors import CommonfarmError, Reason
from commonfarm.lib.ids import hash_token

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_BODY = 256 * 1024
MOST_WAIT_SECONDS = 60.0
BODY_SECONDS = 20.0

_REQUEST = TypeAdapter(protocol.LeaseRequest)
_DATABASE_ERRORS = (psycopg.Error, DjangoError, ConnectorException, PoolTimeout)
_log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """A request that is answered by a problem document."""

    def __init__(self, status: HTTPStatus, reason: Reason) -> None:
        super().__init__(str(reason))
        self.status = status
        self.reason = reason


def application(scheduler: Scheduler) -> Application:
    """Return the ASGI application of `scheduler`."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, body = await _route(scheduler, scope, receive)
        except _RefusedError as error:
            await _send_problem(send, error.status, error.reason)
        except (*_DATABASE_ERRORS, TermOverError) as error:
            _log.info("a poll was sent away: %s", error)
            await _send_problem(send, HTTPStatus.SERVICE_UNAVAILABLE, _NOT_ACTIVE)
        except _GoneError:
            return
        except TimeoutError:
            reason = Reason("too-slow", "the request did not arrive in time", "send it at once")
            await _send_problem(send, HTTPStatus.REQUEST_TIMEOUT, reason)
        else:
            await _send(send, status, body, "application/json")

    return answer


class _GoneError(Exception):
    """The client closed the connection."""


async def _route(
    scheduler: Scheduler, scope: Message, receive: Receive
) -> tuple[HTTPStatus, bytes]:
    match scope["method"], scope["path"].rstrip("/"):
        case "GET", "/health":
            term = scheduler.term
            shown: dict[str, int] = {"active": term is not None}
            if term is not None:
                shown |= {"epoch": term.epoch, "waiting": len(term.queue)}
            return HTTPStatus.OK, json.dumps(shown).encode()
        case "POST", "/lease":
            lease = await _while_connected(_lease(scheduler, scope, await _body(receive)), receive)
            if lease is None:
                return HTTPStatus.NO_CONTENT, b""
            return HTTPStatus.OK, json.dumps(asdict(lease)).encode()
    raise _RefusedError(
        HTTPStatus.NOT_FOUND, Reason("not-found", "there is nothing here", "POST /lease")
    )


_NOT_ACTIVE = Reason(
    "scheduler-not-active",
    "this scheduler is not active now",
    "ask again in a moment, or ask another scheduler",
)


async def _lease(scheduler: Scheduler, scope: Message, body: bytes) -> protocol.Lease | None:
    if scheduler.term is None:
        raise TermOverError
    request = _parse(body)
    credential = _credential(scope)
    heard = await _hear(scheduler, credential, request)
    if heard is None:
        raise await _stranger(scheduler, credential, request)
    lost = heard.active - set(request.holding)
    if lost:
        await scheduler.database.in_django(
            leases.free_lost, heard.id, request.holding, timezone.now()
        )
    if request.clean and not heard.clean:
        await scheduler.database.in_django(_mark_clean, heard.id, heard.generation)
    if lost or (request.clean and not heard.clean):
        heard = await _hear(scheduler, credential, request) or heard
    term = scheduler.term
    if term is None:
        raise TermOverError
    wait = min(max(request.wait_seconds, 0.0), MOST_WAIT_SECONDS)
    if not heard.may_build:
        # Answered late all the same, or a builder that may not build would ask without pause.
        await asyncio.sleep(min(wait, 5.0))
        return None
    return await term.job_for(heard, wait)


async def _hear(
    scheduler: Scheduler, credential: str, request: protocol.LeaseRequest
) -> Heard | None:
    async with scheduler.database.pool.connection() as connection:
        return await ledger.hear(connection, hash_token(credential), request, timezone.now())


def _mark_clean(builder_id: int, generation: int) -> None:
    Builder.objects.get(pk=builder_id).mark_clean(generation)


async def _stranger(
    scheduler: Scheduler, credential: str, request: protocol.LeaseRequest
) -> _RefusedError:
    """Tell an old life of a builder from somebody unknown."""

    def look() -> Reason | None:
        present = Builder.objects.filter(credential_digest=hash_token(credential)).first()
        if present is not None:
            return generation_over(present.name, request.generation, present.generation)
        return past_bearer(credential)

    past = await scheduler.database.in_django(look)
    if past is not None:
        return _RefusedError(HTTPStatus.GONE, past)
    return _RefusedError(
        HTTPStatus.UNAUTHORIZED,
        Reason("credential-unknown", "this credential is of no builder", "enrol with a new token"),
    )


def _parse(body: bytes) -> protocol.LeaseRequest:
    try:
        request = _REQUEST.validate_json(body)
        if not 0 <= request.generation < 2**31:
            raise ValueError(f"there is no generation {request.generation}")
        if not all(0 <= number < 2**63 for number in request.holding[:1000]):
            raise ValueError("a lease has no such number")
        check_protocol(request.facts.protocol)
        check_facts(request.facts)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        reason = Reason("bad-input", f"{place}: {first['msg']}", "see agent/protocol.py")
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from None
    except ValueError as error:
        reason = Reason("bad-input", str(error), "see agent/protocol.py")
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason) from None
    except CommonfarmError as error:
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, error.reason) from None
    return request


def _credential(scope: Message) -> str:
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer" and token:
                return str(token.strip())
    raise _RefusedError(
        HTTPStatus.UNAUTHORIZED,
        Reason("no-credential", "no credential was sent", "send `Authorization: Bearer ...`"),
    )


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            body += message.get("body", b"")
            if len(body) > MOST_BODY:
                raise _RefusedError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    Reason("too-large", f"a request has at most {MOST_BODY} bytes", "say less"),
                )
            if not message.get("more_body", False):
                return bytes(body)


async def _while_connected(
    work: Awaitable[protocol.Lease | None], receive: Receive
) -> protocol.Lease | None:
    """Do `work`, and give it up when the client goes away."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _GoneError
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _send_problem(send: Send, status: HTTPStatus, reason: Reason) -> None:
    document = {
        "type": f"urn:commonfarm:problem:{reason.code}",
        "title": status.phrase,
        "status": int(status),
        "detail": reason.text,
        "lifted_by": reason.lifted_by,
    }
    await _send(send, status, json.dumps(document).encode(), "application/problem+json")


async def _send(send: Send, status: HTTPStatus, body: bytes, kind: str) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
