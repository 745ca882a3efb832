"""What the rsync daemon offers: a module for each release tree, read-only, for everybody.

    rsync://HOST:PORT/TREE/                     what users see
    rsync://MIRROR@HOST:PORT/TREE-embargoed/    what they will see, for registered mirrors

The path of a module is the folder of the revision that users see, written anew with each: rsync
since 3.5 follows no link that is another user's, as the published one is. A pull reads the one
revision, and a long one has it unchanged until two newer ones are out; after that it finds newer
whole files, never half of one, and may be told that some have vanished (rsync's exit code 24): the
next pull mends that. The embargoed module is the tree's staging folder; who may read it is asked of
the mirrors' room.

The daemon reads these files at each connection, so that writing them is all there is to do. Format:
rsyncd.conf(5), with the options of rsync 3.2.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from procrastinate.contrib.django import app

from commonfarm.archive import ports
from commonfarm.archive.folders import alone, staging_folder
from commonfarm.archive.releases.application_tree import SEEN_HIDDEN
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import defer_once
from commonfarm.lib.secret import Secret
from commonfarm.store.interface import full_disk_is_said

EMBARGOED = "-embargoed"
MOST_CONNECTIONS = 40
"""So many of a module at once; others are told to come again."""
IDLE_SECONDS = 600
REFUSED = ("checksum", "copy-devices")
"""Options of clients that have us read files whole, or devices. `read only` refuses writing."""
FOLLOWING = ("copy-links", "copy-unsafe-links", "copy-dirlinks")
"""Besides, where others make the links: options that have us read what they lead to."""
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATH = re.compile(r"/[\x20-\x24\x26-\x7e]*[\x21-\x24\x26-\x7e]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Module:
    """A module: its name and folder, and who may read it; None: everybody.

    `adopted`: what lies there is not only what users see.
    """

    name: str
    path: Path
    comment: str
    users: tuple[str, ...] | None = None
    adopted: bool = False


def text(modules: Iterable[Module], *, locks: Path, secrets: Path) -> str:
    """Return the daemon's configuration; pure. ValueError for what it could not say."""
    lines = [
        "# Written by Commonfarm whenever trees or mirrors change: no edit here stays.",
        "use chroot = no",
        "munge symlinks = no",
        "reverse lookup = no",
        f"lock file = {_said(locks)}",
        f"max connections = {MOST_CONNECTIONS}",
        f"timeout = {IDLE_SECONDS}",
        "read only = yes",
        "list = yes",
        "numeric ids = yes",
        "exclude = .commonfarm.new",
        "dont compress = *",
        f"refuse options = {' '.join(REFUSED)}",
    ]
    for module in modules:
        lines += [
            "",
            f"[{module.name}]",
            f"path = {_said(module.path)}",
            f"comment = {module.comment}",
        ]
        if module.adopted:
            seen = " ".join(f"+_{name}" for name in SEEN_HIDDEN)
            lines += [f"filter = {seen} -_.*", f"refuse options = {' '.join(REFUSED + FOLLOWING)}"]
        if module.users is not None:
            lines += [
                f"auth users = {', '.join(module.users)}",
                f"secrets file = {_said(secrets)}",
                "list = no",
            ]
    return "\n".join(lines) + "\n"


def _said(path: Path) -> str:
    """Return a path as the configuration takes it, in which `%` or a line end would do harm."""
    found = str(path)
    if _PATH.fullmatch(found) is None:
        raise ValueError(f"rsync's configuration cannot name the folder {found!r}")
    return found


def modules(users: Mapping[str, Mapping[str, Secret]]) -> list[Module]:
    """Return the modules of all trees; `users` maps a tree's name to its mirrors' passwords.

    A tree that nothing was published of has none yet, and nobody's embargoed module is not offered.
    """
    published = Path(settings.COMMONFARM.published)
    found = []
    trees = list(ReleaseTree.objects.filter(retired_at=None).order_by("name"))
    taken = {tree.name for tree in trees}
    for tree in trees:
        path = Path(tree.adopts) if tree.adopts else published / tree.name
        if not path.is_dir():
            continue
        folder = path.resolve()
        if _PATH.fullmatch(str(folder)) is None:
            _log.error("rsync cannot serve %s from %s: name it in plain ASCII", tree.name, path)
            continue
        comment, adopted = f"release tree {tree.name}", bool(tree.adopts)
        found.append(Module(tree.name, folder, comment, adopted=adopted))
        name = embargoed_module(tree)
        names = tuple(user for user in sorted(users.get(tree.name, {})) if _USER.fullmatch(user))
        if names and name not in taken and staging_folder(tree).is_dir():
            comment = f"{tree.name} with what is under embargo"
            found.append(Module(name, staging_folder(tree), comment, names))
    return found


def embargoed_module(tree: ReleaseTree) -> str:
    """Return the name of the module from which registered mirrors read what is under embargo."""
    return f"{tree.name}{EMBARGOED}"


@app.task(name="archive.write_rsync_modules", queue="default")
def write_modules() -> None:
    """Have the daemon serve the trees there are, to the mirrors there are."""
    write()


def write_modules_soon() -> None:
    """Have the daemon told of a change, such as a new password, in a moment."""
    defer_once(write_modules, "archive.write_rsync_modules")


def write() -> bool:
    """Have the daemon serve the trees there are, to the mirrors there are; say if that is new.

    Where the installation has no port for rsync, nothing is written.
    """
    config = settings.COMMONFARM
    if not config.listen.rsync:
        return False
    folder = config.rsyncd_config.parent
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with full_disk_is_said(), alone(folder):
        users = ports.rsync_users.get()()
        secrets = {user: word for words in users.values() for user, word in words.items()}
        words = "".join(
            f"{user}:{word.reveal()}\n"
            for user, word in sorted(secrets.items())
            if _USER.fullmatch(user)
        )
        try:
            said = text(modules(users), locks=config.rsyncd_locks, secrets=config.rsyncd_secrets)
        except ValueError as error:  # by other ways than rsync users get it all the same
            _log.error("rsync serves what it did: %s", error)
            return False
        # The passwords first: a module must not ask for one that is not there.
        new = _write(config.rsyncd_secrets, words)
        return _write(config.rsyncd_config, said) or new


def _write(file: Path, said: str) -> bool:
    """Replace `file` unless it says this already; only its owner reads it, and rsync's daemon.

    The daemon refuses passwords that others may read. Where it has a user of its own, the folder is
    of its group, and so is what is made there.
    """
    with suppress(OSError):
        if file.read_text(encoding="utf-8") == said:
            return False
    own_group = file.parent.stat().st_gid == os.getgid()
    partial = file.with_name(f".{file.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(said)
        os.fchmod(out.fileno(), 0o600 if own_group else 0o640)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
    return True
