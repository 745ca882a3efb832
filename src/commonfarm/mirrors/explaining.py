"""Where a client would be sent and why, on the map in force, by the function that redirects.

Without Django: the command line needs no hub for it. The page asks the same.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError, Problem, Reason, UnreachableError
from commonfarm.lib.hints import hint
from commonfarm.mirrors.countries import country_code
from commonfarm.mirrors.wording import overridden
from commonfarm.redirector import mirror_map
from commonfarm.redirector.client import Client, locate_client
from commonfarm.redirector.counts import Spool
from commonfarm.redirector.mirror_map import Mirror, MirrorMap, Override
from commonfarm.redirector.networks import normal
from commonfarm.redirector.places import Places, PlacesError
from commonfarm.redirector.reasons import left_out
from commonfarm.redirector.selection import Choice, Selector, below

NOBODY = "192.0.2.1"
"""An address that is nobody's (RFC 5737), for a client of whom only the country is told."""
MOST_AS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the map: a file, and who asks for it, as people write that.

    `at` is when, in epoch seconds; `country` and `as_number` count instead of what is known of the
    address.
    """

    path: str
    at: float
    address: str = ""
    country: str = ""
    as_number: int | None = None
    https: bool = False
    for_list: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """Where the client would be sent: the choice with all its reasons, and of which map it is.

    `override` is the operator's word on the client's network, if there is one.
    """

    client: Client
    choice: Choice
    the_map: MirrorMap
    override: Override | None = None

    @property
    def overridden(self) -> str:
        """What the operator's override says, and if the client says otherwise; empty for none."""
        one = self.override
        if one is None:
            return ""
        says = overridden(one.country, one.mirrors, one.origin)
        text = f"by the operator's override clients in {one.network} {says}"
        if one.country in ("", self.client.country):
            return text
        return f"{text}; this one says itself that it is in {self.client.country}"


def explain(
    the_map: MirrorMap, asked: Asked, spent: dict[str, int], places: Places | None = None
) -> Explained:
    """Return where the client would be sent; BadInputError when no such client can be."""
    try:
        address = normal(asked.address or NOBODY)
    except ValueError:
        form = "write one such as 192.0.2.1 or 2001:db8::1"
        raise _bad("--from", f"{asked.address[:60]!r} is not an address", form) from None
    country = country_code(asked.country, "--country") if asked.country else None
    if asked.as_number is not None and not 0 <= asked.as_number <= MOST_AS:
        raise _bad("--as", f"{asked.as_number} is no number of an AS", "write one such as 680")
    selector = Selector(the_map)
    client = locate_client(
        address,
        "https" if asked.https else "http",
        places or Places(),
        selector.overrides,
        country,
        asked.as_number,
    )
    path = asked.path.strip().lstrip("/")
    tree = path.partition("/")[0]
    if tree not in the_map.trees:
        what = f"{tree[:100]!r} is no tree of which anything is published"
        raise _bad("TREE/PATH", what, hint(tree, the_map.trees))
    choice = selector.explain(path, client, asked.at, spent, for_list=asked.for_list)
    found = selector.overrides.find(address)
    return Explained(client, choice, the_map, found[1] if found else None)


def map_in_force(config: Config) -> MirrorMap:
    """Return the map that the redirector of this installation reads; UnreachableError for none."""
    return read_map(config.mirror_map.parent, config.public_keys / "statements.pub")


def read_map(folder: Path, key: Path) -> MirrorMap:
    """Return the map in a folder; UnreachableError when it cannot be used."""
    try:
        return mirror_map.load(folder, mirror_map.read_key(key))
    except (OSError, mirror_map.MapError) as error:
        raise UnreachableError(
            Reason(
                "no-mirror-map",
                f"the mirror map in {folder} cannot be used: {error}",
                "it is written once a tree is published; look at the worker's log",
            )
        ) from None


def places_of(config: Config) -> Places:
    """Return what the redirector of this installation knows of addresses."""
    try:
        return Places(config.places)
    except PlacesError as error:
        reason = Reason("places-unusable", str(error), "replace the file, or take it away")
        raise UnreachableError(reason) from None


def spent_today(config: Config, at: float) -> dict[str, int]:
    """Return the bytes each mirror was sent on the UTC day of `at`, as its redirector noted.

    Nothing to who may not read that: then every budget is shown as it is in the morning.
    """
    spool = Spool(config.counts)
    if not os.access(spool.folder / "spent.json", os.R_OK):
        return {}
    return spool.spent(datetime.fromtimestamp(at, UTC).date().isoformat())


def address_of(mirror: Mirror, base: str, path: str) -> str:
    """Return where the file at `path` (`tree/path`) is on a mirror."""
    return base + quote(below(mirror, path.partition("/")[2]))


def document(explained: Explained) -> dict[str, Any]:
    """Return it as JSON has it: the chosen mirrors, best first, and every other with its reason."""
    choice, client = explained.choice, explained.client
    return {
        "path": choice.path,
        "from": str(client.address),
        "country": client.country,
        "as": client.as_number,
        "scheme": client.scheme,
        "override": _override(explained),
        "generation": explained.the_map.generation,
        "written_at": explained.the_map.written_at,
        "served_by": choice.mirror.name if choice.mirror else "origin",
        "code": str(choice.reason.code),
        "reason": choice.reason.text,
        "lifted_by": choice.reason.lifted_by,
        "mirrors": [
            {
                "mirror": one.mirror.name,
                "country": one.mirror.country,
                "url": address_of(one.mirror, one.base, choice.path),
                "why": one.text,
                "tier": one.tier.text,
                "distance_km": None if one.distance_km is None else round(one.distance_km),
                "share": one.share,
            }
            for one in choice.ranked
        ],
        "left_out": left_out(choice.excluded),
    }


def _override(explained: Explained) -> dict[str, Any] | None:
    if explained.override is None:
        return None
    return asdict(explained.override) | {"text": explained.overridden}


def _bad(option: str, what: str, to_do: str) -> BadInputError:
    return BadInputError(Problem(option, 0, 0, what, to_do))
