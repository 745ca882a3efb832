"""Verbs of the registry: what is registered, by whom, and how it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from commonfarm.lib.terminal import harmless
from commonfarm.mirrors.verbs.hub import AS_JSON, YES, hub, path, table, tell

TEXT = str | None
LIST = list[str] | None
FIELDS: dict[str, Any] = {
    "http": Annotated[TEXT, typer.Option(help="Where users get the tree there by http.")],
    "https": Annotated[TEXT, typer.Option(help="Where users get the tree there by https.")],
    "rsync_url": Annotated[
        TEXT,
        typer.Option("--rsync", help="rsync://HOST/MODULE/PATH/: it is scanned by that, fastest."),
    ],
    "subtree": Annotated[
        TEXT, typer.Option(help="The folder of the tree that it carries; its addresses are there.")
    ],
    "country": Annotated[TEXT, typer.Option(help="Two letters, as in ISO 3166.")],
    "latitude": Annotated[float | None, typer.Option(help="Degrees north.")],
    "longitude": Annotated[float | None, typer.Option(help="Degrees east.")],
    "as_number": Annotated[int | None, typer.Option("--as", help="The AS it is in.")],
    "prefixes": Annotated[
        LIST, typer.Option("--prefix", help="A network that it is the nearest for; may come again.")
    ],
    "only_countries": Annotated[
        LIST, typer.Option("--only-country", help="It serves only clients there; may come again.")
    ],
    "only_networks": Annotated[
        LIST, typer.Option("--only-network", help="It serves only these; may come again.")
    ],
    "weight": Annotated[
        int | None,
        typer.Option(help="Its part beside mirrors as near: 100 is usual. Coordinators."),
    ],
    "budget": Annotated[
        TEXT, typer.Option(help="Most bytes of a UTC day, such as '500 GB', or none.")
    ],
    "sponsor": Annotated[TEXT, typer.Option(help="Who gives it, as shown to users.")],
    "sponsor_url": Annotated[TEXT, typer.Option(help="The sponsor's web address.")],
    "pledge": Annotated[TEXT, typer.Option(help="The pledge of the estate it belongs to.")],
    "push": Annotated[TEXT, typer.Option(help="How it is told to pull: webhook, ssh, or none.")],
    "push_to": Annotated[TEXT, typer.Option(help="The webhook's address, or ssh://USER@HOST.")],
}
"""What is registered of a mirror, by the API's name of each field."""
Logo = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PNG, JPEG, WebP or SVG.")
]
Vouch = Annotated[bool, typer.Option("--vouch", help="Needs no proof of control. Coordinators.")]
Why = Annotated[str, typer.Option(help="Why; it stands in the journal.")]
MOST_NAMED = 10
STATES = ("quarantined", "down", "unproved", "unprobed", "unscanned", "disabled", "up")
_URGENT = {"quarantined": 0, "down": 1, "unproved": 2, "up": 4}
_MOST_LOGO = 1 << 20
_NONE = "no mirrors yet; register one: commonfarm mirror add -h"


def with_fields(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb options for FIELDS in place of its parameter `fields`: all that was given."""
    whole: dict[str, Parameter] = {}
    own = signature(verb, eval_str=True).parameters
    more = {name: kind for name, kind in FIELDS.items() if name not in own}
    for name, one in own.items():
        if name == "fields":
            for field, kind in more.items():
                whole[field] = one.replace(
                    name=field, annotation=kind, default=None, kind=one.KEYWORD_ONLY
                )
        else:
            whole[name] = one.replace(kind=one.KEYWORD_ONLY)

    def called(**given: Any) -> None:
        fields = {name: given.pop(name) for name in more}
        verb(**given, fields=_fields(**fields))

    called.__name__, called.__doc__ = verb.__name__, verb.__doc__
    called.__annotations__ = {name: one.annotation for name, one in whole.items()}
    vars(called)["__signature__"] = Signature(list(whole.values()))
    return called


@with_fields
def add(
    name: str,
    tree: Annotated[str, typer.Option(help="The release tree that it carries.")],
    country: Annotated[str, typer.Option(help="Where it is: two letters, as in ISO 3166.")],
    fields: dict[str, Any],
    logo: Logo = None,
    vouch: Vouch = False,
    as_json: bool = AS_JSON,
) -> None:
    """Register a mirror: nobody is sent there before you have shown that you run it.

    You show that by a file at each of its addresses; what to write into it is printed.
    """
    new = {"name": name, "tree": tree, "country": country, "vouch": vouch, **fields}
    shown = hub().post("/mirrors", new)
    # Before its logo, which may be refused: the mirror is registered then.
    tell(shown, f"{name} is registered\n{_proof(shown)}".rstrip(), as_json)
    _show_logo(name, logo)


@with_fields
def edit(
    name: str,
    fields: dict[str, Any],
    administrator: Annotated[
        list[str] | None,
        typer.Option("--administrator", help="Who runs it, instead of those before."),
    ] = None,
    logo: Logo = None,
    vouch: Vouch = False,
    as_json: bool = AS_JSON,
) -> None:
    """Change what is registered of a mirror; "" empties a field. New addresses take a new proof."""
    if administrator is not None:
        fields["administrators"] = [one for one in administrator if one]
    if not fields and not vouch and logo is None:
        to_do = "give the options that change; `commonfarm mirror edit -h` lists them"
        raise _bad("edit", "nothing is to be changed", to_do)
    shown = hub().patch(path(name), {"vouch": vouch, **fields})
    tell(shown, f"{name} is changed\n{_proof(shown)}".rstrip(), as_json)
    _show_logo(name, logo)


def _show_logo(name: str, logo: Path | None) -> None:
    if logo is not None:
        with logo.open("rb") as file:
            hub().put_bytes(f"{path(name)}/logo", file.read(_MOST_LOGO))


def enable(name: str, why: Why = "", as_json: bool = AS_JSON) -> None:
    """Let clients be sent to a mirror again."""
    shown = hub().patch(path(name), {"enabled": True, "why": why})
    tell(shown, f"{name} is enabled; it is {shown['state']}", as_json)


def disable(name: str, why: Why = "", as_json: bool = AS_JSON) -> None:
    """Send nobody to a mirror until it is enabled."""
    shown = hub().patch(path(name), {"enabled": False, "why": why})
    tell(shown, f"{name} is disabled", as_json)


def remove(name: str, yes: bool = YES) -> None:
    """Take a mirror from the registry; its history stays."""
    client = hub()
    shown = client.get(path(name))
    if not yes:
        where = " and ".join(_addresses(shown))
        typer.confirm(f"Remove the mirror {name} at {where}?", abort=True)
    client.delete(path(name))
    typer.echo(f"{name} is removed")


def scan(name: str, as_json: bool = AS_JSON) -> None:
    """Have a mirror scanned now; `mirror show` tells when that is done."""
    tell(hub().post(f"{path(name)}/scan"), f"{name} will be scanned", as_json)


def probe(name: str, as_json: bool = AS_JSON) -> None:
    """Have a mirror probed now, by each scheme and address family."""
    tell(hub().post(f"{path(name)}/probe"), f"{name} will be probed", as_json)


def audit(name: str, as_json: bool = AS_JSON) -> None:
    """Have bytes of a mirror compared with our hashes now."""
    tell(hub().post(f"{path(name)}/audit"), f"{name} will be audited", as_json)


def prove(name: str, as_json: bool = AS_JSON) -> None:
    """Have the file that shows control of a mirror looked for now."""
    shown = hub().post(f"{path(name)}/prove")
    found = f"`commonfarm mirror show {name}` tells in a moment what was found"
    needed = shown["details"]["proof"]
    tell(shown, f"the file is looked for; {found}" if needed else f"{name} is proved", as_json)


def vouch(name: str, why: Why = "", as_json: bool = AS_JSON) -> None:
    """Say that a mirror is run by who registered it, so that it needs no proof. Coordinators."""
    shown = hub().post(f"{path(name)}/vouch", {"why": why})
    tell(shown, f"{name} is vouched for; it is {shown['state']}", as_json)


def lift_quarantine(
    name: str,
    why: str = typer.Option(..., help="What was found; it stands in the journal."),
    as_json: bool = AS_JSON,
) -> None:
    """Let clients be sent to a mirror again that served other bytes than ours. Coordinators."""
    shown = hub().post(f"{path(name)}/lift-quarantine", {"why": why})
    tell(shown, f"{name} is out of quarantine; it is {shown['state']}", as_json)


def list_mirrors(
    tree: str | None = typer.Option(None, help="Those of one tree."),
    country: str | None = typer.Option(None, help="Those in one country."),
    state: str | None = typer.Option(None, help=f"Those that are so: {', '.join(STATES)}."),
    mine: bool = typer.Option(False, "--mine", help="Those that you run."),
    as_json: bool = AS_JSON,
) -> None:
    """List the mirrors: those that need a person first, then by country."""
    if state is not None and state not in STATES:
        from commonfarm.lib.hints import hint

        raise _bad("--state", f"{state[:40]!r} is no state of a mirror", hint(state, STATES))
    asked = {"tree": tree, "country": country, "mine": mine or None, "limit": 500}
    rows = list(hub().pages("/mirrors", **asked))
    if state:
        rows = [row for row in rows if row["state"] == state]
    rows.sort(key=lambda row: (_URGENT.get(row["state"], 3), row["country"], row["name"]))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table(
        ("mirror", "state", "country", "tree", "files", "why"),
        [
            (
                row["name"],
                row["state"],
                row["country"],
                row["tree"] + (f"/{row['subtree']}" if row["subtree"] else ""),
                _files(row),
                _why(row),
            )
            for row in rows
        ],
        "no such mirror" if any((tree, country, state, mine)) else _NONE,
    )
    up = sum(row["state"] == "up" for row in rows)
    typer.echo(f"{len(rows)} mirror{'s' * (len(rows) != 1)}, {up} up")


def show(name: str, as_json: bool = AS_JSON) -> None:
    """Show one mirror: what is registered, how it answers, what its last scan found."""
    found = hub().get(path(name))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    details = found["details"] or {}
    last = details.get("last_scan") or {}
    lines = {
        "addresses": ", ".join(_addresses(found)),
        "state": found["state"],
        "why": _why(found),
        "lifted by": (details.get("why") or {}).get("lifted_by", ""),
        "tree": found["tree"] + (f"/{found['subtree']}" if found["subtree"] else ""),
        "country": found["country"],
        "but": details.get("country_problem", ""),
        "sponsor": found["sponsor"],
        "run by": ", ".join(details.get("administrators", [])),
        "answers by": ", ".join(details.get("answers", [])),
        "weight": str(details.get("weight", "")),
        "budget": _size(details.get("budget_bytes")),
        "push": " to ".join(filter(None, (details.get("push"), details.get("push_to")))),
        "last scan": _time(last.get("finished_at")) or ("never" if details else ""),
        "files": f"{files}, of revision {last['revision']}" if (files := _files(found)) else "",
        "problem": last.get("problem", ""),
        "missing": _missing(last),
    }
    for key, value in lines.items():
        if value:
            typer.echo(f"{key + ':':<12}{harmless(value)}")
    if proof := _proof(found):
        typer.echo(harmless(proof, "\n"))


def _fields(**given: Any) -> dict[str, Any]:
    """Return what was given, as the API takes it; an empty text empties a list."""
    from commonfarm.lib.units import parse_bytes

    found = {key: value for key, value in given.items() if value is not None}
    for key, value in found.items():
        if isinstance(value, list):
            found[key] = [one for one in value if one]
    if found.get("push") == "none":
        found["push"] = ""
    if (budget := found.pop("budget", None)) is not None:
        try:
            found["budget_bytes"] = 0 if budget in ("", "none") else parse_bytes(budget)
        except ValueError as error:
            raise _bad("--budget", str(error), "") from None
    return found


def _bad(option: str, what: str, to_do: str) -> Exception:
    from commonfarm.lib.errors import BadInputError, Problem

    return BadInputError(Problem(option, 0, 0, what, to_do))


def _proof(row: dict[str, Any]) -> str:
    """Say what would show control of a mirror, nothing where it is shown."""
    proof = (row["details"] or {}).get("proof")
    if not proof:
        return ""
    problem = row["details"]["proof_problem"]
    lines = [f"Show that you run it: put the line {proof['token']} into"]
    lines += [f"  {address}" for address in proof["addresses"]]
    return "\n".join([*lines, *([f"Not there yet: {problem}"] if problem else [])])


def _addresses(row: dict[str, Any]) -> list[str]:
    return [row[key] for key in ("https", "http", "rsync_url") if row[key]]


def _files(row: dict[str, Any]) -> str:
    last = (row["details"] or {}).get("last_scan")
    if not last or not last["files_expected"]:
        return ""
    return f"{last['files_found']} of {last['files_expected']}"


def _missing(last: dict[str, Any]) -> str:
    """Name the first files that the last scan missed, and say how many there are besides."""
    named = last.get("missing", [])[:MOST_NAMED]
    more = last["files_expected"] - last["files_found"] - len(named) if named else 0
    return ", ".join(named) + (f", and {more} more" if more > 0 else "")


def _time(text: str | None) -> str:
    return f"{text[:16].replace('T', ' ')} UTC" if text else ""


def _why(row: dict[str, Any]) -> str:
    return str(((row["details"] or {}).get("why") or {}).get("text", ""))


def _size(size: int | None) -> str:
    from commonfarm.mirrors.wording import exact

    return f"{exact(size)} a day" if size else ""
