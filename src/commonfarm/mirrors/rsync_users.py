"""Which mirrors may fetch by rsync what is under embargo, and what they show for it."""

from __future__ import annotations

from collections.abc import Mapping

from commonfarm.lib.secret import Secret
from commonfarm.mirrors.models import RsyncPassword


def rsync_users() -> Mapping[str, Mapping[str, Secret]]:
    """Fill the archive's port: by tree, the passwords by the names of its mirrors.

    Only those are told that are trusted with clients: registered, of proved control, enabled and
    not in quarantine.
    """
    rows = RsyncPassword.objects.filter(
        mirror__removed_at=None,
        mirror__enabled=True,
        mirror__proved_at__isnull=False,
        mirror__quarantined_at=None,
    )
    found: dict[str, dict[str, Secret]] = {}
    for tree, name, password in rows.values_list("mirror__tree__name", "mirror__name", "password"):
        found.setdefault(tree, {})[name] = Secret(password)
    return found
