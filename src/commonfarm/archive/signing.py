"""What is asked of the signer, over its socket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import connection

from commonfarm.archive.models import Artifact
from commonfarm.archive.signer import client
from commonfarm.archive.signer.protocol import MOST_IDS, SignedRelease
from commonfarm.store.interface import Blob, put_all


def sign_publication(publication_id: int) -> list[SignedRelease]:
    """Return the signatures of an assembled publication's Release files.

    Raises RefusedError with the signer's reason, UnreachableError when it does not answer.
    """
    answer = client.ask(settings.COMMONFARM.signer_socket, "publication", publication_id)
    return [SignedRelease.from_json(one) for one in answer["releases"]]


def sign_manifest(publication_id: int) -> bytes:
    """Return the signed statement of a signed publication's manifest; errors as above."""
    answer = client.ask(settings.COMMONFARM.signer_socket, "manifest", publication_id)
    return str(answer["envelope"]).encode()


def sign_statements(artifact_ids: Sequence[int]) -> list[bytes]:
    """Return the signed provenance (DSSE envelope) of each artifact; errors as above."""
    answer = client.ask(settings.COMMONFARM.signer_socket, "statements", artifact_ids)
    return [str(one).encode() for one in answer["envelopes"]]


def sign_mirror_map(generation: int, *, delta: bool) -> bytes:
    """Return the raw ed25519 signature of a staged mirror map, or delta; errors as above."""
    kind = "mirror-map-delta" if delta else "mirror-map"
    seconds = client.TIMEOUT_SECONDS if delta else client.UNHURRIED_SECONDS
    answer = client.ask(settings.COMMONFARM.signer_socket, kind, generation, seconds=seconds)
    return bytes.fromhex(answer["signature"])


def sign_push(number: int, *, staged: bool) -> bytes:
    """Return the signed word that a publication is out, or a release staged; errors as above."""
    kind = "push-staged" if staged else "push"
    answer = client.ask(settings.COMMONFARM.signer_socket, kind, number)
    return str(answer["envelope"]).encode()


def sign_new_statements(artifacts: Iterable[Artifact]) -> int:
    """Sign and store the provenance that these artifacts, and what was built with them, still lack.

    Returns how many. Signing one again makes the same bytes (ed25519 has no randomness), so a kill
    costs only time. The rows given are brought up to date.
    """
    given = {artifact.pk: artifact for artifact in artifacts}
    producers = {artifact.producer for artifact in given.values()}
    lacking = Artifact.objects.filter(producer__in=producers, provenance=None).order_by("pk")
    numbers = list(lacking.values_list("pk", flat=True))
    envelopes: list[Blob] = []
    for begin in range(0, len(numbers), MOST_IDS):
        envelopes += put_all(sign_statements(numbers[begin : begin + MOST_IDS]))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE archive_artifact SET provenance_id = new.sha256"
            " FROM unnest(%s::bigint[], %s::text[]) AS new (id, sha256)"
            " WHERE archive_artifact.id = new.id",
            [numbers, [one.sha256 for one in envelopes]],
        )
    for number, envelope in zip(numbers, envelopes, strict=True):
        if number in given:
            given[number].provenance = envelope
    return len(numbers)
