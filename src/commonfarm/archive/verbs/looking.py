"""`tree list`, `show`, `diff`, `history`: what is in a tree, and how it came to be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer

from commonfarm.archive.verbs.hub import (
    AS_JSON,
    TREE,
    adoption_lines,
    content,
    hub,
    release_lines,
    release_path,
    table,
    tell,
    tree_path,
    when,
)
from commonfarm.lib.units import counted


def list_trees(as_json: bool = AS_JSON) -> None:
    """List the release trees."""
    from commonfarm.lib.units import format_bytes

    rows = hub().get("/archive/trees")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo("The estate declares no release tree: `trees:` in its YAML")
        return
    columns = ("name", "environment", "revision", "published_at", "files", "size", "waiting")
    table(
        {key.removesuffix("_at"): key for key in columns},
        [{**row, "size": format_bytes(row["size"])} for row in rows],
    )


def show(
    tree: str = TREE,
    release: int | None = typer.Argument(None, metavar="[RELEASE]", min=1),
    as_json: bool = AS_JSON,
) -> None:
    """Show a tree with the releases that wait, or one release."""
    client = hub()
    if release is not None:
        tell(client.get(release_path(tree, release)), as_json, release_lines)
        return
    found = client.get(tree_path(tree))
    found["releases"] = client.get(tree_path(tree, "releases"), limit=20)["items"]
    tell(found, as_json, _tree_lines)


def diff(
    tree: str = TREE,
    old: int | None = typer.Argument(None, metavar="[OLD]", min=0, help="A revision."),
    new: int | None = typer.Argument(None, metavar="[NEW]", min=0, help="A revision."),
    release: int | None = typer.Option(None, "--release", min=1, help="What it would change."),
    other: str = typer.Option("", "--tree", metavar="TREE", help="Compare with this tree."),
    as_json: bool = AS_JSON,
) -> None:
    """Say what is new, gone and changed: in the newest revision, or between two things."""
    asked = {"old": old, "new": new, "release": release, "tree": other or None}
    tell(hub().get(tree_path(tree, "diff"), **asked), as_json, _diff_lines)


def history(
    tree: str = TREE,
    limit: int = typer.Option(30, min=1, max=500, help="The newest so many."),
    as_json: bool = AS_JSON,
) -> None:
    """List a tree's revisions, newest first: when, why, and what keeps one from being public."""
    rows = hub().get("/archive/publications", tree=tree, limit=limit)["items"]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo(f"nothing was published in {tree} yet")
        return
    names = ("revision", "state", "published_at", "why", "problem")
    table({key.removesuffix("_at"): key for key in names}, rows)


def _tree_lines(tree: dict[str, Any]) -> Iterable[str]:
    """Yield what waits for whom, and then what users see."""
    from commonfarm.lib.units import format_seconds

    told = [release for release in tree["releases"] if release["next"]]
    for release in told:
        title = f" ({release['title']})" if release["title"] else ""
        yield f"release {release['number']}{title}: {release['next']}"
    if tree["waiting"] > len(told):
        yield f"{counted(tree['waiting'] - len(told), 'release')} more to become public"
    if tree["problem"]:
        yield f"the next revision waits: {tree['problem']}"
    if tree["adoption"]:
        yield from adoption_lines(tree)
    since = f", public since {when(tree['published_at'])} UTC" if tree["published_at"] else ""
    yield f"{tree['name']}: revision {tree['revision']}{since}"
    yield f"  {content(tree)}, at {tree['address']}"
    alone = tree["origin_only_seconds"]
    if not tree["adopts"]:
        new = (
            f"for {format_seconds(alone)} only from ourselves" if alone else "from mirrors at once"
        )
        to = f"; promoted to {tree['promotes_to']}" if tree["promotes_to"] else ""
        yield f"  review: {tree['review']}; new files {new}{to}"


def _diff_lines(changes: dict[str, Any]) -> Iterable[str]:
    yield f"{changes['new']} new, {changes['changed']} changed, {changes['gone']} gone"
    for mark, key in (("+", "new_paths"), ("~", "changed_paths"), ("-", "gone_paths")):
        for path in changes[key]:
            yield f"  {mark} {path}"
    for one in changes["aliases"]:
        yield f"  {one['path']} stands for {one['new'] or 'nothing'}, was {one['old'] or 'nothing'}"
    if changes["not_told"]:
        yield f"  and {changes['not_told']} more"
