"""`commonfarm estate follow`: the hub loads each commit of a branch from now on."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from commonfarm.estate.verbs.options import AS_JSON
from commonfarm.lib.errors import BadInputError, ExitCode, Problem, Reason, UnreachableError

WAIT_SECONDS = 150
URL = typer.Argument(
    None, metavar="URL", help="https://…, ssh://… or file:///…; without it: what is followed now."
)
BRANCH = typer.Option("main", "--branch", help="Which branch; protect it, it is in force at once.")
FOLDER = typer.Option("", "--folder", metavar="PATH", help="The folder of the YAML files in it.")
STOP = typer.Option(False, "--stop", help="Follow nothing any more; the estate stays as it is.")


def follow(
    url: str = URL,
    branch: str = BRANCH,
    folder: str = FOLDER,
    stop: bool = STOP,
    as_json: bool = AS_JSON,
) -> None:
    """Have the hub load each new commit of a branch, now and from now on."""
    from commonfarm.http.session import hub

    if stop and url:
        what, to_do = "stands beside --stop", "give one of them"
        raise BadInputError(Problem(url, 0, 0, what, to_do))
    client = hub()
    if stop:
        client.delete("/estate/following")
        typer.echo("null" if as_json else "the estate follows nothing any more")
        return
    if url:
        asked = {"url": url, "branch": branch, "folder": folder.strip("/")}
        found = _settled(client, client.post("/estate/following", asked))
    else:
        found = client.get("/estate/following")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in lines(found):
            typer.echo(line)
    if found["problem"]:
        raise typer.Exit(ExitCode.UNREACHABLE)
    if found["refused"]:
        raise typer.Exit(ExitCode.BAD_INPUT)


def followed(client: Any) -> dict[str, Any] | None:
    """Return what the hub says of the repository that it follows, None where it follows none."""
    from commonfarm.lib.errors import NotFoundError

    try:
        return dict(client.get("/estate/following"))
    except NotFoundError:
        return None


def lines(found: dict[str, Any]) -> list[str]:
    """Return what the hub says of a repository that is followed, a line each."""
    inside = f", folder {found['folder']}" if found["folder"] else ""
    told = [f"follows {found['url']}, branch {found['branch']}{inside}"]
    if found["problem"]:
        told.append(f"it cannot be read: {_reason(found['problem'])}")
        told.append("it is tried again, each minute at first")
    if found["refused"]:
        refused = found["refused"]
        told.append(f"commit {refused['commit'][:12]} ({refused['title']}) is not loaded:")
        told += [f"  {Problem(**one)}" for one in refused["problems"]]
    if found["tip"]:
        told.append(f"commit {found['tip'][:12]} is in force")
    return told


def _reason(problem: dict[str, str]) -> str:
    return str(Reason(problem["code"], problem["text"], problem["lifted_by"]))


def _settled(client: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Wait until the worker has looked at what is followed, and return what it found."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found["problem"] or found["refused"] or found["tip"]):
        if time.monotonic() > deadline:
            text = f"the worker did not look at it in {WAIT_SECONDS} seconds"
            to_do = "it goes on; look at `commonfarm status`, and ask `commonfarm estate follow`"
            raise UnreachableError(Reason("still-fetching", text, to_do))
        time.sleep(0.5)
        found = client.get("/estate/following")
    return found
