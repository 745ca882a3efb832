"""Which mirrors may fetch by rsync what is under embargo, and what they show for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from commonfarm.archive.interface import embargoed_module, write_modules_soon
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.lib.secret import Secret
from commonfarm.mirrors.models import Mirror, RsyncPassword


@dataclass(frozen=True, slots=True)
class Access:
    """By what a mirror reads what is under embargo: `rsync URL`, where `password` is asked for."""

    user: str
    password: Secret
    module: str
    url: str


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


def renew_access(mirror: Mirror, now: datetime, *, who: str) -> Access:
    """Give a mirror a new password, in a transaction; rsync's daemon is told in a moment.

    RefusedError where no rsync is offered.
    """
    config = settings.COMMONFARM
    assert isinstance(config, Config)
    if not config.listen.rsync:
        raise RefusedError(
            Reason(
                "no-rsync",
                "this installation offers no rsync",
                "its operator adds `rsync = PORT` to [listen] in its configuration",
            )
        )
    password = RsyncPassword.renew(mirror, now, who=who)
    write_modules_soon()
    module = embargoed_module(mirror.tree)
    server = config.public_rsync_url.removeprefix("rsync://")
    return Access(mirror.name, password, module, f"rsync://{mirror.name}@{server}/{module}/")
