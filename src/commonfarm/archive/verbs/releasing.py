"""`tree review`, `publish`, `withdraw`, `rollback`: what takes a release further, or back."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer

from commonfarm.archive.verbs.hub import (
    AS_JSON,
    RELEASE,
    TREE,
    hub,
    release_lines,
    release_path,
    tell,
    tree_path,
)
from commonfarm.lib.errors import ExitCode
from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import counted

AGAIN_SECONDS = 0.5


def review(
    tree: str = TREE,
    release: int = RELEASE,
    reject: bool = typer.Option(False, "--reject", help="It may not be published; say --why."),
    why: str = typer.Option("", help="Why."),
    as_json: bool = AS_JSON,
) -> None:
    """Say that a release may be published, or reject it."""
    body = {"ok": not reject, "why": why}
    tell(hub().post(release_path(tree, release, "review"), body), as_json, release_lines)


def publish(
    tree: str = TREE,
    release: int = RELEASE,
    at: str = typer.Option(
        "", "--at", metavar="TIME", help="Under embargo until then: 2026-01-31T12:00 in UTC."
    ),
    wait: bool = typer.Option(False, "--wait", help="Until it is public, or why it is not."),
    as_json: bool = AS_JSON,
) -> None:
    """Make a reviewed release public, now or at a time.

    Under embargo nobody sees it; registered mirrors may fetch it before, so that they have it when
    it becomes public. With --wait it ends with 1 when the release was held back.
    """
    client = hub()
    visible_from = _time(at).isoformat() if at else None
    found = client.post(release_path(tree, release, "publish"), {"visible_from": visible_from})
    if wait:
        found = _until_public(client, tree, found)
    tell(found, as_json, release_lines)
    if wait and not at and found["state"] != "public":
        raise typer.Exit(ExitCode.NO)


def _until_public(client: Any, tree: str, found: dict[str, Any]) -> dict[str, Any]:
    """Wait while a release is on its way, and say what keeps it if something does."""
    from rich.console import Console

    told, path = "", release_path(tree, found["number"])
    with Console(stderr=True).status(f"publishing {tree} release {found['number']}"):
        while found["revision"] is not None and found["state"] != "public":
            time.sleep(AGAIN_SECONDS)
            problem = client.get(tree_path(tree))["problem"]
            if problem and problem != told:
                typer.echo(harmless(f"it waits: {problem}"), err=True)
                told = problem
            found = client.get(path)
    return found


def withdraw(
    tree: str = TREE,
    release: int = RELEASE,
    why: str = typer.Option(..., help="Why; it is told in the tree's history."),
    at_once: bool = typer.Option(
        False, "--at-once", help="Without the grace period: downloads under way break."
    ),
    yes: bool = typer.Option(False, "--yes", help="Do not ask whether to do it."),
    as_json: bool = AS_JSON,
) -> None:
    """Take a release back: what it brought is listed no more, and gone after the grace period."""
    client = hub()
    if not yes:
        found = client.get(release_path(tree, release))
        when = "gone at once" if at_once else "gone after the tree's grace period"
        if found["state"] == "embargoed":
            when = "which users have not seen yet"
        what = f"{counted(found['files'], 'file')} of {tree} release {release}"
        typer.confirm(f"Take back {what}, {when}?", abort=True)
    body = {"why": why, "at_once": at_once}
    tell(client.post(release_path(tree, release, "withdraw"), body), as_json, release_lines)


def rollback(
    tree: str = TREE,
    revision: int = typer.Argument(metavar="REVISION", min=1, help="`tree history` lists them."),
    why: str = typer.Option(..., help="Why; it is told in the tree's history."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask whether to do it."),
    as_json: bool = AS_JSON,
) -> None:
    """Publish a new revision with the files that an earlier one had."""
    client = hub()
    if not yes:
        now = client.get(tree_path(tree))["revision"]
        changes = client.get(tree_path(tree, "diff"), old=now, new=revision)
        typer.confirm(
            f"Go back from revision {now} of {tree} to {revision}:"
            f" {counted(changes['gone'], 'file')} to leave, {changes['new']} to come back?",
            abort=True,
        )
    made = client.post(tree_path(tree, "rollback"), {"revision": revision, "why": why})
    tell(made, as_json, _publication)


def link(tree: str = TREE, release: int = RELEASE, as_json: bool = AS_JSON) -> None:
    """Make a new address where a release can be looked at; the one before leads nowhere."""
    tell(hub().post(release_path(tree, release, "link")), as_json, release_lines)


def _publication(made: dict[str, Any]) -> Iterable[str]:
    yield f"{made['tree']} revision {made['revision']} is {made['state']}"


def _time(text: str) -> datetime:
    from commonfarm.lib.errors import BadInputError, Problem

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        what, to_do = f"{text[:40]!r} is no time", "write it as 2026-01-31T12:00, in UTC"
        raise BadInputError(Problem("--at", 0, 0, what, to_do)) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
