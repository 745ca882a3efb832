"""What is asked of the signer, over its socket."""

from __future__ import annotations

from django.conf import settings

from commonfarm.archive.models import Artifact, Publication
from commonfarm.archive.signer import client
from commonfarm.archive.signer.protocol import SignedRelease
from commonfarm.store.interface import put_bytes


def sign_publication(publication_id: int) -> list[SignedRelease]:
    """Return the signatures of an assembled publication's Release files.

    Raises RefusedError with the signer's reason, UnreachableError when it does not answer.
    """
    answer = client.ask(settings.COMMONFARM.signer_socket, "publication", publication_id)
    return [SignedRelease.from_json(one) for one in answer["releases"]]


def sign_statement(artifact_id: int) -> bytes:
    """Return the signed provenance (DSSE envelope) of an artifact; errors as above."""
    answer = client.ask(settings.COMMONFARM.signer_socket, "statement", artifact_id)
    return str(answer["envelope"]).encode()


def sign_mirror_map(generation: int) -> bytes:
    """Return the raw ed25519 signature of a mirror map's payload; errors as above."""
    answer = client.ask(settings.COMMONFARM.signer_socket, "mirror-map", generation)
    return bytes.fromhex(answer["signature"])


def sign_new_statements(publication: Publication) -> int:
    """Sign and store the provenance that artifacts of a publication still lack; return how many.

    Signing one again makes the same bytes (ed25519 has no randomness), so a kill costs only time.
    """
    producers = publication.entries.values_list("artifact__producer", flat=True)
    made = 0
    for artifact in Artifact.objects.filter(producer__in=producers, provenance=None).order_by("pk"):
        envelope = put_bytes(sign_statement(artifact.pk))
        Artifact.objects.filter(pk=artifact.pk, provenance=None).update(provenance=envelope)
        made += 1
    return made
