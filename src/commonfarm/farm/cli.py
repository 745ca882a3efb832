"""`commonfarm build` and `commonfarm builds`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from commonfarm.lib.errors import ExitCode, NotFoundError, Reason, RefusedError
from commonfarm.lib.hints import hint
from commonfarm.lib.terminal import harmless
from commonfarm.lib.units import parse_bytes

if TYPE_CHECKING:
    from commonfarm.http.client import HubClient

LOOK_SECONDS = 1.0
AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")


class _SubmitByDefault(TyperGroup):
    """`build SOURCE` is short for `build submit SOURCE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["submit", *args]
        return super().parse_args(ctx, args)


app = typer.Typer()
build = typer.Typer(
    cls=_SubmitByDefault,
    help="Build source packages. `build SOURCE` is short for `build submit SOURCE`.",
    no_args_is_help=True,
)
app.add_typer(build, name="build")


def _hub() -> HubClient:
    from commonfarm.http.session import hub

    return hub()


@build.command()
def submit(
    source: str = typer.Argument(help="A package's name, a .dsc, or a directory with debian/."),
    target: list[str] = typer.Option([], "--target", "-t", help="Build for it; may be repeated."),
    project: str = typer.Option("", help="Needed only where there is more than one."),
    feature: list[str] = typer.Option([], help="What the builder must have."),
    memory: str = typer.Option("", metavar="SIZE", help="What the build needs, as `8 GiB`."),
    disk: str = typer.Option("", metavar="SIZE", help="What the build needs, as `20 GiB`."),
    wait: bool = typer.Option(False, "--wait", help="Stay until it is built; exit 1 if it fails."),
    as_json: bool = AS_JSON,
) -> None:
    """Check a source package and have it built."""
    from commonfarm.farm.bringing import find_dsc, upload
    from commonfarm.farm.choosing import choose_targets
    from commonfarm.http.progress import Progress

    needs: dict[str, Any] = {"features": feature}
    for name, text in (("memory_bytes", memory), ("disk_bytes", disk)):
        if text:
            needs[name] = _size(text)
    client = _hub()
    projects = {one["name"]: one for one in _items(client.get("/estate/projects"))}
    chosen = project or _only(projects)
    if chosen not in projects:
        there_is_none = f"there is no project {chosen!r}"
        raise NotFoundError(Reason("no-such-project", there_is_none, hint(chosen, projects)))
    first, *_ = choose_targets(target, chosen, projects[chosen]["targets"])
    targets = {one["name"]: one for one in _items(client.get("/estate/targets"))}
    with tempfile.TemporaryDirectory(prefix="commonfarm-build-") as work:
        dsc = find_dsc(source, targets[first], Path(work))
        with Progress(quiet=as_json) as progress:
            body = upload(client, dsc, progress)
    body |= {"project": chosen, "targets": target, "needs": needs}
    made = client.post("/farm/builds", body)
    if wait:
        made = _wait_for(client, made["id"], quiet=as_json)
    _print(made, as_json, _build_lines)
    if wait and any(job["state"] != "succeeded" for job in made["jobs"]):
        raise typer.Exit(int(ExitCode.NO))


@build.command()
def show(build_id: int = typer.Argument(metavar="BUILD"), as_json: bool = AS_JSON) -> None:
    """Show a build and its jobs."""
    _print(_hub().get(f"/farm/builds/{build_id}"), as_json, _build_lines)


@build.command()
def log(
    job: int,
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on until the job is over."),
) -> None:
    """Print a job's log."""
    client, offset, lease = _hub(), 0, None
    while True:
        part = client.get(f"/farm/jobs/{job}/log", offset=offset)
        if part["lease"] != lease:
            if lease is not None:
                typer.echo(f"--- tried again under lease {part['lease']} ---")
            lease, offset = part["lease"], 0
            part = client.get(f"/farm/jobs/{job}/log", offset=0, lease=lease)
        typer.echo(_for_terminal(part["text"]), nl=False)
        moved, offset = part["next"] > offset, part["next"]
        if moved and not part["complete"]:
            continue
        if not follow or (part["complete"] and _is_over(client, job)):
            return
        time.sleep(LOOK_SECONDS)


@build.command()
def cancel(job: int) -> None:
    """Cancel a job that waits or runs."""
    _print(_hub().post(f"/farm/jobs/{job}/cancel"), False, _job_lines)


@build.command()
def retry(job: int) -> None:
    """Try a job again that failed or was cancelled."""
    _print(_hub().post(f"/farm/jobs/{job}/retry"), False, _job_lines)


@build.command()
def explain(job: int, as_json: bool = AS_JSON) -> None:
    """Say why a job waits."""
    _print(_hub().get(f"/farm/jobs/{job}/explain"), as_json, _explain_lines)


@app.command("builds")
def list_builds(
    lines: int = typer.Option(20, "--lines", "-n", min=1, max=500, help="How many."),
    as_json: bool = AS_JSON,
) -> None:
    """List the newest builds."""
    found = _hub().get("/farm/builds", limit=lines)["items"]
    _print(found, as_json, lambda rows: [_summary(row) for row in rows] or ["no builds yet"])


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _items(answer: Any) -> list[dict[str, Any]]:
    return list(answer["items"] if isinstance(answer, dict) else answer)


def _only(projects: Collection[str]) -> str:
    if len(projects) != 1:
        raise RefusedError(
            Reason(
                "which-project",
                f"there are {len(projects)} projects: {', '.join(projects) or 'none'}",
                "name one with --project" if projects else "load an estate that has one",
            )
        )
    return next(iter(projects))


def _is_over(client: HubClient, job: int) -> bool:
    return client.get(f"/farm/jobs/{job}")["ended_at"] is not None


def _wait_for(client: HubClient, build_id: int, *, quiet: bool) -> dict[str, Any]:
    """Return the build once all its jobs are over, telling each change of their states."""
    told: dict[int, str] = {}
    while True:
        found: dict[str, Any] = client.get(f"/farm/builds/{build_id}")
        for job in found["jobs"]:
            if told.get(job["id"]) != job["state"]:
                told[job["id"]] = job["state"]
                if not quiet:
                    typer.echo(_job_line(job), err=True)
        if all(job["ended_at"] for job in found["jobs"]):
            return found
        time.sleep(LOOK_SECONDS)


def _print(answer: Any, as_json: bool, lines: Any) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for line in lines(answer):
        typer.echo(_for_terminal(line))


def _summary(shown: dict[str, Any]) -> str:
    when = shown["submitted_at"][:16].replace("T", " ")
    targets = ", ".join(job["target"] for job in shown["jobs"])
    return (
        f"{shown['id']:>6}  {when}  {shown['state']:<10} {shown['source']} {shown['version']}"
        f" for {targets} ({shown['submitted_by']})"
    )


def _build_lines(shown: dict[str, Any]) -> list[str]:
    signed = f", signed by {shown['signed_by']}" if shown["signed_by"] else ""
    head = (
        f"build {shown['id']}: {shown['source']} {shown['version']} in {shown['project']},"
        f" by {shown['submitted_by']}{signed}"
    )
    return [head, *(line for job in shown["jobs"] for line in _job_lines(job))]


def _job_line(job: dict[str, Any]) -> str:
    suffix = f" as +b{job['rebuild_suffix']}" if job["rebuild_suffix"] is not None else ""
    why = f": {job['state_reason']}" if job["state_reason"] else ""
    return f"  job {job['id']} for {job['target']}{suffix}: {job['state']}{why}"


def _job_lines(job: dict[str, Any]) -> list[str]:
    results = [f"    {one['verdict']:<10} {one['filename']}" for one in job["results"]]
    return [_job_line(job), *results]


def _explain_lines(shown: dict[str, Any]) -> list[str]:
    why = f": {shown['state_reason']}" if shown["state_reason"] else ""
    lines = [f"job {shown['job']} is {shown['state']}{why}"]
    for reason in shown["reasons"]:
        lines += [f"  {reason['text']}", f"    what would lift it: {reason['lifted_by']}"]
    return lines


def _for_terminal(text: str) -> str:
    """A build may print what drives a terminal; nothing of that reaches one."""
    if not sys.stdout.isatty():
        return text
    return harmless(text, kept="\n\t")
