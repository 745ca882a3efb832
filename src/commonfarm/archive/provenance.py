"""Provenance: what was built from what, by whom, signed.

A statement is in-toto Statement v1 with a SLSA Provenance v1 predicate, in a DSSE envelope
(https://slsa.dev/spec/v1.0/provenance, https://github.com/secure-systems-lab/dsse). Needs no
Django: a file is verified without any hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from commonfarm.archive import envelopes

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:commonfarm:build:debian-binary:1"
MOST_STATEMENT_BYTES = 2**20
"""Of a statement that the archive takes. The signer answers with several at once, as base64."""


class NotVerifiedError(ValueError):
    """The provenance does not vouch for the file; the text says why."""


class NoProvenanceError(ValueError):
    """The file is no provenance at all: not the JSON it should be."""


def statement(filename: str, sha256: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statement of one artifact. `facts` are the farm's (`farm.reports`).

    What the builder says of itself stands in it as the builder's claim, under its name.
    """
    source = facts.get("source", {})
    agent = facts.get("agent", {})
    dependencies = [
        {"name": one["name"], "digest": {"sha256": one["sha256"]}}
        for one in source.get("files", [])
    ]
    base = (agent.get("base_root") or {}).get("digest")
    if base:
        dependencies.append({"name": "base root", "digest": {"sha256": str(base)}})
    installed = agent.get("packages") or []
    dependencies += [{"uri": _package_url(str(one))} for one in installed]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": filename, "digest": {"sha256": sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "source": {key: source.get(key) for key in ("name", "version", "signed_by")},
                    "target": facts.get("target"),
                    "architecture": facts.get("architecture"),
                    "rebuild_suffix": facts.get("rebuild_suffix"),
                    "project": facts.get("project"),
                    "submitted_by": facts.get("submitted_by"),
                },
                "internalParameters": {
                    "package_sources": facts.get("package_sources"),
                    "builder_says": {
                        key: value
                        for key, value in sorted(agent.items())
                        if key not in ("packages", "base_root")
                    },
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": f"urn:commonfarm:{facts.get('builder', 'unknown')}"},
                "metadata": {
                    "invocationId": f"job:{facts.get('job')} lease:{facts.get('lease')}",
                    "startedOn": facts.get("started_at"),
                    "finishedOn": facts.get("finished_at"),
                },
            },
        },
    }


def _package_url(line: str) -> str:
    """Return the package URL of `name version architecture`, as the builder reports it."""
    name, version, architecture = [*line.split(" "), "", "", ""][:3]
    return f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={quote(architecture)}"


def encode(the_statement: Mapping[str, Any]) -> bytes:
    """Return the bytes of a statement that are signed."""
    return json.dumps(the_statement, sort_keys=True, separators=(",", ":")).encode()


def seal(the_statement: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Return the signed envelope of a statement, one line of JSON."""
    return envelopes.seal(encode(the_statement), PAYLOAD_TYPE, key)


def read_key(pem: bytes) -> Ed25519PublicKey:
    """Return the public key; ValueError when it is not an ed25519 key in PEM."""
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is not an ed25519 key")
    return key


def unseal(envelope: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """Return the statement in `envelope` if `key` has signed it.

    Raises NoProvenanceError for what is no envelope, NotVerifiedError for one of another signer.
    """
    try:
        found = json.loads(envelopes.unseal(envelope, PAYLOAD_TYPE, key))
    except envelopes.NotSignedError as error:
        raise NotVerifiedError(f"the provenance: {error}") from None
    except ValueError as error:
        raise NoProvenanceError(f"the provenance: {error}") from None
    if not isinstance(found, dict) or found.get("_type") != STATEMENT_TYPE:
        raise NotVerifiedError("the signed payload is not an in-toto statement of version 1")
    return found


def verify(envelope: bytes, sha256: str, key: Ed25519PublicKey) -> dict[str, Any]:
    """Return the statement if it is signed by `key` and is about the file with `sha256`.

    Raises NoProvenanceError or NotVerifiedError.
    """
    found = unseal(envelope, key)
    subjects = found.get("subject") or []
    if not any(one.get("digest", {}).get("sha256") == sha256 for one in subjects):
        told = ", ".join(str(one.get("digest", {}).get("sha256")) for one in subjects)
        raise NotVerifiedError(f"the file's SHA-256 is {sha256}; the provenance is about {told}")
    if found.get("predicateType") != PREDICATE_TYPE:
        raise NotVerifiedError(f"the statement is {found.get('predicateType')!r}, not provenance")
    return found
