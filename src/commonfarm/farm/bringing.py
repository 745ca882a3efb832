"""How the command line brings a source package to the hub: from an index, a .dsc, or a directory.

No Django here. Everything is checked before it is sent, so that faults name the local file.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from commonfarm.estate.apt import PackageSource
from commonfarm.estate.fetch import fetch_source
from commonfarm.farm.sources import check_files, read_dsc
from commonfarm.http.client import HubClient, Progress
from commonfarm.lib.errors import BadInputError, Problem


def find_dsc(source: str, target: dict[str, Any], work: Path) -> Path:
    """Return the .dsc that `source` means: a path of one, a directory with debian/, or a name.

    A name is fetched with apt, which verifies it, from where `target` has its packages from.
    `work` is an empty directory for what is made or fetched.
    """
    path = Path(source)
    if path.is_dir():
        return _pack(path.resolve(), work)
    if source.endswith(".dsc") or "/" in source:
        if not path.is_file():
            raise BadInputError(Problem(source, 0, 0, "there is no such file", "name a .dsc"))
        return path
    sources = [
        PackageSource(one["uri"], one["suite"], tuple(one["components"]), target["keyring"])
        for one in target["package_sources"]
    ]
    return fetch_source(source, work, sources)


def _pack(folder: Path, work: Path) -> Path:
    """Make a source package of an unpacked one, in `work`, and return its .dsc."""
    if not (folder / "debian" / "control").is_file():
        what = "it has no debian/control"
        raise BadInputError(Problem(str(folder), 0, 0, what, "name a source package's directory"))
    for tarball in folder.parent.glob("*_*.orig*.tar.*"):
        (work / tarball.name).symlink_to(tarball)
    done = subprocess.run(
        ["dpkg-source", "-b", str(folder)], cwd=work, capture_output=True, text=True, check=False
    )
    found = list(work.glob("*.dsc"))
    if done.returncode != 0 or len(found) != 1:
        last = (done.stderr.strip() or "no .dsc came out").splitlines()[-1]
        raise BadInputError(Problem(str(folder), 0, 0, last, "mend what dpkg-source says"))
    return found[0]


def upload(client: HubClient, dsc: Path, progress: Progress) -> dict[str, Any]:
    """Check and upload the source package of `dsc`; return the members of a build that name it.

    `progress` is told a file's name, the bytes sent and its size. Raises BadInputError.
    """
    try:
        checked = read_dsc(dsc.read_bytes())
        files = {one.name: dsc.parent / one.name for one in checked.files}
        check_files(checked, {name: path for name, path in files.items() if path.is_file()})
    except BadInputError as error:
        raise BadInputError(*(_beside(dsc, one) for one in error.problems)) from None
    for path in [dsc, *files.values()]:
        client.upload(path, progress)
    return {
        "dsc": _sha256(dsc),
        "files": [
            {"name": one.name, "size": one.size, "sha256": one.sha256} for one in checked.files
        ],
    }


def _beside(dsc: Path, problem: Problem) -> Problem:
    """Name the file as it lies here."""
    name = dsc if problem.file in (".dsc", dsc.name) else dsc.parent / problem.file
    return Problem(str(name), problem.line, problem.column, problem.what, problem.to_do)


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
