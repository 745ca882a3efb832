"""A published tree, a web server that mirrors it, and a key that signs mirror maps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import MapWritten, Mirror
from commonfarm.redirector.mirror_map import MirrorMap, read, to_be_signed
from commonfarm.store.interface import put_bytes
from commonfarm.store.interface import read as read_blob
from tests.mirrors.web import Web, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEB, BY_HASH, IN_RELEASE = "pool/a_1_all.deb", "dists/s/by-hash/SHA256/00", "dists/s/InRelease"


class Tree:
    """A release tree that publishes by rows alone, and the copy of it on a mirror."""

    def __init__(self) -> None:
        self.row = ReleaseTree.objects.create(name="demo")
        self.revision = 0

    def publish(self, *added: str, removed: tuple[str, ...] = ()) -> None:
        self.revision += 1
        for path in added:
            blob = put_bytes(self.data(path))
            TreeFile.objects.create(
                tree=self.row, path=path, blob=blob, since_revision=self.revision
            )
        TreeFile.objects.filter(tree=self.row, path__in=removed, until_revision=None).update(
            until_revision=self.revision
        )
        Publication.objects.create(
            tree=self.row,
            revision=self.revision,
            state=PublicationState.PUBLISHED,
            published_at=NOW,
        )

    def data(self, path: str) -> bytes:
        return f"the bytes of {path}".encode()

    def fill(self, web: Web) -> None:
        for file in TreeFile.objects.filter(tree=self.row, until_revision=None):
            web.put(file.path, self.data(file.path))


@pytest.fixture
def tree(db: None) -> Tree:
    made = Tree()
    made.publish(DEB, BY_HASH, IN_RELEASE)
    return made


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving(tmp_path / "web") as started:
        yield started


@pytest.fixture
def mirror(tree: Tree, web: Web) -> Mirror:
    tree.fill(web)
    return Mirror.add("north", tree.row, url=web.url, country="DE", rsync_url="", who="user:anna")


class Signer:
    """Signs as the signer process does, and counts how often; its key dies with the test."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.asked: list[int] = []

    def sign(self, generation: int) -> bytes:
        self.asked.append(generation)
        payload = read_blob(MapWritten.objects.get(generation=generation).blob_id)
        return self.key.sign(to_be_signed(payload))

    def map(self) -> MirrorMap:
        return read(settings.COMMONFARM.mirror_map, self.key.public_key())


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signer]:
    made = Signer()
    monkeypatch.setattr(reconcile, "sign_mirror_map", made.sign)
    settings.COMMONFARM.mirror_map.unlink(missing_ok=True)
    yield made
    settings.COMMONFARM.mirror_map.unlink(missing_ok=True)
