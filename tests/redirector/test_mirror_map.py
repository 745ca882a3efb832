"""Only a whole, well-formed map signed by our own key is ever used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.redirector import mirror_map
from commonfarm.redirector.mirror_map import File, MapError, parse, seal, serialise, unseal
from tests.redirector.world import map_of, mirror, public_pem, signed

KEY = Ed25519PrivateKey.generate()
A_MAP = map_of(
    [mirror("one"), mirror("two", country="FR", problem="disabled")],
    {"pool/a.deb": File(10, frozenset({0, 1})), "pool/b.deb": File(20, frozenset())},
    generation=7,
)


def test_a_map_comes_back_as_it_was_and_its_bytes_repeat() -> None:
    assert unseal(signed(A_MAP, KEY), KEY.public_key()) == A_MAP
    assert serialise(parse(serialise(A_MAP))) == serialise(A_MAP)


@given(
    st.dictionaries(
        st.text(min_size=1).filter(
            lambda text: (
                "\0" not in text and all(part not in ("", ".", "..") for part in text.split("/"))
            )
        ),
        st.builds(
            File,
            st.integers(min_value=0, max_value=2**62),
            st.frozensets(st.integers(min_value=0, max_value=1)),
        ),
    )
)
def test_any_file_names_and_sizes_come_back(files: dict[str, File]) -> None:
    the_map = map_of([mirror("one"), mirror("two")], files)
    assert parse(serialise(the_map)) == the_map


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_anywhere_is_refused(position: int, bit: int) -> None:
    data = bytearray(signed(A_MAP, KEY))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(MapError):
        unseal(bytes(data), KEY.public_key())


@pytest.mark.parametrize("length", [0, 10, len(mirror_map.MAGIC), 100, 200])
def test_a_file_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MapError):
        unseal(signed(A_MAP, KEY)[:length], KEY.public_key())


def test_a_map_of_another_key_is_refused() -> None:
    with pytest.raises(MapError, match="not by the key of this installation"):
        unseal(signed(A_MAP, Ed25519PrivateKey.generate()), KEY.public_key())


def test_a_signature_without_the_type_of_payload_is_refused() -> None:
    payload = serialise(A_MAP)
    with pytest.raises(MapError, match="not by the key"):
        unseal(seal(payload, KEY.sign(payload)), KEY.public_key())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": -1}, "generation"),
        ({"generation": True}, "generation"),
        ({"mirrors": {}}, "mirrors is not a list"),
        ({"sets": [[9]]}, "not a number from 0 and below 2"),
        ({"sets": []}, "not a number from 0 and below 0"),
        ({"trees": {"demo": {"../etc/passwd": [1, 0]}}}, "not a plain path"),
        ({"trees": {"demo": {"a//b": [1, 0]}}}, "not a plain path"),
        ({"trees": {"other": {"a": [1, 0]}}}, "mirror of another tree"),
        ({"trees": {"demo": {"a": [1]}}}, "not a pair"),
        ({"trees": {"de/mo": {}}}, "not the name of a tree"),
        ({"written_at": 3}, "written_at is not a str"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    document = json.loads(serialise(A_MAP)) | change
    with pytest.raises(MapError, match=message):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://one.example.org/"),
        ("url", "http://one.example.org"),
        ("url", "http://one.example.org/\r\nSet-Cookie: a=b/"),
        ("country", "de"),
        ("families", [4, 5]),
        ("local", 0),
        ("name", None),
    ],
)
def test_a_mirror_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    document = json.loads(serialise(A_MAP))
    document["mirrors"][0][field] = value
    with pytest.raises(MapError, match="mirrors"):
        parse(json.dumps(document).encode())


def test_deep_nesting_is_refused_not_crashed_on() -> None:
    with pytest.raises(MapError):
        parse(b"[" * 200_000)


def test_too_large_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_map, "MOST_BYTES", 100)
    with pytest.raises(MapError, match="more than 100"):
        parse(b" " * 101)


def test_only_an_ed25519_key_in_pem_is_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(public_pem(KEY))
    assert mirror_map.read_key(file) == KEY.public_key()
    file.write_bytes(b"not a key")
    with pytest.raises(MapError, match="cannot be read"):
        mirror_map.read_key(file)
    with pytest.raises(MapError, match="cannot be read"):
        mirror_map.read_key(tmp_path / "none")


def test_a_writer_killed_at_any_time_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "map" / "current"
    small, large = b"a" * 100_000, b"b" * 3_000_000
    mirror_map.write(file, small)
    code = (
        "import sys; from pathlib import Path; from commonfarm.redirector.mirror_map import write\n"
        "print('.', flush=True)\n"
        "while True:\n"
        "    write(Path(sys.argv[1]), b'b' * 3_000_000); write(Path(sys.argv[1]), b'a' * 100_000)\n"
    )
    for delay in (0.0, 0.005, 0.02, 0.05, 0.09):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            try:
                writer.wait(delay)
            except subprocess.TimeoutExpired:
                writer.kill()
        assert file.read_bytes() in (small, large)
    mirror_map.write(file, small)
    assert list(file.parent.iterdir()) == [file]
