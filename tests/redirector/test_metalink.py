"""Metalinks as bytes."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector import metalink
from commonfarm.redirector.mirror_map import Hashes, Revision

EARLIER = Hashes(modified_at=7, alternates=(Revision(5, 6, b"\x07" * 32), Revision(4, 6, b"")))

TEXTS = st.text(max_size=30)


@settings(deadline=None, max_examples=150)
@given(TEXTS, TEXTS, st.binary(min_size=32, max_size=32) | st.just(b""), st.integers(0, 2**63))
def test_metalinks_are_well_formed_whatever_the_names(
    name: str, url: str, sha256: bytes, size: int
) -> None:
    file = metalink.Described(
        name, size, sha256, EARLIER, [metalink.Address(url, "DE")], url, "2026-01-01T00:00:00+00:00"
    )
    for made in (metalink.version3, metalink.version4):
        found = ElementTree.fromstring(made(file))
        [one] = [one for one in found.iter() if one.tag.endswith("}file")]
        kept = [letter for letter in one.attrib["name"] if letter > " "]
        shown = [letter for letter in metalink._NOT_XML.sub("\ufffd", name) if letter > " "]
        assert kept == shown


def test_the_current_state_is_never_among_its_alternates() -> None:
    current = b"\x01" * 32
    kept = Hashes(
        modified_at=9,
        alternates=(Revision(9, 1, current), Revision(5, 6, b"\x07" * 32), Revision(4, 6, b"")),
    )
    file = metalink.Described("repomd.xml", 1, current, kept, [], "", "2026-01-01T00:00:00+00:00")
    text = metalink.version3(file).decode()
    assert text.count("01" * 32) == 1
    assert text.index("01" * 32) < text.index("<mm0:alternates>") < text.index("07" * 32)
    assert text.count("<mm0:alternate>") == 1


def test_what_is_not_known_is_not_told() -> None:
    file = metalink.Described("a", 0, b"", None, [], "", "")
    assert b"<hash" not in metalink.version4(file)
    assert b"<verification" not in metalink.version3(file)
    assert b'pubdate=""' in metalink.version3(file)
