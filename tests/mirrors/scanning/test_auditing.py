"""Bytes that are not ours are found and named; what cannot be compared is never called altered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from commonfarm.mirrors.scanning import Audited, Code, Limits, Sample, audit
from tests.mirrors.scanning.hostile import LOCAL, PUBLIC, Asked, answer, saying, without_end
from tests.mirrors.scanning.servers import nginx

SHORT = Limits(connect_seconds=5, silence_seconds=5, request_seconds=5, total_seconds=20)
DATA = Random(4).randbytes(500_000)
PIECE = 65_536
DEB = "application/octet-stream"


def sample(number: int, path: str = "pool/a.iso", data: bytes = DATA) -> Sample:
    piece = data[number * PIECE : (number + 1) * PIECE]
    digest = hashlib.sha256(piece).hexdigest()
    return Sample(path, len(data), number, number * PIECE, len(piece), digest)


ALL = [sample(number) for number in range(8)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/pool").mkdir(parents=True)
    (tmp_path / "tree/pool/a.iso").write_bytes(DATA)
    return tmp_path / "tree"


def test_a_true_mirror_matches_piece_by_piece(tmp_path: Path, tree: Path) -> None:
    with nginx(tmp_path / "home", tree) as url:
        assert audit(url, ALL, LOCAL, SHORT) == Audited(8)


def test_one_altered_byte_is_found_and_named(tmp_path: Path, tree: Path) -> None:
    altered = bytearray(DATA)
    altered[3 * PIECE + 17] ^= 1
    (tree / "pool/a.iso").write_bytes(altered)
    with nginx(tmp_path / "home", tree) as url:
        seen = audit(url, ALL, LOCAL, SHORT)
    found = hashlib.sha256(altered[3 * PIECE : 4 * PIECE]).hexdigest()
    assert seen.matched == 7
    assert [(one.path, one.piece, one.expected, one.found) for one in seen.mismatches] == [
        ("pool/a.iso", 3, ALL[3].sha256, found)
    ]
    assert found in str(seen.mismatches[0]) and "piece 3 of pool/a.iso" in str(seen.mismatches[0])


def test_a_file_of_another_size_or_none_is_not_called_altered(tmp_path: Path, tree: Path) -> None:
    (tree / "pool/a.iso").write_bytes(DATA[:-1])
    missing = sample(0, "pool/none.iso")
    with nginx(tmp_path / "home", tree) as url:
        seen = audit(url, [ALL[0], missing], LOCAL, SHORT)
    assert (seen.matched, seen.mismatches) == (0, ())
    assert {one.path: why.code for one, why in seen.unaudited.items()} == {
        "pool/a.iso": Code.OTHER_SIZE,
        "pool/none.iso": Code.MISSING,
    }


def whole(_: Asked) -> Iterable[bytes]:
    return without_end(bytes(2**16), answer(DATA, kind=DEB))


def test_a_server_that_ignores_range_is_read_up_to_the_piece() -> None:
    with saying(whole) as server:
        seen = audit(server.url, ALL, LOCAL, SHORT)
        near = audit(server.url, ALL, LOCAL, replace(SHORT, piece_bytes=3 * PIECE))
    assert seen == Audited(8)
    assert near.matched == 3
    assert {why.code for why in near.unaudited.values()} == {Code.NOT_AUDITABLE}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer(DATA[:PIECE], kind=DEB, status=206), Code.OTHER_SIZE),
        (
            answer(DATA[:PIECE], kind=DEB, status=206, Content_Range="bytes 0-65535/*"),
            Code.OTHER_SIZE,
        ),
        (
            answer(DATA[:PIECE], kind=DEB, status=206, Content_Range="bytes 0-65535/600000"),
            Code.OTHER_SIZE,
        ),
        (
            answer(DATA[:PIECE], kind=DEB, status=206, Content_Range="bytes 1-65536/500000"),
            Code.NOT_AUDITABLE,
        ),
        (
            answer(DATA[:9], kind=DEB, status=206, Content_Range="bytes 0-65535/500000"),
            Code.NOT_AUDITABLE,
        ),
        (answer(DATA, kind=DEB, Content_Encoding="gzip"), Code.PACKED),
        (answer(DATA), Code.PAGE),
        (answer(status=404), Code.MISSING),
        (answer(status=500), Code.MISSING),
        (answer(status=302, Location="/"), Code.REDIRECTED),
    ],
)
def test_an_answer_that_proves_nothing_is_no_mismatch(said: bytes, code: Code) -> None:
    with saying(lambda _: said) as server:
        seen = audit(server.url, ALL[:1], LOCAL, SHORT)
    assert (seen.matched, seen.mismatches) == (0, ())
    assert [why.code for why in seen.unaudited.values()] == [code]


def test_a_file_that_grows_while_it_is_read_is_read_to_its_piece_alone() -> None:
    def growing(_: Asked) -> Iterable[bytes]:
        head = b"HTTP/1.1 206 Part\r\nContent-Type: application/octet-stream\r\n"
        head += b"Content-Range: bytes 0-65535/500000\r\n\r\n"
        return without_end(bytes(2**16), head + DATA[:PIECE])

    with saying(growing) as server:
        assert audit(server.url, ALL[:1], LOCAL, SHORT) == Audited(1)


def test_bytes_that_stop_on_the_way_are_no_mismatch() -> None:
    def short(_: Asked) -> Iterable[bytes]:
        yield answer(
            DATA[:100],
            kind=DEB,
            status=206,
            Content_Length=str(PIECE),
            Content_Range="bytes 0-65535/500000",
        )

    with saying(short) as server:
        seen = audit(server.url, ALL[:1] * 2, LOCAL, SHORT)
    assert (seen.matched, seen.mismatches) == (0, ())
    assert [why.code for why in seen.unaudited.values()] == [Code.BAD_ANSWER]


def test_a_mirror_that_cannot_be_reached_is_a_problem_of_the_whole() -> None:
    with saying(whole) as server:
        seen = audit(server.url, ALL, PUBLIC, SHORT)
    assert seen.problem is not None and seen.problem.code == Code.ADDRESS_REFUSED
    assert server.asked == []
