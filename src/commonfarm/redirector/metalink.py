"""Metalinks as bytes: version 4 (RFC 5854) and version 3 as dnf reads it. Pure.

Version 3 follows http://www.metalinker.org/ and MirrorManager's extension `mm0`: the time stamp of
`repomd.xml` and the hashes of its earlier states, so that a mirror that is one step behind counts
as valid, never as broken. The current state always comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape

from commonfarm.redirector.mirror_map import SERVER_NAME, Hashes

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LAST_PRIORITY = 999_999
"""The largest priority of a metalink's address: tried last (RFC 5854, section 4.2.16.1)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a file lies: its URL, and the country of who serves it ("" when that is ourselves)."""

    url: str
    country: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """What a metalink tells of a file. `addresses` are ordered, the best first."""

    name: str
    size: int
    sha256: bytes
    hashes: Hashes | None
    addresses: Sequence[Address]
    origin: str
    written_at: str

    def sums(self) -> list[tuple[str, str]]:
        """Return the known hashes as IANA name and hex digits, the strongest last."""
        known = [("sha-256", self.sha256)]
        if self.hashes is not None:
            known = [("md5", self.hashes.md5), ("sha-1", self.hashes.sha1), *known]
        return [(kind, value.hex()) for kind, value in known if value]


def text(value: str) -> str:
    """Return `value` fit to stand in XML: escaped, and without what XML has no letter for."""
    return escape(_NOT_XML.sub("\ufffd", value), quote=False)


def attribute(value: str) -> str:
    """Return `value` as a quoted attribute."""
    known = _NOT_XML.sub("\ufffd", value)
    return f'"{escape(known)}"'


def version4(file: Described) -> bytes:
    """Return the metalink document of RFC 5854 for `file`."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink">',
        f"  <generator>{SERVER_NAME}</generator>",
    ]
    if file.origin:
        lines.append(f'  <origin dynamic="true">{text(file.origin)}</origin>')
    if file.written_at:
        lines.append(f"  <published>{text(file.written_at)}</published>")
    lines += [f"  <file name={attribute(file.name)}>", f"    <size>{file.size}</size>"]
    lines += [f'    <hash type="{kind}">{value}</hash>' for kind, value in file.sums()]
    if file.hashes is not None and file.hashes.pieces:
        lines.append(f'    <pieces length="{file.hashes.piece_bytes}" type="sha-256">')
        lines += [f"      <hash>{piece.hex()}</hash>" for piece in file.hashes.pieces]
        lines.append("    </pieces>")
    for number, one in enumerate(file.addresses, 1):
        place = f" location={attribute(one.country.lower())}" if one.country else ""
        priority = min(number, LAST_PRIORITY)
        lines.append(f'    <url{place} priority="{priority}">{text(one.url)}</url>')
    lines += ["  </file>", "</metalink>", ""]
    return "\n".join(lines).encode()


def version3(file: Described) -> bytes:
    """Return the metalink document that dnf and zypper read for `file`."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        (
            '<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic"'
            f" pubdate={attribute(_pubdate(file.written_at))} generator={attribute(SERVER_NAME)}"
            ' xmlns:mm0="http://fedorahosted.org/mirrormanager">'
        ),
        "  <files>",
        f"    <file name={attribute(file.name)}>",
    ]
    if file.hashes is not None and file.hashes.modified_at:
        lines.append(f"      <mm0:timestamp>{file.hashes.modified_at}</mm0:timestamp>")
    lines.append(f"      <size>{file.size}</size>")
    if sums := file.sums():
        lines += _verification(sums, file.hashes, "      ")
    lines += _alternates(file)
    lines.append('      <resources maxconnections="1">')
    for number, one in enumerate(file.addresses):
        scheme = attribute(one.url.partition(":")[0])
        place = f" location={attribute(one.country)}" if one.country else ""
        lines.append(
            f"        <url protocol={scheme} type={scheme}{place}"
            f' preference="{max(100 - number, 1)}">{text(one.url)}</url>'
        )
    lines += ["      </resources>", "    </file>", "  </files>", "</metalink>", ""]
    return "\n".join(lines).encode()


def _verification(sums: Sequence[tuple[str, str]], hashes: Hashes | None, indent: str) -> list[str]:
    lines = [f"{indent}<verification>"]
    for kind, value in sums:
        lines.append(f'{indent}  <hash type="{kind.replace("-", "")}">{value}</hash>')
    if hashes is not None and hashes.pieces:
        lines.append(f'{indent}  <pieces length="{hashes.piece_bytes}" type="sha256">')
        lines += [
            f'{indent}    <hash piece="{number}">{piece.hex()}</hash>'
            for number, piece in enumerate(hashes.pieces)
        ]
        lines.append(f"{indent}  </pieces>")
    lines.append(f"{indent}</verification>")
    return lines


def _alternates(file: Described) -> list[str]:
    earlier = file.hashes.alternates if file.hashes is not None else ()
    # The state in force stands above; once more among those it replaced it would only confuse.
    earlier = tuple(one for one in earlier if not one.sha256 or one.sha256 != file.sha256)
    if not earlier:
        return []
    lines = ["      <mm0:alternates>"]
    for one in earlier:
        kinds = (("md5", one.md5), ("sha-1", one.sha1), ("sha-256", one.sha256))
        sums = [(kind, value.hex()) for kind, value in kinds if value]
        if not sums:
            continue
        lines += [
            "        <mm0:alternate>",
            f"          <mm0:timestamp>{one.modified_at}</mm0:timestamp>",
            f"          <size>{one.size}</size>",
            *_verification(sums, None, "          "),
            "        </mm0:alternate>",
        ]
    return [*lines, "      </mm0:alternates>"]


def _pubdate(written_at: str) -> str:
    try:
        when = datetime.fromisoformat(written_at)
    except ValueError:
        return ""
    return format_datetime(when.astimezone(UTC), usegmt=True)
