"""Random pieces of what a mirror serves are compared with our hashes. One that differs quarantines
the mirror at once: what else it alters nobody knows.
"""

from __future__ import annotations

import random
import secrets
from datetime import datetime

from django.conf import settings
from django.db.models import Q

from commonfarm.archive.interface import FileHashes, TreeFile
from commonfarm.guard.interface import alone
from commonfarm.mirrors import schedule
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.holdings import WHO, bits_of
from commonfarm.mirrors.models import Audit, Mirror
from commonfarm.mirrors.scanning import Audited, Sample
from commonfarm.mirrors.scanning import audit as ask
from commonfarm.mirrors.steps.scan import bases, find, looked_at, path_there

SAMPLES = 6
MOST_BYTES = 32 * 2**20


def due(now: datetime) -> list[Mirror]:
    """Return the mirrors that should be audited now."""
    found = []
    for mirror in looked_at():
        audits = mirror.audits.filter(at__gte=mirror.proved_at)
        last = audits.order_by("-at").values_list("at", flat=True).first()
        many = audits.filter(pieces__gt=0)[: schedule.AUDITS_OF_A_NEW_ONE].count()
        at = schedule.next_audit(many, last)
        if at is None or at <= now:
            found.append(mirror)
    return found


def audit(mirror_id: int, now: datetime) -> Audit | None:
    """Audit one mirror and write down what was seen; None when it has nothing to compare.

    Where no piece of what it has could be read, that is written down with its reason. Raises
    BusyError while another audit of it runs.
    """
    with alone(f"audit of mirror {mirror_id}", wait=False):
        mirror = find(mirror_id)
        chance = secrets.SystemRandom()
        samples = _samples(mirror, chance) if mirror else []
        if mirror is None or not samples:
            return None
        base = chance.choice(bases(mirror))
        audited = ask(base, samples, Policy.of(settings.COMMONFARM))
        different = [str(one) for one in audited.mismatches if _is_current(mirror, one.path)]
        compared = audited.matched + len(different)
        row = Audit.objects.create(
            mirror=mirror,
            at=now,
            pieces=compared,
            ok=not different,
            problem=different[0] if different else "" if compared else _why_not(audited),
        )
        if different:
            mirror.quarantine_for(different[0], now, who=WHO)
        return row


def _why_not(audited: Audited) -> str:
    reasons = [audited.problem, *audited.unaudited.values()]
    return next((one.text for one in reasons if one is not None), "what was compared has left")


def _samples(mirror: Mirror, chance: random.Random) -> list[Sample]:
    """Return random pieces of random files that the mirror was seen to have."""
    some = bits_of(mirror).some(4 * SAMPLES, chance)
    files = list(
        TreeFile.objects.filter(pk__in=some, changes=False, until_revision=None, size__gt=0)
        .exclude(sha256="")
        .order_by("?")
    )
    known = FileHashes.objects.in_bulk([file.sha256 for file in files])
    samples: list[Sample] = []
    left = MOST_BYTES
    for file in files:
        found = _piece(mirror, file, known.get(file.sha256), chance)
        if found is not None and found.length <= left and len(samples) < SAMPLES:
            samples.append(found)
            left -= found.length
    return samples


def _piece(
    mirror: Mirror, file: TreeFile, hashes: FileHashes | None, chance: random.Random
) -> Sample | None:
    path = path_there(mirror, file.path)
    if hashes is None or not hashes.piece_bytes:
        if file.size > MOST_BYTES:
            return None
        return Sample(path, file.size, 0, 0, file.size, file.sha256)
    pieces = bytes(hashes.pieces)
    number = chance.randrange(len(pieces) // 32)
    start = number * hashes.piece_bytes
    length = min(hashes.piece_bytes, file.size - start)
    digest = pieces[32 * number : 32 * number + 32].hex()
    return Sample(path, file.size, number, start, length, digest)


def _is_current(mirror: Mirror, path: str) -> bool:
    """Say whether a file is still what it was when its hashes were read: it may have left."""
    whole = f"{mirror.subtree}/{path}" if mirror.subtree else path
    current = Q(until_revision=None, changes=False)
    return TreeFile.objects.filter(current, tree=mirror.tree, path=whole).exists()
