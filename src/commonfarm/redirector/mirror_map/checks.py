"""Checks of the values in a mirror map's header: each returns the value, or raises MapError that
names the place (`where`) and what does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_network
from typing import Any, TypeVar

from commonfarm.redirector.mirror_map.model import MapError

MOST_TEXT = 4096

# What RFC 3986 allows, so that an address can stand in any header and any page as it is.
_URL = re.compile(r"https?://[\w.:\[\]%~!$&'()*+,;=-]+/([\w.:%~!$&'()*+,;=@/-]*/)?", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}")
_HEX = re.compile(r"[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

T = TypeVar("T")


def typed(value: Any, kind: type, where: str) -> Any:
    """Check that it is of a kind."""
    if not isinstance(value, kind):
        raise MapError(f"{where} is not a {kind.__name__}")
    return value


def each(value: Any, where: str, read: Callable[[Any, str], T], most: int) -> tuple[T, ...]:
    """Check a list and, by `read`, each of its entries."""
    found = typed(value, list, where)
    if len(found) > most:
        raise MapError(f"{where} has {len(found)} entries, more than {most}")
    return tuple(read(one, f"{where}[{place}]") for place, one in enumerate(found))


def number(value: Any, where: str, below: int = 2**63) -> int:
    """Check a whole number from 0 and below `below`."""
    if type(value) is not int or not 0 <= value < below:
        raise MapError(f"{where} is {_short(value)}, not a number from 0 and below {below}")
    return value


def text(value: Any, where: str, required: bool = False) -> str:
    """Check a line of text that can be shown."""
    found: str = typed(value, str, where)
    if len(found) > MOST_TEXT or not found.isprintable() or (required and not found):
        raise MapError(f"{where} is {_short(value)}, not a line of printable text")
    return found


def line(found: str) -> str:
    """Return it as `text` lets it pass: one line, not too long, blanks for what is not printed."""
    return "".join(one if one.isprintable() else " " for one in found[:MOST_TEXT])


def path(value: Any, where: str, empty: bool = False) -> str:
    """Check a path that leads nowhere but down."""
    found: str = typed(value, str, where)
    if empty and not found:
        return found
    parts = found.split("/")
    if "" in parts or "." in parts or ".." in parts or _CONTROL.search(found):
        raise MapError(f"{where} is {_short(value)}, not a plain path")
    try:
        if len(found.encode()) > MOST_TEXT:
            raise MapError(f"{where} has more than {MOST_TEXT} bytes")
    except UnicodeEncodeError:
        raise MapError(f"{where} is {_short(value)}, which is no text") from None
    return found


def url(value: Any, where: str, scheme: str) -> str:
    """Check an address ending in `/` of a scheme, or that there is none."""
    found: str = typed(value, str, where)
    if found and not (
        found.startswith(f"{scheme}://") and len(found) <= MOST_TEXT and _URL.fullmatch(found)
    ):
        raise MapError(f"{where} is {_short(value)}, not an {scheme} address ending in /")
    return found


def country(value: Any, where: str) -> str:
    """Check a country as ISO 3166 has them, two letters."""
    found: str = typed(value, str, where)
    if _COUNTRY.fullmatch(found) is None:
        raise MapError(f"{where} is {_short(value)}, not two capital letters")
    return found


def degrees(value: Any, where: str, most: float) -> float | None:
    """Check a latitude or longitude, or that it is unknown."""
    if value is None:
        return None
    if type(value) not in (int, float) or not -most <= value <= most:
        raise MapError(f"{where} is {_short(value)}, not between -{most} and {most}")
    return float(value)


def network(value: Any, where: str) -> str:
    """Check a network such as 192.0.2.0/24."""
    found: str = typed(value, str, where)
    try:
        ip_network(found)
    except ValueError:
        raise MapError(f"{where} is {_short(value)}, not a network") from None
    return found


def date(value: Any, where: str) -> str:
    """Check a date of ISO 8601."""
    found: str = typed(value, str, where)
    try:
        datetime.fromisoformat(found)
    except ValueError:
        raise MapError(f"{where} is {_short(value)}, not a date") from None
    return found


def digits(value: Any, where: str, length: int) -> bytes:
    """Check `length` bytes in hexadecimal digits, and return the bytes."""
    found: str = typed(value, str, where)
    if len(found) != 2 * length or _HEX.fullmatch(found) is None:
        raise MapError(f"{where} does not hold {length} bytes in hexadecimal digits")
    return bytes.fromhex(found)


def _short(value: Any) -> str:
    return repr(value)[:80]
