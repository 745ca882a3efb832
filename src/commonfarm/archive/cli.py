"""`commonfarm archive`: what was built and published, and whether a file is what it seems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from commonfarm.lib.errors import (
    BadInputError,
    NotFoundError,
    Problem,
    Reason,
    RefusedError,
)
from commonfarm.lib.terminal import harmless, print_table

app = typer.Typer()
archive = typer.Typer(
    help="Packages, repositories, and what they were built from.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(archive, name="archive")

AS_JSON = typer.Option(False, "--json", help="Print the API's answer.")


@archive.command()
def verify(
    file: Path = typer.Argument(help="A package, or any other file that was built."),
    provenance: Path | None = typer.Option(
        None, help="Its provenance; else FILE.intoto.jsonl beside it, else what the hub has."
    ),
    key: Path | None = typer.Option(
        None, help="The public key; else the chosen installation's statements.pub."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the verified statement."),
) -> None:
    """Check that FILE was built as its provenance says, and that this farm signed that.

    Needs no hub when the provenance lies beside the file. Ends with 0 when it is verified, 1 when
    it is not, 2 when an input cannot be read, 3 when the hub is needed and away.
    """
    import hashlib

    from commonfarm.archive import provenance as core

    public = public_key(key)
    try:
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        bad(file, f"cannot be read: {error.strerror}", "name a file that you have")
    envelope, where = _envelope(file, provenance, sha256)
    try:
        statement = core.verify(envelope, sha256, public)
    except core.NoProvenanceError as error:
        bad(where, str(error), "bring its provenance again")
    except core.NotVerifiedError as error:
        raise RefusedError(
            Reason("not-verified", f"{file}: {error}", "do not use this file")
        ) from None
    if as_json:
        typer.echo(json.dumps(statement, indent=2))
        return
    _tell_verified(file, sha256, statement)


@archive.command()
def repositories(as_json: bool = AS_JSON) -> None:
    """List the repositories."""
    rows = _hub().get("/archive/repositories")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _table(
        ("name", "tree", "path", "revision", "distributions", "packages"),
        [{**row, "distributions": " ".join(row["distributions"])} for row in rows],
    )


@archive.command()
def publications(
    tree: str | None = typer.Option(None, help="Of this release tree only."),
    limit: int = typer.Option(50, min=1, max=500, help="The newest so many."),
    as_json: bool = AS_JSON,
) -> None:
    """List what was published when, newest first, and why something waits."""
    rows = _hub().get("/archive/publications", tree=tree, limit=limit)["items"]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _table(("tree", "revision", "state", "published_at", "why", "problem"), rows)


@archive.command()
def show(
    what: str = typer.Argument(help="A SHA-256, or a file."),
    as_json: bool = AS_JSON,
) -> None:
    """Show what is known of a file: who built it, and where it is published."""
    import hashlib

    from commonfarm.lib.paths import is_sha256

    sha256 = what
    if not is_sha256(what):
        try:
            with Path(what).open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            bad(what, f"cannot be read: {error.strerror}", "name a file, or a SHA-256 in full")
    rows = list(_hub().pages("/archive/artifacts", sha256=sha256))
    if not rows:
        raise NotFoundError(
            Reason("unknown-file", f"nothing with the SHA-256 {sha256} was built here")
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['filename']}  {row['size']} bytes, SHA-256 {row['sha256']}")
        typer.echo(f"  built by {row['producer']} at {row['created_at']}")
        for path in row["paths"]:
            typer.echo(f"  published as {path}")


def public_key(key: Path | None) -> Any:
    """Return the key in this file, or that of the chosen installation."""
    from commonfarm.archive.provenance import read_key
    from commonfarm.lib.places import find

    file = key if key is not None else find().public_keys / "statements.pub"
    try:
        return read_key(file.read_bytes())
    except OSError as error:
        bad(file, f"cannot be read: {error.strerror}", "give the public key by --key")
    except ValueError:
        bad(file, "is no public key of ed25519 in PEM", "give the farm's statements.pub by --key")


def _envelope(file: Path, given: Path | None, sha256: str) -> tuple[bytes, str]:
    """Return the provenance and where it is from: as told, beside the file, or from the hub."""
    beside = given if given is not None else file.with_name(f"{file.name}.intoto.jsonl")
    try:
        return beside.read_bytes(), str(beside)
    except FileNotFoundError:
        if given is not None:
            bad(given, "cannot be read: there is no such file", "name a file that you have")
    except OSError as error:
        bad(beside, f"cannot be read: {error.strerror}", "name a file that you have")
    hub = _hub()
    for row in hub.pages("/archive/artifacts", sha256=sha256):
        if row["has_provenance"]:
            found = hub.get(f"/archive/artifacts/{row['id']}/provenance")
            return json.dumps(found).encode(), f"the provenance of artifact {row['id']}"
    raise RefusedError(
        Reason(
            "not-verified",
            f"{file}: there is no {beside.name} beside it, and the hub knows no provenance of it",
            "give its provenance by --provenance",
        )
    )


def _tell_verified(file: Path, sha256: str, statement: Mapping[str, Any]) -> None:
    predicate = statement["predicate"]
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    outside = definition["externalParameters"]
    used = definition["resolvedDependencies"]
    roots = [one["digest"]["sha256"] for one in used if one.get("name") == "base root"]
    limits = definition["internalParameters"]["builder_says"].get("limits") or {}
    source = outside["source"]
    typer.echo(f"{file} is verified")
    for name, value in (
        ("SHA-256", sha256),
        ("source", f"{source['name']} {source['version']}"),
        ("target", outside["target"]),
        ("built by", run["builder"]["id"]),
        ("as", run["metadata"]["invocationId"]),
        ("finished", run["metadata"]["finishedOn"]),
        ("root", ", ".join(roots) or "not told"),
        ("limits", ", ".join(f"{one} {by}" for one, by in limits.items()) or "not told"),
    ):
        typer.echo(f"  {name:9} {harmless(str(value))}")


def _hub() -> Any:
    from commonfarm.http.session import hub

    return hub()


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    print_table(columns, ([row[one] for one in columns] for row in rows))


def bad(what: object, wrong: str, to_do: str) -> NoReturn:
    """End because of what was given."""
    raise BadInputError(Problem(str(what), 0, 0, wrong, to_do))
