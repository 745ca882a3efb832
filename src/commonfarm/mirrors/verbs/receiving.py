"""Verbs of a mirror's own administrator: by what it fetches ahead, and how it is told to pull."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from commonfarm.mirrors.verbs.hub import AS_JSON, hub, path, tell


def rsync_password(name: str, as_json: bool = AS_JSON) -> None:
    """Give a mirror a new password for what is under embargo; it is printed this once.

    The one before is void as soon as rsync's daemon knows the new one, within seconds.
    """
    made = hub().post(f"{path(name)}/rsync-password")
    text = (
        f"{made['password']}\n"
        f"is the password of {made['user']} at {made['url']}\n"
        "Keep it in a file that only the mirror's user reads, for rsync's --password-file."
    )
    tell(made, text, as_json)


def receive(
    command: list[str] = typer.Argument(
        ...,
        metavar="-- COMMAND",
        help="What pulls. It is told COMMONFARM_TREE, COMMONFARM_REVISION and COMMONFARM_STATE"
        " (public or staged) in its environment.",
    ),
    listen: str = typer.Option(..., metavar="ADDRESS:PORT", help="Where to be told of releases."),
    key: Path = typer.Option(..., help="The project's public key, its statements.pub."),
    tree: str = typer.Option(..., help="The release tree that is mirrored."),
    state: Path | None = typer.Option(
        None,
        metavar="FILE",
        help="What was taken last; else push-TREE.json in $STATE_DIRECTORY or your own state.",
    ),
) -> None:
    """Run a command on a mirror whenever the project says that there is something to pull.

    Takes what the project's key has signed for this tree, if it is recent and newer than all
    before; says of anything else why not. Needs no hub. Runs until it is stopped.
    """
    import logging
    import shutil
    import signal
    import threading

    from commonfarm.lib.errors import BadInputError, Problem
    from commonfarm.mirrors.receiving import Receiver, Server
    from commonfarm.redirector.mirror_map import MapError, read_key

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    address = _address(listen)
    if not tree.isprintable() or "/" in tree or tree in ("", ".", ".."):
        raise BadInputError(Problem("--tree", 0, 0, "is no name of a tree", ""))
    if shutil.which(command[0]) is None:
        what = f"there is no program {command[0]!r}"
        raise BadInputError(Problem("COMMAND", 0, 0, what, "name one by its path"))
    try:
        public = read_key(key)
    except MapError as error:
        to_do = "it lies with the project, and is its statements.pub"
        raise BadInputError(Problem("--key", 0, 0, str(error), to_do)) from None
    file = state or _state_folder() / f"push-{tree}.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    receiver = Receiver(tree, public, command, file)
    try:
        server = Server(address, receiver)
    except (OSError, OverflowError) as error:
        what = f"{listen} cannot be listened on: {getattr(error, 'strerror', None) or error}"
        raise BadInputError(Problem("--listen", 0, 0, what, "choose another one")) from None

    def stop(*_: object) -> None:
        # Not from this thread, which serves and would wait for itself.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    receiver.start()
    with server:
        host, port = server.server_address[:2]
        logging.info("told of %s at %s port %s; state in %s", tree, host, port, file)
        server.serve_forever()
    receiver.stop()


def _address(text: str) -> tuple[str, int]:
    from ipaddress import ip_address

    from commonfarm.lib.errors import BadInputError, Problem

    host, _, port = text.rpartition(":")
    try:
        found = str(ip_address(host.removeprefix("[").removesuffix("]")))
        number = int(port)
    except ValueError:
        to_do = "write ADDRESS:PORT, such as 127.0.0.1:8787 or [::]:8787"
        raise BadInputError(Problem("--listen", 0, 0, f"{text!r} is none", to_do)) from None
    return found, number


def _state_folder() -> Path:
    """Return the folder that systemd gives a service, else that of this user's state (XDG)."""
    if given := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    kept = os.environ.get("XDG_STATE_HOME", "")
    home = Path(kept) if kept.startswith("/") else Path.home() / ".local/state"
    return home / "commonfarm"
