"""A POST that is sent twice with one `Idempotency-Key` is carried out once.

Format: draft-ietf-httpapi-idempotency-key-header. The answer is kept for a day, in the transaction
that carried the request out, so either both are there or neither. An answer that says `no-store`
holds a secret and is not kept: the same request makes another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from commonfarm.http.models import IdempotentAnswer
from commonfarm.http.permissions import caller
from commonfarm.http.problems import problem
from commonfarm.lib.errors import Reason

HEADER = "Idempotency-Key"
KEPT = timedelta(days=1)


def once(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Carry a POST out once per caller and key; `build_api` puts this around every operation."""

    @wraps(view)
    def carry_out_once(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        key = request.headers.get(HEADER) if request.method == "POST" else None
        user = caller(request) if key else None
        if not key or user is None:
            return view(request, *args, **kwargs)
        if len(key) > 200:
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                Reason("key-too-long", f"{HEADER} has over 200 characters", "send a shorter one"),
            )
        text = f"{request.method} {request.get_full_path()}\n".encode() + request.body
        digest = hashlib.sha256(text).hexdigest()
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{user.pk} {key}"]
                )
            kept = IdempotentAnswer.objects.filter(user=user, key=key).first()
            if kept is not None and kept.request_digest != digest:
                return problem(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    Reason(
                        "key-reused",
                        f"this {HEADER} was sent before with another request",
                        "send a new key with a new request",
                    ),
                )
            if kept is not None:
                return HttpResponse(
                    bytes(kept.body), status=kept.status, content_type=kept.content_type
                )
            response = view(request, *args, **kwargs)
            secret = "no-store" in response.headers.get("Cache-Control", "")
            if response.status_code < HTTPStatus.BAD_REQUEST and not secret:
                IdempotentAnswer.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
                IdempotentAnswer.objects.create(
                    user=user,
                    key=key,
                    request_digest=digest,
                    status=response.status_code,
                    content_type=response.headers.get("Content-Type", ""),
                    body=response.content,
                )
        return response

    return carry_out_once
