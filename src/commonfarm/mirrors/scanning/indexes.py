"""What is in a folder, from the index that a web server makes of it. Pure.

Read are the pages of Apache (plain, FancyIndexing, HTMLTable), nginx, lighttpd and Caddy, and the
JSON of nginx (`autoindex_format json`) and Caddy (which it sends to who asks for JSON). All pages
are read in one way: a link to a name of this very folder, then a date and a size. What else links
to is never followed: parents, other hosts, queries (they sort columns).

Every pattern is bounded or anchored, so the time for a page grows with its length alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from html import unescape
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from commonfarm.mirrors.scanning.names import is_plain
from commonfarm.mirrors.scanning.values import UNKNOWN_SIZE


class Entry(NamedTuple):
    """A name in a folder. `slack` is by how much its size may be off, 0 where it is exact."""

    name: str
    is_folder: bool
    size: int
    slack: int
    modified_at: int | None


class NotAnIndexError(ValueError):
    """This is no index of a folder."""


_ANCHOR = re.compile(r"<a\s", re.IGNORECASE)
_HREF = re.compile(
    r"""[^<>]{0,512}?\bhref\s{0,8}=\s{0,8}(?:"([^"<>]{1,8192})"|'([^'<>]{1,8192})')""",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]{0,4096}>|&nbsp;")
_EXACT_SIZE = re.compile(r'\bdata-(?:order|size|sort-value)="([0-9]{1,18})"')
"""Where Caddy's page keeps the size in bytes beside the rounded one that it shows."""
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2}|[A-Z][a-z]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2})"
    r"|([0-9]{2})-([A-Z][a-z]{2})-([0-9]{4}) ([0-9]{2}):([0-9]{2})"
)
_SECONDS = re.compile(r":([0-9]{2})")
_SIZE = re.compile(r"\s*([0-9]{1,18})(?:\.([0-9]{1,3}))?\s?(?:([kKMGTP])i?B?|B)?(?![\w.:-])")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_UNITS = {unit: 1024**power for power, unit in enumerate("KMGTP", 1)} | {"k": 1024, "": 1}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_LONGEST_PIECE = 32 * 1024
"""Of a row: the name in the link, perhaps a picture, the name that is shown, date and size."""


def entries_of(page: bytes, url: str, kind: str) -> list[Entry]:
    """Return what the index at `url` names, each name once; `kind` is its media type.

    NotAnIndexError when the page names nothing and does not look like an index either.
    """
    # lighttpd calls its page JSON when it comes from its cache.
    if kind == "application/json" and not page[:64].lstrip().startswith(b"<"):
        return _from_json(page)
    text = page.decode("utf-8", "surrogateescape")
    parts = urlsplit(url)
    origin, path = f"{parts.scheme}://{parts.netloc}", unquote(parts.path)
    found: dict[str, Entry] = {}
    for piece in _pieces(text):
        entry = _from_link(piece, origin, path)
        # Apache can link the icon, too, before the name: what follows the name counts.
        if entry is not None and (entry.name not in found or found[entry.name].size < 0):
            found[entry.name] = entry
    if not found and "index of" not in text[:8192].lower():
        raise NotAnIndexError("it is no index of a folder")
    return list(found.values())


def _pieces(text: str) -> Iterator[str]:
    """Yield what follows each `<a ` up to the next, of what is too long the beginning."""
    begin = None
    for anchor in _ANCHOR.finditer(text):
        if begin is not None:
            yield text[begin : min(anchor.start(), begin + _LONGEST_PIECE)]
        begin = anchor.end()
    if begin is not None:
        yield text[begin : begin + _LONGEST_PIECE]


def _from_link(piece: str, origin: str, path: str) -> Entry | None:
    link = _HREF.match(piece)
    if link is None:
        return None
    name = _name_of(link[1] or link[2], origin, path)
    if not name:
        return None
    is_folder = name.endswith("/")
    name = name.removesuffix("/")
    _, closed, told = piece.rpartition("</a>")
    if not closed:
        _, closed, told = piece.rpartition("</A>")
    size, slack, modified_at = _columns(told) if closed else (UNKNOWN_SIZE, 0, None)
    return Entry(name, is_folder, UNKNOWN_SIZE if is_folder else size, slack, modified_at)


def _name_of(href: str, origin: str, path: str) -> str:
    """Return the name in this folder that a link leads to, with its slash if it has one, or ""."""
    if "&" in href:
        href = unescape(href)
    if "?" in href or "#" in href:
        return ""
    href = href.removeprefix(origin)
    if _SCHEME.match(href):
        return ""
    name = unquote(href, errors="surrogateescape") if "%" in href else href
    if name.startswith("/"):
        if not name.startswith(path):
            return ""
        name = name[len(path) :]
    name = name.removeprefix("./")
    return name if _is_name(name.removesuffix("/")) else ""


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..") and is_plain(name)


def _columns(told: str) -> tuple[int, int, int | None]:
    """Return size, slack and date of what stands in a row behind the name."""
    exact = _EXACT_SIZE.search(told)
    text = _TAG.sub(" ", told).lstrip() if "<" in told or "&" in told else told.lstrip()
    modified_at = None
    date = _DATE.search(text[:256])
    if date is not None:
        modified_at = _minute(date[0])
        seconds = _SECONDS.match(text, date.end())
        if seconds is not None and modified_at is not None:
            modified_at += int(seconds[1])
        behind = seconds.end() if seconds is not None else date.end()
        # The size stands behind the date (Apache, nginx, lighttpd) or before it.
        text = text[behind:] if date.start() == 0 else text
    if exact is not None:
        return int(exact[1]), 0, modified_at
    size = _SIZE.match(text)
    if size is None:
        return UNKNOWN_SIZE, 0, modified_at
    whole, decimals, unit = size[1], size[2] or "", size[3] or ""
    digit = _UNITS[unit] // 10 ** len(decimals)
    amount = int(whole + decimals) * _UNITS[unit] // 10 ** len(decimals)
    return amount, digit if unit else 0, modified_at


@lru_cache(maxsize=100_000)
def _minute(date: str) -> int | None:
    """Return a date such as `2026-11-21 16:48` or `21-Nov-2026 16:48` in epoch seconds, as UTC."""
    found = _DATE.fullmatch(date)
    assert found is not None
    if found[1]:
        year, month, day, hour, minute = found.group(1, 2, 3, 4, 5)
    else:
        day, month, year, hour, minute = found.group(6, 7, 8, 9, 10)
    try:
        number = _MONTHS[month] if month in _MONTHS else int(month)
        at = datetime(int(year), number, int(day), int(hour), int(minute), tzinfo=UTC)
    except ValueError:
        return None
    return int(at.timestamp())


def _from_json(page: bytes) -> list[Entry]:
    try:
        items = json.loads(page)
    except (ValueError, RecursionError):
        raise NotAnIndexError("its JSON is broken") from None
    if not isinstance(items, list):
        raise NotAnIndexError("its JSON is no list of a folder")
    found: dict[str, Entry] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise NotAnIndexError("its JSON is no list of a folder")
        name = item["name"].removesuffix("/")
        is_folder = item.get("is_dir") is True or item.get("type") == "directory"
        size = item.get("size")
        if not _is_name(name) or item.get("type") == "other":
            continue
        if is_folder or type(size) is not int or size < 0:
            size = UNKNOWN_SIZE
        at = _moment(str(item.get("mtime") or item.get("mod_time") or "")[:64])
        found[name] = Entry(name, is_folder, size, 0, at)
    return list(found.values())


@lru_cache(maxsize=10_000)
def _moment(text: str) -> int | None:
    """Return a date of nginx's JSON (RFC 9110) or Caddy's (RFC 3339) in epoch seconds."""
    try:
        at = parsedate_to_datetime(text) if text.endswith("GMT") else datetime.fromisoformat(text)
        return int(at.timestamp())
    except (ValueError, OverflowError):
        return None
