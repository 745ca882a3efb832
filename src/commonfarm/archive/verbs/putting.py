"""`tree put` and `tree promote`: how files get into a release."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import typer

from commonfarm.archive.verbs.hub import (
    AS_JSON,
    TREE,
    hub,
    release_lines,
    release_path,
    tell,
    tree_path,
)
from commonfarm.lib.errors import BadInputError, CommonfarmError, Problem, Reason, RefusedError
from commonfarm.lib.units import counted

AT_ONCE = 4
BATCH = 1000
TOKEN_VARIABLE = "COMMONFARM_TO_TOKEN"  # noqa: S105 - a name


def put(
    tree: str = TREE,
    source: Path = typer.Argument(metavar="PATH", help="A folder, or a single file."),
    at: str = typer.Option("", "--at", metavar="FOLDER", help="Where in the tree it goes."),
    title: str = typer.Option("", help="What it is, for those who look at it."),
    as_json: bool = AS_JSON,
) -> None:
    """Bring files into a new release of TREE: users see nothing of it yet.

    They are copied by their content: what lies at PATH may change afterwards. Symlinks that stay
    inside become aliases. Cut off, call it again: what was brought is not brought twice.
    """
    from commonfarm.archive.releases.application_tree import check_file, check_folder
    from commonfarm.archive.releases.rules import path_problem
    from commonfarm.http.progress import Progress

    source = Path(os.path.normpath(source.absolute()))
    single = source.is_file() and not source.is_symlink()
    listing = check_file(source) if single else check_folder(source)
    root, at = (source.parent if single else source), at.strip("/")
    if at and (problem := path_problem(at)) is not None:
        raise BadInputError(replace(problem, file="--at"))
    prefix = f"{at}/" if at else ""
    client = hub()
    origin = f"{os.uname().nodename}:{source}"[:1000]
    _end_cut_off(client, tree, origin)
    with _opened(client, tree, title, origin) as number:
        path = release_path(tree, number, "content")
        total = sum(listing.files.values())
        with Progress(quiet=as_json, total=total) as progress:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for batch in _batches(sorted(listing.files)):
                    sent = pool.map(lambda one: client.upload(root / one, progress), batch)
                    files = [
                        {"path": prefix + one, "sha256": sha256}
                        for one, (sha256, _) in zip(batch, sent, strict=True)
                    ]
                    client.post(path, {"files": files})
        links = [{"path": prefix + one, "target": text} for one, text in listing.aliases.items()]
        for some in _batches(links):
            client.post(path, {"aliases": some})
        closed = client.post(release_path(tree, number, "close"))
    tell(closed, as_json, release_lines)


@contextmanager
def _opened(client: Any, tree: str, title: str, origin: str) -> Iterator[int]:
    """Open a release; on an error, or when this is ended, nobody is left to wonder about it."""
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        number = int(
            client.post(tree_path(tree, "releases"), {"title": title, "origin": origin})["number"]
        )
        try:
            yield number
        except BaseException as error:
            why = _why(error)
            with suppress(CommonfarmError):
                _give_up(client, tree, number, f"put came to no end: {why}")
            raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _why(error: BaseException) -> str:
    """Say why a put ended, without names of files: the journal is read by who may not know them."""
    if isinstance(error, BadInputError):
        return f"{counted(len(error.problems), 'fault')} in what was put"
    return error.reason.text if isinstance(error, CommonfarmError) else "it was cut off"


def _ended(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _end_cut_off(client: Any, tree: str, origin: str) -> None:
    """Give up what an earlier call of the same left open when it was killed."""
    for row in client.get(release_path(tree), limit=100)["items"]:
        if row["state"] == "open" and row["origin"] == origin:
            with suppress(CommonfarmError):  # another's
                _give_up(client, tree, row["number"], "its put was cut off, and begun again")


def _give_up(client: Any, tree: str, number: int, why: str) -> None:
    said = "".join(letter for letter in why if letter != "\0")[:1000]
    client.post(release_path(tree, number, "give-up"), {"why": said})


def promote(
    tree: str = TREE,
    release: int | None = typer.Argument(
        None, metavar="[RELEASE]", min=1, help="A public release; else all that is public."
    ),
    to: str = typer.Option("", "--to", metavar="TREE", help="Else the one the estate names."),
    to_hub: str = typer.Option(
        "", "--hub", metavar="URL", help="Of another installation: the address of its hub."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Make a release of the next environment's tree of what is public in TREE.

    To another installation the files are brought by this command; an API token of its hub is taken
    from COMMONFARM_TO_TOKEN.
    """
    client = hub()
    if to_hub:
        made = _promote_elsewhere(client, tree, release, to, to_hub, quiet=as_json)
    else:
        made = client.post(tree_path(tree, "promote"), {"release": release, "to": to})
    tell(made, as_json, release_lines)


def _promote_elsewhere(
    client: Any, tree: str, release: int | None, to: str, url: str, *, quiet: bool
) -> dict[str, Any]:
    from commonfarm.agent.errors import BadInputError as BadAddressError
    from commonfarm.agent.hub import checked_url
    from commonfarm.http.client import HubClient
    from commonfarm.http.progress import Progress
    from commonfarm.lib.secret import Secret

    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        what, to_do = "it is not set", f"set it to an API token of the hub at {url}"
        raise BadInputError(Problem(TOKEN_VARIABLE, 0, 0, what, to_do))
    if release is None:
        what, to_do = "no release is named", "name one: `commonfarm tree show TREE` lists them"
        raise BadInputError(Problem("RELEASE", 0, 0, what, to_do))
    try:
        other = HubClient(checked_url(url), Secret(token))
    except (BadAddressError, ValueError) as error:
        raise BadInputError(Problem("--hub", 0, 0, str(error), "")) from None
    found = client.get(release_path(tree, release))
    target = to or client.get(tree_path(tree))["promotes_to"] or tree
    origin = f"{client.url} {tree} release {release}"
    rows = list(client.pages(release_path(tree, release, "files"), limit=500))
    files = [row for row in rows if not row["target"]]
    links = [{"path": row["path"], "target": row["target"]} for row in rows if row["target"]]
    total = sum(row["size"] for row in files)
    _end_cut_off(other, target, origin)
    with _opened(other, target, found["title"], origin) as number:
        path = release_path(target, number, "content")
        with tempfile.TemporaryDirectory(prefix="commonfarm-promote-") as work:
            with Progress(quiet=quiet, total=total) as progress:
                for row in files:
                    here = Path(work) / row["sha256"]
                    asked = urlencode({"path": row["path"]})
                    client.download(f"{release_path(tree, release, 'file')}?{asked}", here)
                    sha256, _ = other.upload(here, progress)
                    here.unlink()
                    _check_same(row, sha256)
                    other.post(path, {"files": [{"path": row["path"], "sha256": sha256}]})
        for some in _batches(links):
            other.post(path, {"aliases": some})
        closed: dict[str, Any] = other.post(release_path(target, number, "close"))
    return closed


def _check_same(row: dict[str, Any], sha256: str) -> None:
    if sha256 != row["sha256"]:
        raise RefusedError(
            Reason("other-bytes", f"{row['path']} came with other bytes than it has", "try again")
        )


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(rows), BATCH):
        yield rows[begin : begin + BATCH]
