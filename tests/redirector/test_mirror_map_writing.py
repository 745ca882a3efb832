"""Columns become a map: sets interned, collisions avoided, what does not fit together refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from commonfarm.redirector.mirror_map import File, Hashes, MapError, Mirror, parse
from commonfarm.redirector.mirror_map import writing as module
from commonfarm.redirector.mirror_map.entries import unpack
from commonfarm.redirector.mirror_map.header import from_json
from commonfarm.redirector.mirror_map.layout import path_hash
from commonfarm.redirector.mirror_map.unsigned import read_unsigned
from commonfarm.redirector.mirror_map.writing import (
    Columns,
    build,
    build_delta,
    hash_paths,
    holdings,
    stage,
)
from tests.redirector.mirror_maps import (
    CHANGED,
    FILES,
    GONE_PATH,
    HASHES,
    MIRRORS,
    NEW_MIRROR,
    full,
    head,
    in_place,
)

COLUMNS = Columns.of(FILES, len(MIRRORS))


def test_the_same_columns_give_the_same_bytes(tmp_path: Path) -> None:
    assert bytes(full()) == bytes(full())
    base = in_place(tmp_path, full())
    first, second = (
        build_delta(base, head(6, NEW_MIRROR), Columns.of(CHANGED, 12)) for _ in range(2)
    )
    assert bytes(first) == bytes(second)


def test_equal_sets_of_mirrors_are_written_once() -> None:
    part = parse(bytes(full())).full
    assert len(set(part.sets)) == len({file.mirrors for file in FILES.values()}) == 11
    assert from_json(full().header).sections["set_bits"].length == 11 * 2


def test_paths_are_hashed_alike_when_written_and_read() -> None:
    paths = [b"", b"a", b"demo/" + b"x" * 300, b"\xff\0"]
    salt = bytes(range(16))
    assert hash_paths(paths, salt).tolist() == [path_hash(path, salt) for path in paths]


class Colliding:
    """hash_paths with `bits` bits, for so many salts; then the true one."""

    def __init__(self, bits: int, salts: int) -> None:
        self.shift = np.uint64(64 - bits)
        self.left = salts
        self.salts: list[bytes] = []

    def __call__(self, paths: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
        self.salts.append(salt)
        found = hash_paths(paths, salt)
        self.left -= 1
        return found >> self.shift if self.left >= 0 else found


def test_the_salt_is_changed_until_no_two_paths_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Colliding(bits=7, salts=2)
    monkeypatch.setattr(module, "hash_paths", tiny)
    payload = full()
    assert len(set(tiny.salts)) == 3
    assert from_json(payload.header).salt == tiny.salts[2]
    assert parse(bytes(payload)).find("demo/pool/1.deb") == FILES["demo/pool/1.deb"]


def test_paths_that_collide_by_any_salt_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hash_paths", Colliding(bits=7, salts=99))
    with pytest.raises(ValueError, match="collide by each of 16 salts"):
        full()


def test_a_delta_in_which_paths_collide_asks_for_a_full_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = in_place(tmp_path, full())
    monkeypatch.setattr(module, "hash_paths", Colliding(bits=1, salts=1))
    with pytest.raises(MapError, match="write a full map"):
        build_delta(base, head(6), Columns.of(dict(list(FILES.items())[:3]), 11))


def test_a_path_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = replace(COLUMNS, paths=[*COLUMNS.paths[:-1], COLUMNS.paths[0]])
    with pytest.raises(ValueError, match="a path is there twice"):
        build(head(1), twice)
    with pytest.raises(ValueError, match="a path is there twice"):
        build_delta(in_place(tmp_path, full()), head(6), twice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [1, 2, 3]}, "sizes has the shape"),
        ({"sizes": np.arange(200) - 1}, "sizes holds a number that does not fit"),
        ({"sizes": np.zeros(200)}, "sizes holds other than whole numbers"),
        ({"rows": -np.arange(200)}, "rows holds a number that does not fit"),
        ({"flags": np.full(200, 2)}, "a flag is set that does not belong there"),
        ({"flags": np.full(200, 256)}, "flags holds a number that does not fit"),
        ({"mirrors_from": np.full(200, 2**32)}, "mirrors_from holds a number"),
        ({"sha256": np.zeros((200, 20), np.uint8)}, "sha256 is not 200 x 32 bytes"),
        ({"holdings": np.zeros((200, 1), np.uint8)}, "holdings is not 200 x 2 bytes"),
        ({"holdings": np.full((200, 2), 255, np.uint8)}, "beyond the 11 there are"),
        ({"hashes": [None] * 201}, "more hashes than paths"),
        ({"hashes": [Hashes(sha1=b"1")]}, "a hash has 1 bytes, not 20"),
        ({"hashes": [Hashes(pieces=(b"1",))]}, "a piece hash has not 32 bytes"),
        ({"hashes": [Hashes(piece_bytes=-1)]}, "a number that does not fit"),
        ({"hashes": [Hashes(pieces=(b"1" * 32,) * 300_000)]}, "more than 8388608"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(head(1), replace(COLUMNS, **change))


def test_a_head_that_no_reader_would_take_is_not_written() -> None:
    bad = Mirror("bad", "demo", http="http://bad.example.org/\n/", country="DE")
    with pytest.raises(MapError, match=r"mirrors\[11\].http"):
        build(head(1, bad), Columns.of(FILES, 12))


@given(st.text() | st.just("a" * 5000))
@settings(deadline=None, max_examples=30)
def test_whatever_a_mirror_answered_does_not_keep_a_map_from_being_made(problem: str) -> None:
    odd = replace(MIRRORS[0], problem=problem, sponsor=problem)
    columns = Columns.of({}, 1)
    read = parse(bytes(build(replace(head(1), mirrors=[odd]), columns))).mirrors[0]
    assert read.problem == read.sponsor
    assert len(read.problem) == min(len(problem), 4096)
    assert read.problem.isprintable()


def test_a_delta_that_does_not_follow_its_base_is_refused(tmp_path: Path) -> None:
    base = in_place(tmp_path, full())
    with pytest.raises(ValueError, match="a delta upon generation 5 is not 5"):
        build_delta(base, head(5), Columns.of({}, 11))
    fewer = replace(head(6), mirrors=MIRRORS[1:])
    with pytest.raises(ValueError, match="mirrors keep their numbers"):
        build_delta(base, fewer, Columns.of({}, 10))


def test_numbers_beyond_32_bits_are_kept(tmp_path: Path) -> None:
    rows = np.arange(200) + 2**32 - 100
    staged = stage(tmp_path, build(head(1), replace(COLUMNS, rows=rows)))
    assert sorted(read_unsigned(staged).rows.tolist()) == rows.tolist()


@given(st.data(), st.integers(0, 20), st.integers(0, 30))
@settings(deadline=None, max_examples=50)
def test_columns_of_mirrors_become_sets_of_files(
    data: st.DataObject, mirrors: int, files: int
) -> None:
    rows = st.lists(st.booleans(), min_size=files, max_size=files)
    columns = data.draw(st.lists(st.none() | rows, min_size=mirrors, max_size=mirrors))
    matrix = holdings(
        (None if column is None else np.array(column, bool) for column in columns), files
    )
    found = [int.from_bytes(row.tobytes(), "little") for row in matrix]
    assert found == [
        sum(bool(column and column[file]) << number for number, column in enumerate(columns))
        for file in range(files)
    ]
    many = [Mirror(f"m{one}", "demo", http="http://x.org/", country="DE") for one in range(mirrors)]
    named = {f"demo/{one}": File(one, b"", False, found[one]) for one in range(files)}
    given = replace(Columns.of(named, mirrors), holdings=matrix)
    the_map = parse(bytes(build(replace(head(1), mirrors=many), given)))
    assert {path: the_map.find(path) for path in named} == named


def test_the_signer_sees_all_that_it_signs(tmp_path: Path) -> None:
    payload = full()
    unsigned = read_unsigned(stage(tmp_path, payload))
    assert unsigned.header == payload.header
    assert (unsigned.generation, unsigned.base) == (5, 0)
    assert unsigned.mirrors == tuple(MIRRORS)
    index = {one: number for number, one in enumerate(unsigned.path_hashes.tolist())}
    hashed = unsigned.hash_paths(path.encode() for path in FILES).tolist()
    for row, (path, file) in enumerate(FILES.items(), 1):
        number = index[hashed[row - 1]]
        assert unsigned.rows[number] == row
        assert unsigned.sizes[number] == file.size
        assert unsigned.sha256[number].tobytes() == (file.sha256 or bytes(32))
        assert bool(unsigned.flags[number] & 1) == file.changes
        packed = unsigned.packed_hashes(number)
        assert (unpack(packed) if packed else None) == HASHES.get(path)


def test_the_signer_sees_of_which_base_a_delta_is(tmp_path: Path) -> None:
    base = in_place(tmp_path, full())
    delta = build_delta(base, head(6, NEW_MIRROR), Columns.of(CHANGED, 12, gone=[GONE_PATH]))
    unsigned = read_unsigned(stage(tmp_path, delta))
    assert (unsigned.generation, unsigned.base) == (6, 5)
    assert unsigned.base_sha256 == base.full.header.sha256
    assert sorted(unsigned.flags.tolist()) == [0, 2, 5]


def test_the_signer_refuses_what_differs_from_its_header(tmp_path: Path) -> None:
    staged = stage(tmp_path, full())
    data = staged.read_bytes()
    end = data.index(b"\n", 120)
    for position in (3, 150, end + 5, end + 3000):
        staged.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(MapError):
            read_unsigned(staged)
    staged.write_bytes(data[:-1])
    with pytest.raises(MapError, match="bytes, not"):
        read_unsigned(staged)
    staged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    damaged = read_unsigned(staged)
    with pytest.raises(MapError, match="is damaged"):
        [damaged.packed_hashes(index) for index in range(200)]
