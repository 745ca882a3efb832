"""What there is, and who gave it: sites, networks, sponsors, pledges, hosts, kinds of host."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address, ip_interface
from itertools import product
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from commonfarm.estate.facts import Period
from commonfarm.estate.resources import CUSTOM
from commonfarm.estate.schema.amounts import Amounts, Length, Ratios, has
from commonfarm.estate.schema.common import (
    NAME,
    Architecture,
    Day,
    Name,
    Named,
    People,
    WebAddress,
    Words,
    matches,
    once,
    own,
    pattern,
    wrong,
)
from commonfarm.lib.hints import hint

MOST_IN_RANGE = 10_000
_NAME = re.compile(NAME)
_RANGE = re.compile(r"\[(\d{1,9}|[a-z]):(\d{1,9}|[a-z])(?::(\d{1,9}))?\]")


def _prefix(text: str) -> str:
    to_do = "write it like 10.5.124.0/24"
    try:
        if "%" in text:
            raise ValueError
        interface = ip_interface(text)
    except ValueError:
        raise wrong(f"{text[:80]!r} is no prefix", to_do) from None
    if "/" not in text:
        raise wrong(f"{text!r} has no length", to_do)
    if interface.ip != interface.network.network_address:
        raise wrong(f"{text!r} is an address in a prefix", f"did you mean `{interface.network}`?")
    return str(interface.network)


def _address(text: str) -> str:
    try:
        if "%" in text:  # the zone of a link, which only one machine knows
            raise ValueError
        return str(ip_address(text))
    except ValueError:
        what = f"{text[:80]!r} is no address"
        raise wrong(what, "write it like 10.5.124.7 or 2001:db8::7") from None


_SSH_KEY = re.compile(
    r"((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com))"
    r" +([A-Za-z0-9+/]{20,3000}={0,2})(?: .*)?"
)


def _ssh_key(text: str) -> str:
    """Return type and key without the comment; the key itself begins with its type (RFC 4253)."""
    match = _SSH_KEY.fullmatch(text.strip())
    if match is not None:
        kind = match[1].encode()
        try:
            begins = b64decode(match[2], validate=True)[: 4 + len(kind)]
        except ValueError:
            begins = b""
        if begins == len(kind).to_bytes(4, "big") + kind:
            return f"{match[1]} {match[2]}"
    what = f"{text[:40]!r} is no public key of an SSH server"
    raise wrong(what, "copy a line of its /etc/ssh/ssh_host_*_key.pub")


@cache
def _known_traits() -> frozenset[str]:
    import os_traits

    return frozenset(os_traits.get_traits())


def _by_last_word(text: str) -> str:
    """Return what is meant where a trait goes by its last word, as flags in /proc/cpuinfo do."""
    ends = [one for one in _known_traits() if one.endswith(f"_{text.upper()}")]
    return f"did you mean `{min(ends, key=lambda one: (len(one), one))}`?" if ends else ""


def _trait(text: str) -> str:
    if text not in _known_traits() and not CUSTOM.fullmatch(text):
        meant = own(text) or _by_last_word(text) or hint(text, _known_traits())
        if not meant.startswith("did"):  # too many to name the first of them
            meant = "see os-traits, or call it CUSTOM_…"
        raise wrong(f"there is no trait `{text[:80]}`", meant)
    return text


Trait = Annotated[str, pattern(r"[A-Z][A-Z0-9_]{1,254}"), AfterValidator(_trait)]
Traits = Annotated[list[Trait], AfterValidator(once)]


class Network(Named):
    """A prefix at a site; `reserved` of its addresses are no machine's."""

    prefix: Annotated[str, AfterValidator(_prefix)]
    reserved: Annotated[int, Field(ge=0, le=2**24)] = 1


class Site(Named):
    """A hosting environment. Its bandwidth and traffic are shared by all of its hosts."""

    title: Words | None = None
    administrators: People = Field(default_factory=list)
    bandwidth: Annotated[int | None, has("bandwidth")] = None
    traffic: Annotated[int | None, has("traffic")] = None
    jump_host: str | None = None
    networks: list[Network] = Field(default_factory=list)


_LOGO = r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}\.(svg|png|jpg|jpeg|webp)"


class Sponsor(Named):
    """Who lends or gives."""

    title: Words | None = None
    url: WebAddress | None = None
    logo: (
        Annotated[
            str,
            pattern(_LOGO),
            matches(_LOGO, "a picture's file name", "write one beside the files, such as x.svg"),
        ]
        | None
    ) = None
    contact: Words | None = None


class Pledge(Named):
    """What a sponsor lends, and for how long."""

    sponsor: str
    what: Words
    start: Day | None = Field(default=None, alias="from")
    until: Day | None = None
    minimum_term: Length = Period(12)
    notice: Length = Period(3)
    notice_given_on: Day | None = None
    terms: Literal["contract", "goodwill"] = "goodwill"
    disclosure: Literal["public", "amount hidden", "anonymous"] = "public"

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        for key, day in (("until", self.until), ("notice_given_on", self.notice_given_on)):
            if day and self.start and day < self.start:
                what = f"`{key}` is {day}, before it begins on {self.start}"
                raise wrong(what, "mend one of the two", key)
        if self.until and self.until == self.start:
            raise wrong(f"it ends on {self.until}, the day it begins", "mend the days", "until")
        if self.until and self.notice_given_on and self.notice_given_on > self.until:
            what = f"notice is given on {self.notice_given_on}, after the end on {self.until}"
            raise wrong(what, "mend one of the two", "notice_given_on")
        return self


def _steps(low: str, high: str, step: str | None) -> Iterator[str]:
    width = len(low) if low.isdigit() and low.startswith("0") else 0
    numbers = low.isdigit()
    first, last = (int(low), int(high)) if numbers else (ord(low), ord(high))
    for number in range(first, last + 1, int(step or 1)):
        yield str(number).zfill(width) if numbers else chr(number)


def _ranges(written: str) -> tuple[list[str], list[tuple[str, str, str | None]], int]:
    """Return what stands around the ranges of a name, the ranges, and how many names these are."""
    fixed = _RANGE.split(written)
    ranges = []
    many = 1
    for low, high, step in zip(fixed[1::4], fixed[2::4], fixed[3::4], strict=True):
        alike = low.isdigit() == high.isdigit()
        if not alike or (low.isdigit() and low[0] == "0" and len(low) != len(high)):
            raise wrong(f"[{low}:{high}] is no range", "write [1:9], [001:100] or [a:f]")
        if step is not None and not int(step):
            raise wrong("a step of 0 leads nowhere", "write 1 or more")
        size = (int(high) - int(low) if low.isdigit() else ord(high) - ord(low)) // int(step or 1)
        if size < 0:
            raise wrong(f"[{low}:{high}] runs backwards", "write the smaller end first")
        many *= size + 1
        if many > MOST_IN_RANGE:
            what = f"{written[:80]!r} are more than {MOST_IN_RANGE} hosts"
            raise wrong(what, "write fewer, or several ranges")
        ranges.append((low, high, step))
    return fixed[::4], ranges, many


def how_many(written: str) -> int:
    """Return how many names `arm-[001:100]` stands for; raise as `expand`."""
    return _ranges(written)[2]


def expand(written: str) -> list[str]:
    """Return the names that `arm-[001:100]` stands for, as in Ansible's inventories.

    Raises a fault in our words where that is no name, or are more than `MOST_IN_RANGE` of them.
    Letters may be a range, and a third part is the step: `[a:f]`, `[0:90:10]`.
    """
    fixed, ranges, _ = _ranges(written)
    return [
        "".join(a + b for a, b in zip(fixed, (*parts, ""), strict=True))
        for parts in product(*(list(_steps(*one)) for one in ranges))
    ]


def _host_name(text: str) -> str:
    for name in expand(text):
        if not _NAME.fullmatch(name):
            to_do = "use up to 63 small letters, digits, and between them hyphens, dots, plus signs"
            raise wrong(f"{name[:80]!r} is not a name", f"{to_do}; a range is [001:100]")
    return text


class Machine(Amounts):
    """What a host and a kind of host have in common; resource classes are keys."""

    name: Name
    architecture: Architecture
    reserved: Amounts = Field(default_factory=Amounts)
    allocation_ratio: Ratios = Field(default_factory=Ratios)
    traits: Traits = Field(default_factory=list)
    virtualisation: bool = False
    bare_metal: bool = False
    console: bool = False
    site: str | None = None
    networks: Annotated[list[str], AfterValidator(once)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _reserves_what_it_has(self) -> Self:
        own = self.amounts()
        for key, amount in self.reserved.amounts().items():
            if amount > own.get(key, 0):
                what = f"more {key} is reserved than there is"
                raise wrong(what, "mend one of the two", "reserved", key)
        return self

    def all_traits(self) -> frozenset[str]:
        """Return its traits, and those that the plain words stand for."""
        said = (("VIRTUALISATION", self.virtualisation), ("BARE_METAL", self.bare_metal))
        flags = {f"CUSTOM_{name}" for name, is_so in (*said, ("CONSOLE", self.console)) if is_so}
        return frozenset({*self.traits, *flags})


class Host(Machine):
    """A machine, physical or virtual; or many alike, by a range in the name."""

    name: Annotated[
        str,
        WithJsonSchema({"type": "string", "minLength": 1}),
        AfterValidator(_host_name),
    ]
    rack: Name | None = None
    address: Annotated[str, AfterValidator(_address)] | None = None
    pledge: str | None = None
    administrators: People = Field(default_factory=list)
    status: Literal["existing", "planned", "needed"] = "existing"
    available_from: Day | None = None
    ssh_host_keys: list[Annotated[str, AfterValidator(_ssh_key)]] = Field(default_factory=list)
    pool: str | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.address and len(self.names()) > 1:
            what = "an address is said for many hosts"
            raise wrong(what, "write that host on its own", "address")
        return self

    def names(self) -> list[str]:
        """Return the names of all hosts that this is."""
        return expand(self.name)


class HostKind(Machine):
    """A kind of host that could be asked for."""

    title: Words | None = None
    cost: Annotated[int, Field(ge=1, le=10**9)]
