"""Where the installations of this machine and this user have their files.

As root: `/etc/commonfarm`, `/var/lib/commonfarm`, `/run/commonfarm`. As another user the folders of
the XDG base directory specification. `COMMONFARM_HOME` puts everything below one folder instead.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from commonfarm.lib import config as configuration
from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason, RefusedError

HOME_VARIABLE = "COMMONFARM_HOME"
CONFIG_VARIABLE = "COMMONFARM_CONFIG"
INSTALLATION_VARIABLE = "COMMONFARM_INSTALLATION"
LONGEST_SOCKET_PATH = 107
_SOCKET_NAME_BYTES = len("/postgres/.s.PGSQL.5432.lock")


def _home() -> Path | None:
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).absolute() if home else None


def _xdg(variable: str, otherwise: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / otherwise


def config_folder() -> Path:
    """Return the folder of the configurations, one `NAME.toml` each."""
    home = _home()
    if home:
        return home / "etc"
    if os.getuid() == 0:
        return Path("/etc/commonfarm")
    return _xdg("XDG_CONFIG_HOME", ".config") / "commonfarm"


def state_folder(name: str) -> Path:
    """Return where a new installation keeps its state."""
    home = _home()
    if home:
        return home / "state" / name
    if os.getuid() == 0:
        return Path("/var/lib/commonfarm") / name
    return _xdg("XDG_DATA_HOME", ".local/share") / "commonfarm" / name


def runtime_folder(name: str) -> Path:
    """Return where a new installation has its sockets, short enough for a socket's address.

    When the natural place is too deep, it is a private folder in /tmp, which is only made at the
    start; RefusedError when that exists and is another user's.
    """
    home = _home()
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    natural = None
    if home:
        natural = home / "run" / name
    elif os.getuid() == 0:
        natural = Path("/run/commonfarm") / name
    elif base.startswith("/"):
        natural = Path(base) / "commonfarm" / name
    if natural and len(os.fsencode(natural)) + _SOCKET_NAME_BYTES <= LONGEST_SOCKET_PATH:
        return natural
    digest = hashlib.sha256(os.fsencode(home or Path.home())).hexdigest()[:8]
    folder = Path(f"{_private()}{digest}") / name
    if os.path.lexists(folder.parent):
        check_runtime(folder)
    return folder


def check_runtime(folder: Path) -> None:
    """Make sure that a runtime folder within /tmp is private; RefusedError when it is not.

    To be called at each start: another user may have made it since the machine was rebooted.
    """
    if str(folder).startswith(_private()):
        check_private(folder.parent)


def _private() -> str:
    return f"/tmp/commonfarm-{os.getuid()}-"  # noqa: S108 - see check_runtime


def check_private(folder: Path) -> None:
    """Make `folder`, or make sure that it is our own and nobody else may write to it."""
    folder.mkdir(mode=0o711, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise RefusedError(
            Reason(
                "folder-not-ours",
                f"{folder} exists, and others may write to it",
                f"look at it, and remove it: `rm -r {folder}`",
            )
        )


def installations() -> list[str]:
    """Return the names of the installations configured here, in order."""
    return sorted(file.stem for file in config_folder().glob("*.toml"))


def find(name: str | None = None) -> Config:
    """Return the configuration of the installation `name`, else of the only one there is.

    `COMMONFARM_CONFIG` and `COMMONFARM_INSTALLATION` count when no name is given. NotFoundError
    names the installations there are when none or more than one could be meant; BadInputError, a
    file that holds another name than its own, as a copy does.
    """
    file = os.environ.get(CONFIG_VARIABLE)
    if file and not name:
        return configuration.load(Path(file))
    name = name or os.environ.get(INSTALLATION_VARIABLE)
    known = installations()
    if name in known:
        return _named(name)
    if name:
        text = f"there is no installation {name!r} in {config_folder()}"
    elif len(known) == 1:
        return _named(known[0])
    elif known:
        text = "more than one installation is configured here"
    else:
        text = f"no installation is configured in {config_folder()}"
    there = f"there are {', '.join(known)}: name one with --installation" if known else ""
    raise NotFoundError(
        Reason("which-installation", text, there or "`commonfarm up` makes and starts one")
    )


def _named(name: str) -> Config:
    file = config_folder() / f"{name}.toml"
    config = configuration.load(file)
    if config.name != name:
        lines = file.read_text(encoding="utf-8").splitlines()
        line = next((at for at, text in enumerate(lines, 1) if text.lstrip().startswith("name")), 0)
        what = f"the name is {config.name!r}, not {name!r} as the file's"
        to_do = f'write name = "{name}", and give it paths, a database and ports of its own'
        raise BadInputError(Problem(str(file), line, 0, what, to_do))
    return config
