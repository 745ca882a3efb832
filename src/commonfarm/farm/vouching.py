"""Tells the signer what was really built here. Called in its read-only process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from commonfarm.farm.models import Job, JobState
from commonfarm.lib.errors import Reason

Claim = tuple[str, str]

_PRODUCER = re.compile(r"job:([1-9]\d{0,17})")
_BATCH = 1000


def vouch(claims: Sequence[Claim]) -> Mapping[Claim, Reason]:
    """Return the claims (producer, SHA-256) that are not true, each with the reason.

    A claim is true when its job succeeded and the file was among what its builder uploaded under
    the lease and reported. Fills the archive's port `vouch`; reads only, in few queries.
    """
    numbers = {claim: _job_number(claim[0]) for claim in claims}
    built = _built({number for number in numbers.values() if number is not None})
    refused: dict[Claim, Reason] = {}
    for claim, number in numbers.items():
        if number is None or number not in built:
            refused[claim] = Reason(
                "no-such-success",
                f"no job that succeeded here is called {claim[0]!r}",
                "build it; nothing else is signed",
            )
        elif claim[1] not in built[number]:
            refused[claim] = Reason(
                "not-built-by-it",
                f"{claim[0]} did not bring {claim[1]}",
                "build it again; what was brought is signed, nothing else",
            )
    return refused


def _job_number(producer: str) -> int | None:
    found = _PRODUCER.fullmatch(producer)
    return int(found[1]) if found else None


def _built(numbers: set[int]) -> dict[int, set[str]]:
    """Return the hashes of what each of these jobs brought, for those that succeeded."""
    wanted = sorted(numbers)
    built: dict[int, set[str]] = {}
    for begin in range(0, len(wanted), _BATCH):
        rows = Job.objects.filter(
            pk__in=wanted[begin : begin + _BATCH], state=JobState.SUCCEEDED
        ).values_list("pk", "results")
        for number, results in rows:
            built[number] = {one["sha256"] for one in results}
    return built
