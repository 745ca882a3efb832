"""Lists of mirrors for people and programs: page, text, JSON, and what apt reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from commonfarm.redirector.client import Client
from commonfarm.redirector.mirror_map import Mirror
from commonfarm.redirector.reasons import Reason, left_out
from commonfarm.redirector.selection import Ranked

TEXT, PAGE, JSON = "text/plain", "text/html", "application/json"
LAST_PRIORITY = 99
"""Of ourselves in apt's list: after every mirror."""


@dataclass(frozen=True, slots=True)
class Place:
    """A mirror, the address of the file or folder there, and what made it near, where known."""

    mirror: Mirror
    url: str
    near: Ranked | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Where a file or a folder is to be had by one client, and where not.

    `places` stand with the best first; `ours` is our own address of it, "" when nobody can tell.
    `from_us` means that we serve it ourselves whatever is listed.
    """

    path: str
    client: Client
    places: Sequence[Place]
    left_out: Sequence[tuple[Mirror, Reason]]
    reason: Reason
    ours: str
    from_us: bool
    size: int | None = None
    sha256: str = ""


def as_text(listing: Listing) -> str:
    """Return one address a line, as dnf and zypper read it; the rest are comments."""
    lines = [f"# {_line(listing.path)} for a client {_where(listing.client)}: {listing.reason}"]
    lines += [place.url for place in listing.places]
    if listing.ours:
        lines.append(listing.ours)
    lines += [
        f"# {_line(mirror.name)} ({mirror.country}) is left out: {_line(str(reason))}"
        for mirror, reason in listing.left_out
    ]
    return "\n".join(lines) + "\n"


def as_apt(listing: Listing) -> str:
    """Return what apt's `mirror+http` reads (apt-transport-mirror(1), since apt 1.6).

    Indices come from us first, so that `InRelease` and what it names are of one state; packages
    from mirrors in our order, since lines of one priority would be taken at random; and all of it
    from us where no mirror answers.
    """
    lines = [f"# {_line(listing.path)} for a client {_where(listing.client)}"]
    if listing.ours:
        lines.append(f"{listing.ours}\tpriority:1 type:index")
    lines += [
        f"{place.url}\tpriority:{min(number, LAST_PRIORITY - 1)}"
        for number, place in enumerate(listing.places, 2)
    ]
    if listing.ours:
        lines.append(f"{listing.ours}\tpriority:{LAST_PRIORITY}")
    return "\n".join(lines) + "\n"


def as_json(listing: Listing) -> str:
    """Return all of it for programs."""
    client = listing.client
    first = None if listing.from_us or not listing.places else listing.places[0].mirror.name
    document: dict[str, Any] = {
        "path": listing.path,
        "country": client.country,
        "as_number": client.as_number or None,
        "size": listing.size,
        "sha256": listing.sha256 or None,
        "served_by": first or "origin",
        "code": str(listing.reason.code),
        "reason": str(listing.reason),
        "origin": listing.ours or None,
        "mirrors": [
            {
                "mirror": place.mirror.name,
                "country": place.mirror.country,
                "sponsor": place.mirror.sponsor,
                "url": place.url,
                **_nearness(place.near),
            }
            for place in listing.places
        ],
        "left_out": left_out(listing.left_out),
    }
    return json.dumps(document, indent=2) + "\n"


def _nearness(near: Ranked | None) -> dict[str, Any]:
    if near is None:
        return {}
    km = near.distance_km
    return {
        "why": near.tier.name.lower(),
        "distance_km": None if km is None else round(km),
        "share": near.share,
    }


_STYLE = """\
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.25rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th { text-align: left; white-space: nowrap }
td, th { padding: .35rem .6rem .35rem 0; vertical-align: top; border-bottom: 1px solid #8886;
  overflow-wrap: anywhere }
td.number { overflow-wrap: normal }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem }
dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 40rem) {
  thead { position: absolute; left: -100vw }
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid #8886 }
  td { display: block; border: 0; padding: 0 }
}
"""


def as_page(listing: Listing) -> str:
    """Return a page that needs nothing else, and is read on a phone as well."""
    name = escape(listing.path)
    rows = [
        f'<tr><td class="number">{number}</td>'
        f'<td><a href="{escape(place.url)}">{escape(place.mirror.name)}</a>'
        f"{_sponsor(place.mirror)}</td><td>{escape(place.mirror.country)}</td>"
        f"<td>{escape(place.near.text) if place.near else ''}</td></tr>"
        for number, place in enumerate(listing.places, 1)
    ]
    others = [
        f"<tr><td>{escape(mirror.name)}{_sponsor(mirror)}</td><td>{escape(mirror.country)}</td>"
        f"<td>{escape(reason.text)}</td><td>{escape(reason.lifted_by)}</td></tr>"
        for mirror, reason in listing.left_out
    ]
    facts = [
        ("You", _you(listing.client)),
        ("Sent to", escape(str(listing.reason))),
    ]
    if listing.size is not None:
        facts.append(("Size", f"{listing.size:,} bytes"))
        facts.append(("SHA-256", listing.sha256 or "unknown"))
    if listing.ours:
        facts.append(("From us", f'<a href="{escape(listing.ours)}">{escape(listing.ours)}</a>'))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Mirrors of {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Mirrors of {name}</h1>",
        "<dl>" + "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts) + "</dl>",
        "<h2>Mirrors that may serve it to you, the best first</h2>",
        _table(("", "Mirror", "Country", "Why it stands here"), rows, "There are none."),
        "<h2>Mirrors that are left out</h2>",
        _table(("Mirror", "Country", "Why", "What would lift it"), others, "There are none."),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(names: Sequence[str], rows: Sequence[str], without: str) -> str:
    if not rows:
        return f"<p>{without}</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    )


def _sponsor(mirror: Mirror) -> str:
    return f"<br><small>{escape(mirror.sponsor)}</small>" if mirror.sponsor else ""


def _you(client: Client) -> str:
    number = f", AS {client.as_number}" if client.as_number else ""
    return escape(f"{_where(client)}{number}, by {client.scheme} and IPv{client.address.version}")


def _where(client: Client) -> str:
    return "somewhere unknown" if client.country == "ZZ" else f"in {client.country}"


def _line(text: str) -> str:
    """Return `text` as a part of one line, whatever stands in it."""
    return " ".join(text.split())
