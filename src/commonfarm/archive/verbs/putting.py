"""`tree put` and `tree promote`: how files get into a release."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    inside become aliases.
    """
    from commonfarm.archive.releases.application_tree import check_file, check_folder
    from commonfarm.http.progress import Progress

    source = source.absolute()
    single = source.is_file() and not source.is_symlink()
    listing = check_file(source) if single else check_folder(source)
    root, prefix = (source.parent if single else source), f"{at.strip('/')}/" if at else ""
    client = hub()
    body = {"title": title, "origin": f"{os.uname().nodename}:{source}"[:1000]}
    made = client.post(tree_path(tree, "releases"), body)
    path = release_path(tree, made["number"], "content")
    paths = sorted(listing.files)
    with Progress(quiet=as_json, total=sum(listing.files.values())) as progress:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for batch in _batches(paths):
                sent = pool.map(lambda one: client.upload(root / one, progress), batch)
                files = [
                    {"path": prefix + one, "sha256": sha256}
                    for one, (sha256, _) in zip(batch, sent, strict=True)
                ]
                client.post(path, {"files": files})
    aliases = [{"path": prefix + one, "target": text} for one, text in listing.aliases.items()]
    for some in _batches(aliases):
        client.post(path, {"aliases": some})
    closed = client.post(release_path(tree, made["number"], "close"))
    tell(closed, as_json, release_lines)


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
    from commonfarm.agent.hub import checked_url
    from commonfarm.http.client import HubClient
    from commonfarm.http.progress import Progress
    from commonfarm.lib.errors import BadInputError, Problem
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
    except ValueError as error:
        raise BadInputError(Problem("--hub", 0, 0, str(error), "write https://HOST")) from None
    found = client.get(release_path(tree, release))
    target = to or client.get(tree_path(tree))["promotes_to"] or tree
    body = {"title": found["title"], "origin": f"{client.url} {tree} release {release}"}
    made = other.post(tree_path(target, "releases"), body)
    path = release_path(target, made["number"], "content")
    rows = list(client.pages(release_path(tree, release, "files"), limit=500))
    files = [row for row in rows if not row["target"]]
    total = sum(row["size"] for row in files)
    with tempfile.TemporaryDirectory(prefix="commonfarm-promote-") as work:
        with Progress(quiet=quiet, total=total) as progress:
            for row in files:
                here = Path(work) / row["sha256"]
                client.download(release_path(tree, release, "file"), here, path=row["path"])
                sha256, _ = other.upload(here, progress)
                here.unlink()
                other.post(path, {"files": [{"path": row["path"], "sha256": sha256}]})
    links = [{"path": row["path"], "target": row["target"]} for row in rows if row["target"]]
    for some in _batches(links):
        other.post(path, {"aliases": some})
    closed: dict[str, Any] = other.post(release_path(target, made["number"], "close"))
    return closed


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(rows), BATCH):
        yield rows[begin : begin + BATCH]
