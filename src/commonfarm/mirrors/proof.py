"""Control of a mirror, shown by a file with its token at each of its addresses.

Without it anybody could have the world's downloads sent to a server of somebody else's, or have
our worker scan it. A redirect is not followed: who runs an address answers there. The file counts
only where the tree itself has none of that name, or mirrors would prove each other.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Q, QuerySet

from commonfarm.archive.interface import TreeFile
from commonfarm.guard.interface import alone
from commonfarm.lib.errors import Reason
from commonfarm.mirrors.addresses import (
    PORTS,
    AddressRefusedError,
    Policy,
    addresses_of,
)
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.scanning.asking import asking
from commonfarm.mirrors.scanning.values import Limits, ScanError

FILE = "commonfarm-mirror.txt"
"""Its lines are tokens: a server may carry more than one mirror at one address."""
MOST_BYTES = 4096
SECONDS = 30
"""So long all of a mirror's addresses may take together."""
AGAIN = timedelta(minutes=10)
TRIED_FOR = timedelta(days=30)
"""So long after it was registered the file is looked for by itself, later on request only."""


def due(now: datetime) -> QuerySet[Mirror]:
    """Return the mirrors whose file should be looked for now."""
    late = Q(proof_tried_at__lt=now - AGAIN, added_at__gt=now - TRIED_FOR)
    waiting = Mirror.registered().filter(enabled=True, proved_at=None)
    return waiting.filter(Q(proof_tried_at=None) | late)


def prove(mirror_id: int, policy: Policy, now: datetime) -> bool:
    """Look for the file of one mirror, and say whether control of it is shown by that now.

    Why not is kept with the mirror. Raises BusyError while another process looks.
    """
    with alone(f"proof of mirror {mirror_id}", wait=False):
        mirror = Mirror.registered().filter(pk=mirror_id, proved_at=None).first()
        if mirror is None:
            return False
        problem = _in_the_tree(mirror) or missing(mirror.addresses, mirror.token, policy)
        with transaction.atomic():
            found = Mirror.registered().select_for_update(of=("self",)).filter(pk=mirror_id).first()
            # Edited meanwhile: what was seen is not of the addresses that it has now.
            if found is None or found.proved_at or found.token != mirror.token:
                return False
            found.proof_tried_at, found.proof_problem = now, str(problem or "")
            found.save(update_fields=["proof_tried_at", "proof_problem"])
            if problem is None:
                found.prove(now, how="file", who="process:worker")
    return problem is None


def _in_the_tree(mirror: Mirror) -> Reason | None:
    path = f"{mirror.subtree}/{FILE}" if mirror.subtree else FILE
    if not TreeFile.objects.filter(tree=mirror.tree, path=path, until_revision=None).exists():
        return None
    return Reason(
        "proof-in-the-tree",
        f"the tree {mirror.tree} has a file {path} itself, so every mirror has it",
        "take it out of the tree, or have a coordinator vouch for the mirror",
    )


def missing(addresses: list[str], token: str, policy: Policy) -> Reason | None:
    """Return why control is not shown at the first of `addresses` where it is not. Blocks."""
    deadline = time.monotonic() + SECONDS
    for address in addresses:
        url, seconds = address + FILE, max(1.0, deadline - time.monotonic())
        try:
            if url.startswith("rsync:"):
                data = _by_rsync(url, policy, seconds)
            else:
                data = asyncio.run(_by_http(url, policy, seconds))
            text = data.decode("ascii", "replace")
        except AddressRefusedError as error:
            return Reason("proof-address-refused", f"{address}: {error}", "use a public address")
        except ScanError as error:
            found = error.reason
            lifted_by = found.lifted_by or f"put the token into {url}"
            return Reason("proof-not-there", f"{url}: {found.text[:300]}", lifted_by)
        except (OSError, ValueError) as error:
            return Reason("proof-not-there", f"{url}: {error}", f"put the token into {url}")
        if token not in text.split():
            return Reason(
                "proof-differs", f"{url} does not hold the token", f"put the token into {url}"
            )
    return None


async def _by_http(url: str, policy: Policy, seconds: float) -> bytes:
    limits = Limits(total_seconds=seconds, request_seconds=seconds, silence_seconds=seconds)
    async with asking(policy, limits) as asker, asker.ask("GET", url) as answer:
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"it answers {answer.status}")
        data = bytearray()
        async for piece in answer.content.iter_chunked(MOST_BYTES):
            data += piece
            if len(data) > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        return bytes(data)


def _by_rsync(url: str, policy: Policy, seconds: float) -> bytes:
    addresses = addresses_of(url, policy)
    deadline = time.monotonic() + seconds
    problem = _NotReachedError("it has no address")
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return _from(address, url, max(1.0, left), len(addresses))
        except _NotReachedError as error:
            problem = error
    raise problem


class _NotReachedError(ValueError):
    """Nobody answers at one address; at another of the same name somebody may."""


_NOT_REACHED = (10, 35)
"""rsync's exit codes for a connection that does not come about."""


def _from(address: str, url: str, seconds: float, of: int) -> bytes:
    """Fetch the file from one address of the host in `url`, of so many that it has."""
    parts = urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    with tempfile.TemporaryDirectory(prefix="cf-proof-") as folder:
        command = [
            # Neither outlives us, nor fills a disk or the memory.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("prlimit", f"--fsize={1 << 16}", f"--as={1 << 30}", "--"),
            *("rsync", "--no-motd", f"--max-size={MOST_BYTES}"),
            *(f"--contimeout={max(1, round(seconds / of))}", f"--timeout={round(seconds)}", "--"),
            # rsync is given the very address that was judged, never the name.
            *(f"rsync://{host}:{parts.port or PORTS['rsync']}{parts.path}", f"{folder}/"),
        ]
        try:
            done = subprocess.run(
                command,
                # RSYNC_PROXY and RSYNC_CONNECT_PROG would go elsewhere.
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"no answer in {seconds:.0f} s") from None
        if done.returncode:
            first = done.stderr[:2000].decode("utf-8", "replace").splitlines()[:1]
            text = f"rsync: {''.join(first) or f'it ended with {done.returncode}'}"
            raise (_NotReachedError if done.returncode in _NOT_REACHED else ValueError)(text)
        return _plain(Path(folder) / FILE)


def _plain(file: Path) -> bytes:
    # The folder is our own, and rsync has ended: what lies there stays what it is.
    if file.is_symlink() or not file.is_file():
        raise ValueError("it is no plain file there")
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES)
