"""What the verbs of trees share: the hub they ask, and how its answers are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import typer

from commonfarm.lib.terminal import harmless, print_table
from commonfarm.lib.units import counted

AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")
TREE = typer.Argument(metavar="TREE", help="A release tree of the estate.")
RELEASE = typer.Argument(metavar="RELEASE", min=1, help="The number of a release of the tree.")


def hub() -> Any:
    """Return the client of the chosen installation's hub."""
    from commonfarm.http.session import hub as chosen

    return chosen()


def tree_path(tree: str, *parts: str | int) -> str:
    """Return the API's path of a tree, or of something below it."""
    return "/".join(["/archive/trees", quote(tree, safe=""), *map(str, parts)])


def release_path(tree: str, *parts: str | int) -> str:
    """Return the API's path of a tree's releases, or of one and what is below it."""
    return tree_path(tree, "releases", *parts)


def tell(answer: Any, as_json: bool, lines: Callable[[Any], Iterable[str]]) -> None:
    """Print an answer as JSON, or as lines for people."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in lines(answer):
        typer.echo(harmless(line))


def table(columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """Print rows; `columns` maps a heading to the key of the rows."""
    print_table(columns, ([_cell(key, row[key]) for key in columns.values()] for row in rows))


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    return when(value) if key.endswith("_at") else str(value)


def when(text: str) -> str:
    """Show a time of the API as people read it; it is UTC."""
    return text[:16].replace("T", " ")


def content(shown: dict[str, Any]) -> str:
    """Say what a tree or a release holds."""
    from commonfarm.lib.units import format_bytes

    text = f"{counted(shown['files'], 'file')}, {format_bytes(shown['size'])}"
    return text + (f", {counted(shown['aliases'], 'alias')}" if shown["aliases"] else "")


def release_lines(release: dict[str, Any]) -> Iterable[str]:
    """Yield what is to be known of a release, and what would take it further."""
    name = f"{release['tree']} release {release['number']}"
    yield f"{name} is {release['state']}" + (f": {release['title']}" if release["title"] else "")
    what = content(release)
    yield f"  {what}, put by {release['put_by']} at {when(release['put_at'])} UTC"
    if release["why"]:
        yield f"  {release['why']}"
    if release.get("link"):
        yield f"  look at it: {release['link']}"
    if release["address"]:
        yield f"  users get it below {release['address']} with revision {release['revision']}"
    if release["next"]:
        yield f"  next: {release['next']}"


def adoption_lines(tree: dict[str, Any]) -> Iterable[str]:
    """Yield what was found in the folder of an adopted tree, what is wrong first."""
    found, folder = tree["adoption"], tree["adopts"]
    if found["stopped"]:
        yield f"not taken over: {found['stopped']}"
    for one in found["problems"]:
        yield f"{one['path']}: {one['what']}; {one['to_do']}"
    if found["problem_count"] > len(found["problems"]):
        more = found["problem_count"] - len(found["problems"])
        yield f"and {counted(more, 'problem')} more"
    if found["waiting"]:
        yield f"{counted(found['waiting'], 'file')} may still be written: taken once left alone"
    if not found["looks"]:
        yield f"{folder} was not looked at yet: commonfarm tree adopt {tree['name']}"
    else:
        last, then = when(found["looked_at"]), when(found["next_at"])
        yield f"{folder} was looked at {last}, and is again {then} UTC"
    if found["unread"]:
        yield f"{counted(found['unread'], 'file')} to be hashed yet, in the background"
