"""`tree adopt`: the redirector in front of a folder that something else fills."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import typer

from commonfarm.archive.verbs.hub import AS_JSON, adoption_lines, content, hub, tell, tree_path
from commonfarm.lib.errors import ExitCode, NotFoundError, Reason, RefusedError

AGAIN_SECONDS = 0.5
QUIET_SECONDS = 5.0
MOST_LOOKS = 3


def adopt(
    which: str = typer.Argument(
        metavar="TREE", help="A tree that the estate declares with `adopts`, or its folder."
    ),
    yes: bool = typer.Option(
        False, "--yes", help="That most files are gone, or all, is meant and no unmounted disk."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Put the redirector in front of a folder that something else fills.

    Looks at the folder now, and shows what is there and what is wrong with it. Afterwards it is
    looked at again and again. Ends with 1 when it could not be taken over.
    """
    client = hub()
    name = _declared(client, which)
    before = client.get(tree_path(name))
    if before["adopts"] and not as_json:
        typer.echo(f"{name}: {before['adopts']} is looked at", err=True)
    for _ in range(MOST_LOOKS):
        asked = client.post(tree_path(name, "adopt"), {"loss_is_meant": yes})["asked"]
        found = _wait(client, name, asked)
        look = found["adoption"]
        if not look["waiting"] or look["stopped"] or look["took_seconds"] > QUIET_SECONDS:
            break
        time.sleep(QUIET_SECONDS)  # a file of this moment is quiet after that
    tell(found, as_json, _lines)
    if found["adoption"]["stopped"]:
        raise typer.Exit(ExitCode.NO)


def _lines(tree: dict[str, Any]) -> Any:
    yield from adoption_lines(tree)
    yield f"{tree['name']}: revision {tree['revision']}, {content(tree)}, at {tree['address']}"


def _wait(client: Any, name: str, asked: int) -> dict[str, Any]:
    """Wait until the worker has looked once more, however long the folder takes.

    RefusedError when the estate stops adopting it meanwhile.
    """
    from rich.console import Console

    with Console(stderr=True).status(f"looking at the folder of {name}"):
        while True:
            found: dict[str, Any] = client.get(tree_path(name))
            if found["adoption"] is None:
                raise RefusedError(
                    Reason(
                        "not-adopted",
                        f"the estate stopped adopting a folder as {name} while it was looked at",
                        "declare it with `adopts: /FOLDER` again, if that was not meant",
                    )
                )
            if found["adoption"]["answered"] >= asked:
                return found
            time.sleep(AGAIN_SECONDS)


def _declared(client: Any, which: str) -> str:
    """Return the tree of this name, or that adopts this folder; RefusedError says how to have one.

    A folder is what has a slash in it; a tree's name has none.
    """
    if "/" not in which and which not in (".", ".."):
        trees = {one["name"] for one in client.get("/archive/trees")}
        if which in trees or not Path(which).is_dir():
            return which
    folder = Path(os.path.normpath(Path(which).absolute()))
    real = Path(os.path.realpath(folder))
    if real != folder:
        raise RefusedError(
            Reason(
                "folder-is-a-link",
                f"{folder} is reached by a symlink: it is really {real}",
                f"name {real} itself, if that is what you mean",
            )
        )
    if not folder.is_dir():
        raise NotFoundError(
            Reason("no-such-folder", f"{folder} is no folder here", "name one that is there")
        )
    for one in client.get("/archive/trees"):
        if one["adopts"] == str(folder):
            return str(one["name"])
    name = folder.name.lower() if folder.name.isascii() and folder.name.isalnum() else "downloads"
    raise RefusedError(
        Reason(
            "not-declared",
            f"no tree of the estate adopts {folder}",
            "declare it, and load the estate again (or push it, where it is followed):\n\n"
            f"trees:\n  - name: {name}\n    adopts: {folder}\n",
        )
    )
