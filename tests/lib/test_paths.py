from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.lib.paths import inside, is_file_name, is_sha256


@pytest.mark.parametrize("relative", ["", "/etc/passwd", "..", "a/../../b", "a/..", "a\0b"])
def test_a_path_that_leaves_its_directory_is_refused(relative: str) -> None:
    with pytest.raises(ValueError, match="leaves its directory"):
        inside(Path("/srv/tree"), relative)


@given(st.text(max_size=40))
def test_whatever_is_accepted_stays_inside(relative: str) -> None:
    root = Path("/srv/tree")
    try:
        path = inside(root, relative)
    except ValueError:
        return
    assert path.is_relative_to(root)
    assert ".." not in path.parts


@pytest.mark.parametrize("name", ["hello_2.10-3.dsc", "libfoo++_1:2~rc1_amd64.deb", "a" * 255])
def test_file_names_of_packages(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "a\n", "ä", "a" * 256]
)
def test_what_is_no_plain_file_name(name: str) -> None:
    assert not is_file_name(name)


def test_a_sha256_is_64_small_hex_digits() -> None:
    assert is_sha256("0" * 64)
    for text in ("0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n"):
        assert not is_sha256(text)
