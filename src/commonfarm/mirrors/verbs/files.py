"""Verbs that work on files alone and need no hub: `mirror explain` and `mirror replay`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import typer

from commonfarm.lib.terminal import harmless

AS_JSON = typer.Option(False, "--json", help="Print it as JSON.")
MAP = typer.Option(None, "--map", help="The folder of another mirror map.")
KEY = typer.Option(None, "--key", help="The key that signed it (PEM).")


def explain(
    path: str = typer.Argument(..., metavar="TREE/PATH"),
    address: str = typer.Option("", "--from", help="The address of the client."),
    country: str = typer.Option("", help="Its country, instead of that of its address."),
    as_number: int | None = typer.Option(None, "--as", help="Its AS, instead of its address's."),
    https: bool = typer.Option(False, "--https", help="The client came by https."),
    at: str | None = typer.Option(None, "--at", help="When, such as 2026-11-21T12:00; else now."),
    for_list: bool = typer.Option(False, "--list", help="As for metalinks and lists of mirrors."),
    map_folder: Path | None = MAP,
    public_key: Path | None = KEY,
    as_json: bool = AS_JSON,
) -> None:
    """Say where a download is sent and why: by the function that redirects, on the map in force.

    Needs no hub. Exit code 1 when no mirror serves the file and it comes from ourselves.
    """
    from commonfarm.lib.places import find
    from commonfarm.mirrors import explaining

    moment = _moment(at)
    spent: dict[str, int] = {}
    places = None
    if map_folder is not None and public_key is not None:
        the_map = explaining.read_map(map_folder, public_key)
    else:
        config = find()
        places = explaining.places_of(config)
        the_map = explaining.read_map(
            map_folder or config.mirror_map.parent,
            public_key or config.public_keys / "statements.pub",
        )
        spent = explaining.spent_today(config, moment)
    asked = explaining.Asked(path, moment, address, country, as_number, https, for_list)
    explained = explaining.explain(the_map, asked, spent, places)
    choice = explained.choice
    if as_json:
        typer.echo(json.dumps(explaining.document(explained), indent=2))
    else:
        served_by = choice.mirror.name if choice.mirror else "ourselves"
        typer.echo(f"{harmless(choice.path)} is served by {served_by}: {choice.reason}")
        if explained.overridden:
            typer.echo(f"  {explained.overridden}")
        for number, one in enumerate(choice.ranked[1:], 2):
            typer.echo(f"  {number}. {one.mirror.name} ({one.mirror.country}): {one.text}")
        for mirror, reason in choice.excluded:
            typer.echo(f"  not {mirror.name} ({mirror.country}): {harmless(str(reason))}")
    if choice.mirror is None:
        raise typer.Exit(1)


def _moment(at: str | None) -> float:
    from commonfarm.lib.errors import BadInputError, Problem

    if at is None:
        return time.time()
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        to_do = "write it as 2026-11-21T12:00, in UTC"
        raise BadInputError(Problem("--at", 0, 0, f"{at[:60]!r} is no time", to_do)) from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def replay(
    access_logs: list[Path] = typer.Argument(
        ...,
        metavar="ACCESS_LOG...",
        help="Of Apache or nginx; .gz is unpacked, - is standard input.",
    ),
    mirrors: Path | None = typer.Option(
        None,
        exists=True,
        dir_okay=False,
        help="Mirrors to imagine, as YAML or JSON: name, country, http or https, budget, …",
    ),
    tree: str = typer.Option("", help="The tree that the logged paths are of, if they name none."),
    prefix: str = typer.Option("/", help="Count only what lies below this path of the server."),
    least: str = typer.Option("4 KiB", help="With --mirrors: what is smaller stays with us."),
    https: bool = typer.Option(False, "--https", help="The clients came by https."),
    places: list[Path] | None = typer.Option(
        None, exists=True, dir_okay=False, help=".mmdb file that tells where addresses are."
    ),
    map_folder: Path | None = MAP,
    public_key: Path | None = KEY,
    as_json: bool = AS_JSON,
) -> None:
    """Say from access logs what mirrors would have carried: requests, bytes, by country and file.

    With --mirrors they are imagined to have every file; without, it goes by the mirror map in
    force. Needs no hub. Addresses are used in memory to find their country, and told nobody.
    """
    from commonfarm.lib.errors import BadInputError, Problem
    from commonfarm.lib.places import find
    from commonfarm.lib.units import parse_bytes
    from commonfarm.mirrors import explaining
    from commonfarm.mirrors.replaying import accesslog, imagined, telling
    from commonfarm.mirrors.replaying.replay import Replay, Settings
    from commonfarm.redirector.places import Places, PlacesError

    try:
        smallest = parse_bytes(least) if mirrors else 0
        known = Places(places or ())
    except PlacesError as error:
        raise BadInputError(Problem("--places", 0, 0, str(error), "")) from None
    except ValueError as error:
        raise BadInputError(Problem("--least", 0, 0, str(error), "")) from None
    if mirrors is not None:
        tree = tree or "files"
        the_map = imagined.load(mirrors, tree)
    elif map_folder is not None and public_key is not None:
        the_map = explaining.read_map(map_folder, public_key)
    else:
        config = find()
        known = known if places else explaining.places_of(config)
        folder = map_folder or config.mirror_map.parent
        the_map = explaining.read_map(folder, public_key or config.public_keys / "statements.pub")
    settings = Settings(tree, prefix, smallest, https, all_held=mirrors is not None)
    found = Replay(the_map, settings, known).take(accesslog.read(access_logs))
    if not found.all.requests:
        what = f"no line of {', '.join(map(str, access_logs[:5]))} is of a format that is known"
        to_do = "log in Apache's or nginx's common or combined format"
        raise BadInputError(Problem("ACCESS_LOG", 0, 0, what, to_do))
    if as_json:
        typer.echo(json.dumps(telling.document(found), indent=2))
    else:
        typer.echo("\n".join(telling.lines(found)))
