"""Verbs of the push by SSH: the key that mirrors let in, and by which keys mirrors are known."""

from __future__ import annotations

import typer

from commonfarm.mirrors.verbs.hub import AS_JSON, hub, path, tell


def push_key() -> None:
    """Print the public key that a mirror lets in, so that it can be told to pull by SSH.

    A mirror's administrator puts it into authorized_keys, with a forced command. Needs no hub.
    """
    from commonfarm.lib.errors import Reason, UnreachableError
    from commonfarm.lib.places import find

    file = find().operator / "push-key.pub"
    try:
        typer.echo(file.read_text("ascii"), nl=False)
    except OSError as error:
        reason = Reason(
            "no-push-key",
            f"{file} cannot be read: {error.strerror}",
            "start the installation, whose process `operator` makes it",
        )
        raise UnreachableError(reason) from None


def trust_host_key(name: str, fingerprint: str, as_json: bool = AS_JSON) -> None:
    """Say that a mirror's SSH host key is the right one. Coordinators.

    Compare FINGERPRINT with what the mirror's administrator tells you; the mirror's page has
    the one that its machine showed.
    """
    shown = hub().post(f"{path(name)}/trust-host-key", {"fingerprint": fingerprint})
    tell(shown, f"{name} is known by {fingerprint}", as_json)
