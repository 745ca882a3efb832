"""What the signer checks before it signs: everything is written anew from the database, and what
was asked to be signed must be those very bytes. Only what was built by a job that vouches for it
may stand in an index.
"""

from __future__ import annotations

import gzip
from typing import Any

from django.db.models import Q

from commonfarm.archive import distributions, index, ports, provenance
from commonfarm.archive.models import Artifact, Publication, PublicationState, TreeFile
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError
from commonfarm.redirector import mirror_map
from commonfarm.store.interface import BlobDamagedError, check, read

_vouched: set[tuple[str, str]] = set()
"""Claims that were vouched for before. A job that succeeded stays so: history is not rewritten."""


def releases(number: int) -> list[tuple[str, bytes]]:
    """Return the Release files of publication `number` that may be signed, with their folders.

    Raises RefusedError with what is wrong.
    """
    publication = Publication.objects.select_related("tree").filter(pk=number).first()
    if publication is None:
        raise _no("no-such-publication", f"there is no publication {number}")
    if publication.state != PublicationState.ASSEMBLED:
        raise _no(
            "not-assembled",
            f"{publication} is {publication.state}, and only an assembled one is signed",
        )
    listed = {
        file.path: file.blob_id
        for file in TreeFile.objects.filter(
            tree=publication.tree, since_revision__lte=publication.revision
        ).filter(Q(until_revision=None) | Q(until_revision__gt=publication.revision))
    }
    return [
        (one.folder, _release(publication, one, listed)) for one in distributions.of(publication)
    ]


def statement(number: int) -> dict[str, Any]:
    """Return the statement of artifact `number` that may be signed; RefusedError otherwise."""
    artifact = Artifact.objects.filter(pk=number).first()
    if artifact is None:
        raise _no("no-such-artifact", f"there is no artifact {number}")
    _vouch_for([artifact])
    _check(artifact.blob_id, artifact.filename)
    return provenance.statement(artifact.filename, artifact.blob_id, artifact.statement)


def map_payload(generation: int) -> bytes:
    """Return the payload of a mirror map that may be signed; RefusedError otherwise.

    Every file it names must be one that is published now, with its size: a mirror map cannot send
    anybody to what we never gave out.
    """
    sha256 = ports.mirror_map_blob.get()(generation)
    _whole(sha256, f"mirror map {generation}")
    payload = read(sha256)
    try:
        read_map = mirror_map.parse(payload)
    except mirror_map.MapError as error:
        raise _no("bad-mirror-map", f"mirror map {generation}: {error}") from None
    if read_map.generation != generation:
        raise _no("bad-mirror-map", f"mirror map {generation} calls itself {read_map.generation}")
    for name, files in read_map.trees.items():
        known = set(
            TreeFile.objects.filter(tree__name=name).values_list("path", "blob__size").iterator()
        )
        for path, file in files.items():
            if (path, file.size) not in known:
                raise _no(
                    "bad-mirror-map",
                    f"mirror map {generation} names {name}/{path} of {file.size} bytes, which was"
                    " not published",
                )
    return payload


def _release(
    publication: Publication, one: distributions.Distribution, listed: dict[str, str]
) -> bytes:
    _vouch_for([entry.artifact for entry in one.entries])
    for entry in one.entries:
        path = f"{one.repository.path}/{entry.path}"
        if listed.get(path) != entry.artifact.blob_id:
            raise _no("other-bytes", f"{path} is not the artifact that was entered there")
    files = []
    for architecture in one.architectures:
        expected = one.packages(architecture)
        name = one.packages_path(architecture)
        for suffix in ("", ".gz"):
            path = f"{one.folder}/{name}{suffix}"
            found = _bytes(listed, path)
            if (gzip.decompress(found) if suffix else found) != expected:
                raise _no("other-bytes", f"{path} is not what the database says")
            files.append(index.File(name + suffix, len(found), listed[path]))
    expected = one.release(publication, files)
    if _bytes(listed, f"{one.folder}/Release") != expected:
        raise _no("other-bytes", f"{one.folder}/Release is not what the database says")
    return expected


def _bytes(listed: dict[str, str], path: str) -> bytes:
    if path not in listed:
        raise _no("missing-file", f"{path} is not part of the tree")
    return _whole(listed[path], path)


def _whole(sha256: str, name: str) -> bytes:
    """Return a blob's bytes if they are what their hash says."""
    _check(sha256, name)
    return read(sha256)


def _check(sha256: str, name: str) -> None:
    try:
        check(sha256)
    except (BlobDamagedError, NotFoundError) as error:
        raise _no("damaged", f"{name}: {error.reason.text}") from None


def _vouch_for(artifacts: list[Artifact]) -> None:
    claims = {(one.producer, one.blob_id): one for one in artifacts}
    asked = [claim for claim in claims if claim not in _vouched]
    refused = ports.vouch.get()(asked) if asked else {}
    for claim, reason in refused.items():
        raise _no("not-vouched-for", f"{claims[claim].filename} of {claim[0]}: {reason.text}")
    _vouched.update(asked)


def _no(code: str, text: str) -> RefusedError:
    return RefusedError(Reason(code, text, "find out who changed it; build again what is lost"))
