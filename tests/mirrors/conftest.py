"""A published tree, a web server that mirrors it, and a key that signs mirror maps."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.db.models import QuerySet

from commonfarm.archive.models import FileHashes, Publication, PublicationState, TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.steps import mapping
from commonfarm.redirector.mirror_map import MirrorMap, load, to_be_signed
from commonfarm.redirector.mirror_map.unsigned import read_unsigned
from commonfarm.redirector.selection import changes_in_place
from commonfarm.store.interface import put_bytes
from tests.mirrors.web import Web, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEB, BY_HASH, IN_RELEASE = "pool/a_1_all.deb", "dists/s/by-hash/SHA256/00", "dists/s/InRelease"


class Tree:
    """A release tree that publishes by rows alone, and the copy of it on a mirror."""

    def __init__(self, name: str = "demo") -> None:
        self.row = ReleaseTree.objects.create(name=name)
        self.revision = 0

    def publish(self, *added: str, removed: tuple[str, ...] = (), at: datetime = NOW) -> None:
        """Make the next revision. What changes in place has other bytes in each."""
        self.revision += 1
        replaced = [path for path in added if changes_in_place(path)]
        self.current().filter(path__in=[*removed, *replaced]).update(until_revision=self.revision)
        for path in added:
            data = self.data(path)
            blob = put_bytes(data)
            TreeFile.objects.create(
                tree=self.row,
                path=path,
                blob=blob,
                size=len(data),
                sha256=blob.sha256,
                changes=changes_in_place(path),
                since_revision=self.revision,
            )
            FileHashes.objects.get_or_create(
                sha256=blob.sha256,
                size=len(data),
                sha1=hashlib.sha1(data).digest(),
                md5=hashlib.md5(data).digest(),
            )
        Publication.objects.create(
            tree=self.row,
            revision=self.revision,
            state=PublicationState.PUBLISHED,
            published_at=at,
        )

    def data(self, path: str) -> bytes:
        version = f" of {self.revision:03}" if changes_in_place(path) else ""
        return f"the bytes of {path}{version}".encode()

    def number(self, path: str) -> int:
        return self.current().get(path=path).pk

    def fill(self, web: Web) -> None:
        for file in self.current():
            web.put(file.path, self.data(file.path))

    def current(self) -> QuerySet[TreeFile]:
        return TreeFile.objects.filter(tree=self.row, until_revision=None)


@pytest.fixture
def tree(db: None) -> Tree:
    made = Tree()
    made.publish(DEB, BY_HASH, IN_RELEASE)
    return made


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving(tmp_path / "web") as started:
        yield started


def register(name: str, tree: Tree, url: str, **fields: object) -> Mirror:
    """Register a mirror that was proved and probed."""
    made = Mirror.add(name, tree.row, {"http": url, "country": "DE", **fields}, who="user:anna")
    made.prove(NOW, how="vouched", who="user:anna")
    made.answers, made.probed_at, made.local = 1, NOW, True
    made.save()
    return made


@pytest.fixture
def mirror(tree: Tree, web: Web) -> Mirror:
    tree.fill(web)
    return register("north", tree, web.url)


class Signer:
    """Signs as the signer process does, and counts how often; its key dies with the test."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.asked: list[int] = []

    def sign(self, generation: int, *, delta: bool) -> bytes:
        self.asked.append(generation)
        name = ".delta.new" if delta else ".current.new"
        unsigned = read_unsigned(settings.COMMONFARM.mirror_map.parent / name)
        assert unsigned.generation == generation
        return self.key.sign(to_be_signed(unsigned.header))

    def map(self) -> MirrorMap:
        return load(settings.COMMONFARM.mirror_map.parent, self.key.public_key())


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signer]:
    made = Signer()
    monkeypatch.setattr(mapping, "sign_mirror_map", made.sign)
    config = settings.COMMONFARM
    shutil.rmtree(config.mirror_map.parent, ignore_errors=True)
    config.public_keys.mkdir(parents=True, exist_ok=True)
    public = made.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (config.public_keys / "statements.pub").write_bytes(public)
    yield made
    shutil.rmtree(config.mirror_map.parent, ignore_errors=True)
    shutil.rmtree(config.public_keys, ignore_errors=True)
