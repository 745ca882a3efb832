"""A small mirror map: what it is made of, signed and put in place."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.redirector.mirror_map import (
    Answers,
    File,
    Hashes,
    Mirror,
    MirrorMap,
    Override,
    Revision,
    Tree,
    load,
    to_be_signed,
)
from commonfarm.redirector.mirror_map.writing import Columns, Head, Payload, build, write

KEY = Ed25519PrivateKey.generate()
DATE = "2026-11-21T00:00:00+00:00"
MIRRORS = [
    *(
        Mirror(f"m{number}", "demo", http=f"http://m{number}.example.org/demo/", country="DE")
        for number in range(10)
    ),
    Mirror(
        name="of many parts",
        tree="demo",
        subtree="pool/main",
        http="http://m10.example.org:8080/~demo/",
        https="https://[2001:db8::1]/",
        country="FR",
        latitude=-43.5,
        longitude=172,
        as_number=64512,
        prefixes=("192.0.2.0/24", "2001:db8::/32"),
        only_countries=("FR", "BE"),
        only_networks=("198.51.100.0/24",),
        answers=Answers.HTTP4 | Answers.HTTPS6,
        weight=1000,
        budget_bytes=10**12,
        local=True,
        sponsor="Université de Liège",
        problem="down: no route to it",
    ),
]
TREE = Tree(
    name="demo",
    revision=3,
    aliases={"latest": "1.0", "latest/list": "lists/new", "newest": "latest"},
    repositories={"fedora/x86_64": "f/x86_64", "root": ""},
)
OVERRIDES = (Override("192.0.2.0/24", "NZ", ("m1",)), Override("2001:db8::/32", origin=True))
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
        sha1=b"s" * 20 if number % 2 else b"",
        md5=b"" if number % 2 else b"m" * 16,
        piece_bytes=1024,
        pieces=tuple(bytes([piece]) * 32 for piece in range(number)),
        modified_at=7,
        alternates=(Revision(1, 2, b"x" * 32, b"", b"y" * 16),) * (number % 4),
    )
    for number in range(0, 200, 3)
}
CHANGED = {"demo/pool/1.deb": File(7, b"", False, 1 << 11), "demo/new": File(9, b"", True, 0, 5)}
GONE_PATH = "demo/pool/2.deb"
NEW_MIRROR = Mirror("m11", "demo", https="https://m11.example.org/", country="FR")


def sign(payload: Payload) -> bytes:
    return KEY.sign(to_be_signed(payload.header))


def head(generation: int, *more: Mirror) -> Head:
    return Head(generation, DATE, [*MIRRORS, *more], [TREE], OVERRIDES)


def full(generation: int = 5) -> Payload:
    return build(head(generation), Columns.of(FILES, len(MIRRORS), HASHES))


def in_place(folder: Path, *payloads: Payload) -> MirrorMap:
    for payload in payloads:
        write(folder, payload, sign(payload), KEY.public_key())
    return load(folder, KEY.public_key())
