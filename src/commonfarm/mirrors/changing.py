"""Changes to the registry, as the API and the pages make them: checked, allowed, and carried on.

Each is called in a transaction, with a mirror that is `locked` or new. What follows from a change
(a proof, a probe, a scan, a new map) is asked for in the same transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from commonfarm.accounts.interface import Role, User
from commonfarm.estate.interface import ReleaseTree, logos
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.units import format_bytes
from commonfarm.mirrors import registering, registry_tasks, rsync_users, tasks
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.models import ADDRESSES, Mirror
from commonfarm.store.interface import put_bytes

MOST_ADMINISTRATORS = 20
RESERVED = frozenset({"counts", "overrides", "redirectors"})
"""Names that mean something else where the API has a mirror's."""


def register(
    name: str, tree: ReleaseTree, fields: Mapping[str, Any], user: User, *, vouch: bool = False
) -> Mirror:
    """Register a mirror; `user` becomes its administrator. A coordinator may vouch for it."""
    registering.check_name(name)
    if name in RESERVED:
        raise _bad("name", f"{name!r} means something else here", "take another name")
    registering.check_room(user)
    checked = registering.check(fields, _policy(), tree, user, None)
    mirror = Mirror.add(name, tree, checked, who=user.label)
    mirror.administrators.add(user)
    _keep_quarantine(mirror, user)
    _begin(mirror, user, vouch)
    return mirror


def locked(name: str, user: User) -> Mirror:
    """Return a mirror that nobody else changes until the transaction ends, for one who may."""
    found = Mirror.named(name)
    mirror = Mirror.registered().select_for_update(of=("self",)).filter(pk=found.pk).first()
    mirror = mirror or Mirror.named(name)
    registering.require_hand(user, mirror)
    return mirror


def edit(mirror: Mirror, fields: Mapping[str, Any], user: User, *, vouch: bool = False) -> None:
    """Change what is registered of a mirror."""
    before = {name: getattr(mirror, name) for name in (*ADDRESSES, "subtree")}
    mirror.edit(registering.check(fields, _policy(), mirror.tree, user, mirror), who=user.label)
    _keep_quarantine(mirror, user)
    if mirror.proved_at is None:
        _begin(mirror, user, vouch)
    elif before != {name: getattr(mirror, name) for name in before}:
        registry_tasks.begin(mirror)
    tasks.want_map()


def give_to(mirror: Mirror, names: Sequence[str], user: User) -> None:
    """Make these users the administrators of a mirror, and no others; it keeps at least one."""
    if len(names) > MOST_ADMINISTRATORS:
        raise _bad("administrators", f"{len(names)} are too many", "name those who look after it")
    found = list(User.objects.filter(username__in=[name.replace("\0", "") for name in names]))
    unknown = sorted(set(names) - {one.username for one in found})
    if unknown:
        raise _bad("administrators", f"there is no user {unknown[0][:80]!r}", "")
    if not found and not user.may(Role.COORDINATOR):
        raise _bad("administrators", "a mirror needs somebody who looks after it", "name one")
    mirror.give_to(found, who=user.label)


def enable(mirror: Mirror, enabled: bool, user: User, why: str = "") -> None:
    """Let clients be sent to a mirror, or not."""
    if enabled:
        mirror.enable(who=user.label, why=why)
        if mirror.proved_at is not None:
            registry_tasks.begin(mirror)
    else:
        mirror.disable(who=user.label, why=why)
    tasks.want_map()


def remove(mirror: Mirror, user: User, why: str = "") -> None:
    """Take a mirror from the registry."""
    mirror.remove(timezone.now(), who=user.label, why=why)
    tasks.want_map()


def vouch(mirror: Mirror, user: User, why: str = "") -> None:
    """Take control of a mirror as shown, on a coordinator's word."""
    user.require(Role.COORDINATOR)
    if mirror.proved_at is None:
        mirror.prove(timezone.now(), how="vouched", who=user.label, why=why)
        registry_tasks.begin(mirror)


def lift_quarantine(mirror: Mirror, user: User, why: str) -> None:
    """Let clients be sent to a mirror again; it is audited anew. It takes a reason."""
    user.require(Role.COORDINATOR)
    if not why.strip():
        raise _bad("why", "nothing says why it may be trusted again", "say what was found")
    if not mirror.quarantine:
        to_do = f"commonfarm mirror show {mirror} says how it stands"
        raise RefusedError(Reason("not-quarantined", f"{mirror} is in no quarantine", to_do))
    mirror.lift_quarantine(who=user.label, why=why)
    tasks.want_audit(mirror)
    registry_tasks.begin(mirror)


def show_logo(mirror: Mirror, data: bytes, user: User) -> None:
    """Show a picture as the logo of a mirror's sponsor; no bytes: none."""
    if len(data) > logos.MOST_BYTES:
        most = format_bytes(logos.MOST_BYTES)
        raise _bad("logo", f"it has {format_bytes(len(data))}", f"send at most {most}")
    if data and logo_kind(data) is None:
        raise _bad("logo", "it is no picture that is shown", "send PNG, JPEG, WebP or SVG")
    mirror.show_logo(put_bytes(data) if data else None, who=user.label)


def logo_kind(data: bytes) -> str | None:
    """Return the media type of a picture by its first bytes, None for what is not shown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return logos.KINDS[".png"]
    if data.startswith(b"\xff\xd8\xff"):
        return logos.KINDS[".jpeg"]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return logos.KINDS[".webp"]
    if re.match(rb"(\xef\xbb\xbf)?\s*<(\?xml|!--|svg|!DOCTYPE svg)", data) and b"<svg" in data:
        return logos.KINDS[".svg"]
    return None


def renew_rsync_password(mirror: Mirror, user: User) -> rsync_users.Access:
    """Give a mirror a new password by which it reads by rsync what is under embargo."""
    require_proof(mirror)
    if mirror.quarantine:
        raise RefusedError(
            Reason(
                "mirror-quarantined",
                f"{mirror} is in quarantine, and is given nothing that is under embargo",
                "ask a coordinator to lift the quarantine first",
            )
        )
    return rsync_users.renew_access(mirror, timezone.now(), who=user.label)


def require_proof(mirror: Mirror) -> None:
    """Refuse to have a mirror looked at that nobody has shown to run."""
    if mirror.proved_at is None:
        raise RefusedError(
            Reason(
                "mirror-not-proved",
                f"nobody has shown yet that they run {mirror}, so it is not looked at",
                f"commonfarm mirror show {mirror} says which file shows it",
            )
        )


def _keep_quarantine(mirror: Mirror, user: User) -> None:
    """Keep a server that served other bytes than ours from coming back by another name."""
    if mirror.quarantine or user.may(Role.COORDINATOR):
        return
    hosts = {urlsplit(url).hostname for url in mirror.addresses}
    for other in Mirror.objects.exclude(quarantine="").exclude(pk=mirror.pk):
        if hosts & {urlsplit(url).hostname for url in other.addresses}:
            problem = f"as {other}, on the same host: {other.quarantine}"
            mirror.quarantine_for(problem, timezone.now(), who=user.label)
            return


def _begin(mirror: Mirror, user: User, vouched: bool) -> None:
    if vouched:
        vouch(mirror, user)
    else:
        registry_tasks.want_proof(mirror)
    tasks.want_map()


def _policy() -> Policy:
    return Policy.of(settings.COMMONFARM)


def _bad(field: str, what: str, to_do: str) -> BadInputError:
    return BadInputError(Problem(field, 0, 0, what, to_do))
