"""Asks the signer over its socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commonfarm.archive.signer.protocol import MOST_ANSWER_BYTES
from commonfarm.lib.errors import Reason, RefusedError, UnreachableError

TIMEOUT_SECONDS = 120.0
UNHURRIED_SECONDS = 900.0
"""For a full mirror map of some million files, which takes a while to check."""


def ask(
    path: Path, kind: str, asked: int | Sequence[int], *, seconds: float = TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Ask for one thing by its id, or for several by theirs, and return the answer.

    Raises RefusedError with the signer's reason, UnreachableError when it cannot be asked now.
    """
    which = {"id": asked} if isinstance(asked, int) else {"ids": list(asked)}
    request = json.dumps({"sign": kind} | which).encode() + b"\n"
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                received = answers.readline(MOST_ANSWER_BYTES)
    except OSError as error:
        raise _away(str(error)) from None
    if not received.endswith(b"\n"):
        raise _away("it hung up in the middle of its answer")
    answer: dict[str, Any] = json.loads(received)
    if "done" in answer:
        return dict(answer["done"])
    told = answer.get("refused") or answer["failed"]
    reason = Reason(told["code"], told["text"], told["lifted_by"])
    raise RefusedError(reason) if "refused" in answer else UnreachableError(reason)


def _away(why: str) -> UnreachableError:
    return UnreachableError(
        Reason(
            "signer-unreachable",
            f"the signer does not answer: {why}",
            "see `commonfarm status`; it is asked again by itself",
        )
    )
