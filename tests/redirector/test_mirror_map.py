"""What a mirror map says comes back; what is damaged, cut short or not ours is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector.mirror_map import (
    EMPTY,
    GONE,
    File,
    Hashes,
    MapError,
    Revision,
    layout,
    load,
    parse,
    read_key,
    seal,
    seen,
    to_be_signed,
)
from commonfarm.redirector.mirror_map.header import from_json
from commonfarm.redirector.mirror_map.writing import Columns, build, build_delta
from tests.redirector.mirror_maps import (
    CHANGED,
    FILES,
    GONE_PATH,
    HASHES,
    KEY,
    MIRRORS,
    NEW_MIRROR,
    OVERRIDES,
    TREE,
    full,
    head,
    in_place,
    sign,
)

SMALL = dict(list(FILES.items())[:8])
WHOLE = seal(bytes(full()), sign(full()))
HASHES_AT = len(WHOLE) - from_json(full().header).hashes[1]


def test_what_was_written_is_found_in_a_file_and_in_memory(tmp_path: Path) -> None:
    for the_map in (in_place(tmp_path, full()), parse(bytes(full()))):
        assert {path: the_map.find(path) for path in FILES} == FILES
        assert {path: the_map.hashes(path) for path in FILES} == {
            path: HASHES.get(path) for path in FILES
        }
        assert the_map.mirrors == tuple(MIRRORS)
        assert (the_map.trees, the_map.overrides) == ({"demo": TREE}, OVERRIDES)
        assert (the_map.generation, the_map.full_generation) == (5, 5)
        for other in (
            "demo/pool/none",
            b"demo/pool/\xff",
            "demo/pool/\udcff",
            "",
            "demo/pool/1.deb/",
        ):
            assert the_map.find(other) is None
            assert the_map.hashes(other) is None


def test_before_there_is_a_map_nothing_is_known() -> None:
    assert EMPTY.find("demo/pool/1.deb") is None
    assert EMPTY.resolve("demo/latest/a") == "demo/latest/a"
    assert (EMPTY.generation, EMPTY.mirrors, dict(EMPTY.trees)) == (0, (), {})


@given(
    st.dictionaries(
        st.text(max_size=40),
        st.builds(
            File,
            st.integers(0, 2**64 - 1),
            st.sampled_from([b"", b"h" * 32]),
            st.booleans(),
            st.integers(0, 2**11 - 1),
            st.integers(0, 2**32 - 1),
        ),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=50)
def test_any_files_come_back(files: dict[str, File]) -> None:
    the_map = parse(bytes(build(head(1), Columns.of(files, len(MIRRORS)))))
    assert {path: the_map.find(path) for path in files} == files


@given(
    st.builds(
        Hashes,
        st.sampled_from([b"", b"1" * 20]),
        st.sampled_from([b"", b"5" * 16]),
        st.integers(0, 2**64 - 1),
        st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
        st.integers(-(2**63), 2**63 - 1),
        st.lists(
            st.builds(
                Revision,
                st.integers(-(2**63), 2**63 - 1),
                st.integers(0, 2**64 - 1),
                st.sampled_from([b"", b"2" * 32]),
            ),
            max_size=3,
        ).map(tuple),
    )
)
@settings(deadline=None, max_examples=50)
def test_any_hashes_come_back(hashes: Hashes) -> None:
    payload = build(head(1), Columns.of(SMALL, len(MIRRORS), {"demo/pool/3.deb": hashes}))
    assert parse(bytes(payload)).hashes("demo/pool/3.deb") == hashes


def test_hashes_of_many_blocks_come_back() -> None:
    pieces = tuple(os.urandom(32) for _ in range(3 * layout.BLOCK // 32))
    many = {path: Hashes(pieces=pieces[number:]) for number, path in enumerate(SMALL)}
    the_map = parse(bytes(build(head(1), Columns.of(SMALL, len(MIRRORS), many))))
    assert {path: the_map.hashes(path) for path in SMALL} == many


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(position=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
@settings(deadline=None)
def test_a_flipped_bit_is_refused_or_never_looked_at(
    damaged: Path, position: int, bit: int
) -> None:
    """One among the further hashes is found by who asks for these, and harms nobody else."""
    data = bytearray(WHOLE)
    data[position] ^= 1 << bit
    (damaged / "current").write_bytes(data)
    if position < HASHES_AT:
        with pytest.raises(MapError):
            load(damaged, KEY.public_key())
        return
    the_map, refused = load(damaged, KEY.public_key()), 0
    assert {path: the_map.find(path) for path in FILES} == FILES
    for path in FILES:
        try:
            assert the_map.hashes(path) == HASHES.get(path)
        except MapError:
            refused += 1
    assert refused


@given(length=st.integers(0, len(WHOLE) - 1) | st.sampled_from([0, 24, 112, 113, HASHES_AT]))
@settings(deadline=None)
def test_a_file_cut_short_is_refused(damaged: Path, length: int) -> None:
    (damaged / "current").write_bytes(WHOLE[:length])
    with pytest.raises(MapError):
        load(damaged, KEY.public_key())


def test_a_file_with_more_behind_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "current").write_bytes(WHOLE + b"\0")
    with pytest.raises(MapError, match="bytes, not"):
        load(tmp_path, KEY.public_key())


def test_only_our_key_counts_and_only_for_headers_of_maps(tmp_path: Path) -> None:
    payload = full()
    signatures = [
        Ed25519PrivateKey.generate().sign(to_be_signed(payload.header)),
        KEY.sign(payload.header),
        KEY.sign(to_be_signed(payload.header + b" ")),
    ]
    for signature in signatures:
        (tmp_path / "current").write_bytes(seal(bytes(payload), signature))
        with pytest.raises(MapError, match="current: its signature is not by the key of this"):
            load(tmp_path, KEY.public_key())


def test_another_spelling_of_the_signature_is_refused(tmp_path: Path) -> None:
    at = len(layout.MAGIC) + 85  # the last digit before `==` has four bits that say nothing
    other = bytes([WHOLE[at] + 1]) if WHOLE[at : at + 1] not in b"/9Zz" else b"-"
    (tmp_path / "current").write_bytes(WHOLE[:at] + other + WHOLE[at + 1 :])
    with pytest.raises(MapError, match="signature"):
        load(tmp_path, KEY.public_key())


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=f"{tmp_path}/current: it is not there"):
        load(tmp_path, KEY.public_key())
    os.mkfifo(tmp_path / "current")
    with pytest.raises(MapError, match="not a regular file"):
        load(tmp_path, KEY.public_key())
    (tmp_path / "current").unlink()
    (tmp_path / "current").mkdir()
    with pytest.raises(MapError, match="current: it "):
        load(tmp_path, KEY.public_key())


def test_an_old_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "current").write_bytes(b"commonfarm-mirror-map 1\n" + WHOLE[24:])
    with pytest.raises(MapError, match="does not start with 'commonfarm-mirror-map 2'"):
        load(tmp_path, KEY.public_key())


def test_a_delta_changes_adds_and_takes_away(tmp_path: Path) -> None:
    base = in_place(tmp_path, full())
    new = Columns.of(CHANGED, 12, {"demo/new": Hashes(md5=b"n" * 16)}, [GONE_PATH])
    after = in_place(tmp_path, build_delta(base, head(6, NEW_MIRROR), new))
    assert (after.generation, after.full_generation, after.delta_problem) == (6, 5, "")
    assert after.mirrors == (*MIRRORS, NEW_MIRROR)
    expected = FILES | CHANGED
    del expected[GONE_PATH]
    assert {path: after.find(path) for path in expected} == expected
    assert after.find(GONE_PATH) is None and after.hashes(GONE_PATH) is None
    assert after.hashes("demo/new") == Hashes(md5=b"n" * 16)
    assert after.hashes("demo/pool/1.deb") is None
    assert after.hashes("demo/pool/3.deb") == HASHES["demo/pool/3.deb"]


def test_each_delta_is_of_the_full_map(tmp_path: Path) -> None:
    first = in_place(tmp_path, full())
    in_place(tmp_path, build_delta(first, head(6), Columns.of({}, 11, gone=[GONE_PATH])))
    upon_both = load(tmp_path, KEY.public_key())
    assert upon_both.find(GONE_PATH) is None
    after = in_place(tmp_path, build_delta(upon_both, head(7), Columns.of({}, 11)))
    assert (after.generation, after.find(GONE_PATH)) == (7, FILES[GONE_PATH])


@pytest.mark.parametrize(
    "harm", ["flip", "cut", "another base", "a full one", "another key", "dir"]
)
def test_a_delta_that_may_not_be_used_is_named_and_the_full_map_serves(
    tmp_path: Path, harm: str
) -> None:
    base = in_place(tmp_path, full())
    payload = build_delta(base, head(6), Columns.of({}, 11, gone=[GONE_PATH]))
    if harm == "another base":
        other = in_place(tmp_path / "other", full(4))
        payload = build_delta(other, head(6), Columns.of({}, 11, gone=[GONE_PATH]))
    data = bytearray(seal(bytes(payload), sign(payload)))
    match harm:
        case "flip":
            data[-5] ^= 1
        case "cut":
            del data[-1]
        case "a full one":
            data = bytearray(WHOLE)
        case "another key":
            stranger = Ed25519PrivateKey.generate()
            data = bytearray(seal(bytes(payload), stranger.sign(to_be_signed(payload.header))))
    if harm == "dir":
        (tmp_path / "delta").mkdir()
    else:
        (tmp_path / "delta").write_bytes(data)
    after = load(tmp_path, KEY.public_key())
    assert after.delta_problem.startswith(f"{tmp_path}/delta: it")
    assert (after.generation, after.find(GONE_PATH)) == (5, FILES[GONE_PATH])


def test_a_delta_in_the_place_of_a_full_map_is_refused(tmp_path: Path) -> None:
    payload = build_delta(in_place(tmp_path, full()), head(6), Columns.of({}, 11))
    (tmp_path / "current").write_bytes(seal(bytes(payload), sign(payload)))
    with pytest.raises(MapError, match="it is a delta"):
        load(tmp_path, KEY.public_key())


def test_locate_gives_columns_that_agree_with_find(tmp_path: Path) -> None:
    base = in_place(tmp_path, full())
    delta = build_delta(base, head(6, NEW_MIRROR), Columns.of(CHANGED, 12, gone=[GONE_PATH]))
    the_map = in_place(tmp_path, delta)
    for path, file in (FILES | CHANGED).items():
        found = the_map.locate(path.encode())
        if found is None:
            assert path == GONE_PATH
            continue
        part, index = found
        assert part.sizes[index] == file.size
        assert part.digest(index) == file.sha256
        assert part.bits(part.sets[index]) == file.mirrors
        assert part.mirrors_from(index) == file.mirrors_from
        assert not part.flags[index] & GONE
    assert part.bits(10**6) == 0


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("demo/latest", "demo/1.0"),
        ("demo/latest/a/b", "demo/1.0/a/b"),
        ("demo/latest/list/a", "demo/lists/new/a"),
        ("demo/newest/list/a", "demo/lists/new/a"),
        ("demo/latestmost/a", "demo/latestmost/a"),
        ("demo/a/latest", "demo/a/latest"),
        ("demo", "demo"),
        ("none/latest", "none/latest"),
        ("", ""),
        ("demo/" + "x/" * 2000, "demo/" + "x/" * 2000),
    ],
)
def test_aliases_are_followed_longest_first(path: str, canonical: str) -> None:
    assert parse(bytes(full())).resolve(path) == canonical


def test_seen_changes_with_either_file_and_not_by_itself(tmp_path: Path) -> None:
    found = [seen(tmp_path)]
    base = in_place(tmp_path, full())
    found.append(seen(tmp_path))
    assert seen(tmp_path) == found[-1]
    in_place(tmp_path, build_delta(base, head(6), Columns.of({}, 11)))
    found.append(seen(tmp_path))
    in_place(tmp_path, full(7))
    found.append(seen(tmp_path))
    assert all(one != other for one, other in pairwise(found))
    assert len(set(found)) == len(found)


def test_only_an_ed25519_key_in_pem_is_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert read_key(file) == KEY.public_key()
    file.write_bytes(b"not a key")
    with pytest.raises(MapError, match="cannot be read"):
        read_key(file)
    with pytest.raises(MapError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_reading_needs_no_numpy() -> None:
    code = "import sys, commonfarm.redirector.mirror_map; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_neither_rows_nor_hashes_are_mapped(tmp_path: Path) -> None:
    in_place(tmp_path, full())
    the_map = load(tmp_path, KEY.public_key())
    sections = from_json(full().header).sections
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines()
              if line.endswith(str(tmp_path / "current"))]  # fmt: skip
    ends = [int(line.split()[0].split("-")[1], 16) - int(line.split("-")[0], 16) for line in mapped]
    start = len(WHOLE) - sum(from_json(full().header).hashes)
    page = os.sysconf("SC_PAGE_SIZE")
    assert ends == [-(-(start + sections["rows"].offset) // page) * page]
    assert the_map.find("demo/pool/1.deb")
