"""Only a whole, well-formed map signed by our own key is ever used."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.redirector.mirror_map import (
    EMPTY,
    File,
    Hashes,
    Mirror,
    MirrorMap,
    Revision,
    Tree,
    load,
    parse,
    to_be_signed,
)
from commonfarm.redirector.mirror_map.unsigned import read_unsigned
from commonfarm.redirector.mirror_map.writing import (
    Columns,
    Head,
    Payload,
    build,
    build_delta,
    install,
    stage,
    write,
)

KEY = Ed25519PrivateKey.generate()
DATE = "2026-11-21T00:00:00+00:00"
MIRRORS = [
    Mirror(f"m{number}", "demo", http=f"http://m{number}.example.org/demo/", country="DE")
    for number in range(11)
]
TREE = Tree("demo", 3, {"latest": "1.0", "latest/list": "lists/new"}, {"fedora/x86_64": "f"})
FILES = {
    f"demo/pool/{number}.deb": File(
        size=number,
        sha256=bytes([number + 1]) * 32 if number % 3 else b"",
        changes=number % 2 == 0,
        mirrors=1 << number % 11 | 1,
        mirrors_from=1000 + number if number % 5 == 0 else 0,
    )
    for number in range(200)
}
HASHES = {
    f"demo/pool/{number}.deb": Hashes(
        sha1=b"s" * 20,
        piece_bytes=1024,
        pieces=tuple(bytes([piece]) * 32 for piece in range(number)),
        modified_at=7,
        alternates=(Revision(1, 2, b"x" * 32),) * (number % 4),
    )
    for number in range(0, 200, 3)
}


def sign(payload: Payload) -> bytes:
    return KEY.sign(to_be_signed(payload.header))


def full(generation: int = 5) -> Payload:
    return build(Head(generation, DATE, MIRRORS, [TREE]), Columns.of(FILES, len(MIRRORS), HASHES))


def in_place(folder: Path, *payloads: Payload) -> MirrorMap:
    for payload in payloads:
        write(folder, payload, sign(payload), KEY.public_key())
    return load(folder, KEY.public_key())


def test_a_map_comes_back_as_it_was_and_its_bytes_repeat(tmp_path: Path) -> None:
    assert bytes(full()) == bytes(full())
    for the_map in (in_place(tmp_path, full()), parse(bytes(full()))):
        assert {path: the_map.find(path) for path in FILES} == FILES
        assert {path: the_map.hashes(path) for path in FILES} == {
            path: HASHES.get(path) for path in FILES
        }
        assert the_map.mirrors == tuple(MIRRORS)
        assert the_map.trees == {"demo": TREE}
        assert (the_map.generation, the_map.written_at) == (5, DATE)
        assert the_map.find("demo/pool/none") is None
        assert the_map.find(b"demo/pool/\xff") is None
    assert EMPTY.find("demo/pool/1.deb") is None


def test_a_delta_changes_adds_and_takes_away(tmp_path: Path) -> None:
    base = in_place(tmp_path, full())
    new = Mirror("m11", "demo", https="https://m11.example.org/", country="FR")
    changed = {"demo/pool/1.deb": File(7, b"", False, 1 << 11), "demo/new": File(9, b"", True, 0)}
    delta = build_delta(
        base,
        Head(6, DATE, [*MIRRORS, new], [TREE]),
        Columns.of(changed, 12, gone=["demo/pool/2.deb"]),
    )
    after = in_place(tmp_path, delta)
    assert (after.generation, after.full_generation, after.delta_problem) == (6, 5, "")
    assert after.mirrors[11] == new
    assert after.find("demo/pool/2.deb") is None
    for path, file in changed.items():
        assert after.find(path) == file
    assert after.find("demo/pool/3.deb") == FILES["demo/pool/3.deb"]


def test_the_signer_sees_what_it_signs(tmp_path: Path) -> None:
    payload = full()
    staged = stage(tmp_path, payload)
    unsigned = read_unsigned(staged)
    assert unsigned.header == payload.header
    rows = dict(zip(unsigned.path_hashes.tolist(), unsigned.rows.tolist(), strict=True))
    paths = [path.encode() for path in FILES]
    assert [rows[one] for one in unsigned.hash_paths(paths).tolist()] == list(range(1, 201))
    install(staged, KEY.sign(to_be_signed(unsigned.header)), KEY.public_key())
    assert load(tmp_path, KEY.public_key()).find("demo/pool/1.deb") == FILES["demo/pool/1.deb"]
