"""What the signer checks before it signs: everything is written anew from the database, and what
was asked to be signed must be those very bytes. Only what was built by a job that vouches for it
may stand in an index. What was checked for the revision before is not written anew: an index only
grows, so the new one must be those bytes and the new packages behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from commonfarm.archive import distributions, index, ports, provenance
from commonfarm.archive.models import Artifact, Publication, PublicationState
from commonfarm.archive.trees import files_of
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.store.interface import blob_path

_vouched: set[tuple[str, str]] = set()
"""Claims that were vouched for before. A job that succeeded stays so: history is not rewritten."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """An index that was found to be what the database says; `packed` by suffix."""

    revision: int
    packages: int
    plain: index.File
    packed: dict[str, index.File]


_checked: dict[tuple[int, str], _Checked] = {}
"""By tree and path, the index checked last. Of one that begins with it, only the rest is new. Lost
with the process, which then checks the whole once."""


def releases(number: int) -> list[tuple[str, bytes]]:
    """Return the Release files of publication `number` that may be signed, with their folders.

    Raises RefusedError with what is wrong.
    """
    publication = Publication.objects.select_related("tree").filter(pk=number).first()
    if publication is None:
        raise refused("no-such-publication", f"there is no publication {number}")
    if publication.state != PublicationState.ASSEMBLED:
        raise refused(
            "not-assembled",
            f"{publication} is {publication.state}, and only an assembled one is signed",
        )
    try:
        return _releases(publication, since=publication.revision - 1)
    except RefusedError:
        return _releases(publication, since=0)


def _releases(publication: Publication, since: int) -> list[tuple[str, bytes]]:
    found = distributions.of(publication, since=since)
    paths = [f"{one.repository.path}/{entry.path}" for one in found for entry in one.entries]
    for one in found:
        paths.append(f"{one.folder}/Release")
        for architecture in one.architectures:
            path = f"{one.folder}/{one.packages_path(architecture)}"
            paths += [path, *(path + suffix for suffix in index.PACKINGS)]
    files = files_of(publication.tree, publication.revision).filter(path__in=paths)
    listed = dict(files.values_list("path", "blob_id"))
    return [(one.folder, _release(publication, one, listed, since)) for one in found]


def statements(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the statements of artifacts that may be signed, in this order; RefusedError if any may
    not.
    """
    found = Artifact.objects.in_bulk(numbers)
    for number in numbers:
        if number not in found:
            raise refused("no-such-artifact", f"there is no artifact {number}")
    artifacts = [found[number] for number in numbers]
    vouch_for(artifacts)
    for one in artifacts:
        _check(one)
    return [provenance.statement(one.filename, one.blob_id, one.statement) for one in artifacts]


def _release(
    publication: Publication, one: distributions.Distribution, listed: dict[str, str], since: int
) -> bytes:
    vouch_for([entry.artifact for entry in one.entries])
    for entry in one.entries:
        path = f"{one.repository.path}/{entry.path}"
        if listed.get(path) != entry.artifact.blob_id:
            raise refused("other-bytes", f"{path} is not the artifact that was entered there")
    files = []
    checked = {}
    for architecture in one.architectures:
        name = one.packages_path(architecture)
        path = f"{one.folder}/{name}"
        text = _bytes(listed, path)
        before = _checked.get((publication.tree_id, path)) if since else None
        new = [entry for entry in one.entries if one.lists(entry, architecture)]
        if not _begins_with(text, before, since, one.listed(architecture) - len(new)):
            raise refused("other-bytes", f"{path} is not what the database says")
        added = text[before.plain.size if before else 0 :]
        if added != one.packages(architecture):
            raise refused("other-bytes", f"{path} is not what the database says")
        plain = index.File(name, len(text), listed[path])
        all_packed = {}
        for suffix in index.PACKINGS:
            packed = _bytes(listed, path + suffix)
            old = before.packed[suffix] if before else None
            if old and added and _starts_with(packed, old):
                same = index.unpacks_to(suffix, packed[old.size :], added)
            else:
                same = index.unpacks_to(suffix, packed, text)
            if not same:
                raise refused("other-bytes", f"{path}{suffix} is not what the database says")
            all_packed[suffix] = index.File(name + suffix, len(packed), listed[path + suffix])
        files += [plain, *all_packed.values()]
        checked[publication.tree_id, path] = _Checked(
            publication.revision, one.listed(architecture), plain, all_packed
        )
    expected = one.release(publication, files)
    if _bytes(listed, f"{one.folder}/Release") != expected:
        raise refused("other-bytes", f"{one.folder}/Release is not what the database says")
    _checked.update(checked)
    return expected


def _begins_with(text: bytes, before: _Checked | None, since: int, packages: int) -> bool:
    """Say whether `text` begins with what revision `since` had, and may be checked from there.

    The database must still have as many packages of it: one that was taken out is in no index.
    """
    if not since:
        return True
    return (
        before is not None
        and before.revision == since
        and before.packages == packages
        and _starts_with(text, before.plain)
    )


def _starts_with(data: bytes, file: index.File) -> bool:
    return index.digest(data[: file.size]) == file.sha256


def _bytes(listed: dict[str, str], path: str) -> bytes:
    if path not in listed:
        raise refused("missing-file", f"{path} is not part of the tree")
    return whole_blob(listed[path], path)


def whole_blob(sha256: str, name: str) -> bytes:
    """Return a blob's bytes if they are what their hash says. Read once: none can come between."""
    try:
        found = blob_path(sha256).read_bytes()
    except OSError as error:
        raise refused("damaged", f"{name}: {error}") from None
    if index.digest(found) != sha256:
        raise refused("damaged", f"{name}: the stored file {sha256} is damaged")
    return found


def _check(artifact: Artifact) -> None:
    """Refuse an artifact whose file is not what its hash says."""
    try:
        with blob_path(artifact.blob_id).open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise refused("damaged", f"{artifact.filename}: {error.strerror}") from None
    if found != artifact.blob_id:
        what = f"{artifact.filename}: the stored file {artifact.blob_id} is damaged"
        raise refused("damaged", what)


def vouch_for(artifacts: Sequence[Artifact]) -> None:
    """Refuse what no job stands for; what was asked before is not asked again."""
    claims = {(one.producer, one.blob_id): one for one in artifacts}
    asked = [claim for claim in claims if claim not in _vouched]
    denied = ports.vouch.get()(asked) if asked else {}
    for claim, reason in denied.items():
        raise refused("not-vouched-for", f"{claims[claim].filename} of {claim[0]}: {reason.text}")
    _vouched.update(asked)


def refused(code: str, text: str) -> RefusedError:
    """Return the signer's no."""
    return RefusedError(Reason(code, text, "find out who changed it; build again what is lost"))
