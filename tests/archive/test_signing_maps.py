"""The signer signs a mirror map only if it sends people to what was published."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from commonfarm.archive import interface as archive
from commonfarm.archive import publishing, signing
from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.archive.provenance import read_key
from commonfarm.archive.signer import approve
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.mirrors.models import MapWritten
from commonfarm.redirector import mirror_map
from commonfarm.redirector.mirror_map import File, Mirror, MirrorMap
from commonfarm.store.interface import path_of, put_bytes
from tests.archive.world import World, make_deb

MIRROR = Mirror("m", "main", "http://m.example.org/", "DE", frozenset({4}))


@pytest.fixture
def sizes(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> dict[str, int]:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    return {file.path: file.blob.size for file in archive.current_files(world.tree)}


def write(sizes: dict[str, int], says: int | None = None, generation: int = 5) -> bytes:
    files = {path: File(size, frozenset({0})) for path, size in sizes.items()}
    the_map = MirrorMap(says or generation, "2026-01-01T00:00:00Z", (MIRROR,), {"main": files})
    payload = mirror_map.serialise(the_map)
    MapWritten.objects.create(
        generation=generation, blob=put_bytes(payload), written_at=timezone.now()
    )
    return payload


def test_a_true_map_is_signed(sizes: dict[str, int], signer: Config) -> None:
    payload = write(sizes)
    sealed = mirror_map.seal(payload, signing.sign_mirror_map(5))
    key = read_key((signer.public_keys / "statements.pub").read_bytes())
    assert mirror_map.unseal(sealed, key).generation == 5


def test_a_map_names_what_users_see_or_saw_just_before(world: World, installation: Config) -> None:
    blob = put_bytes(b"x")
    for revision in range(1, 5):
        Publication.objects.create(
            tree=world.tree,
            revision=revision,
            state=PublicationState.PUBLISHED if revision < 4 else PublicationState.SIGNED,
        )
        TreeFile.objects.create(
            tree=world.tree,
            path=f"only-{revision}",
            blob=blob,
            since_revision=revision,
            until_revision=revision + 1,
        )
    payload = write({"only-2": 1, "only-3": 1})
    assert approve.map_payload(5) == payload
    for generation, path in ((6, "only-1"), (7, "only-4")):
        write({"only-3": 1, path: 1}, generation=generation)
        with pytest.raises(RefusedError, match=f"names main/{path} of 1 bytes"):
            approve.map_payload(generation)


def test_a_map_that_is_not_true_is_refused(sizes: dict[str, int]) -> None:
    write(sizes | {"demo/evil": 3}, generation=1)
    write({path: size + 1 for path, size in sizes.items()}, generation=2)
    write(sizes, says=9, generation=3)
    MapWritten.objects.create(generation=4, blob=put_bytes(b"no map"), written_at=timezone.now())
    write(sizes, generation=6)
    path_of(MapWritten.objects.get(generation=6).blob_id).write_bytes(b"x")
    for generation, why in (
        (1, "demo/evil of 3 bytes, which is not published"),
        (2, "which is not published"),
        (3, "calls itself 9"),
        (4, "mirror map 4"),
        (6, "damaged|mirror map 6"),
        (7, "never made"),
    ):
        with pytest.raises(RefusedError, match=why):
            signing.sign_mirror_map(generation)
