"""Verbs of a mirror's own administrator: by what it fetches ahead, and how it is told to pull."""

from __future__ import annotations

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
