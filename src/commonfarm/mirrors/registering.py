"""What may be registered of a mirror, and by whom. Checks values; the registry keeps them.

Whoever has an account may register a mirror. What its administrator says of it is bounded so that
no mirror can draw the whole world to itself: how much of the downloads it gets (`weight`) is for
the project to say, and a network that it is the nearest for may not be larger than a provider's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from ipaddress import ip_network
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.interface import TreeFile, current_revision
from commonfarm.estate.interface import ReleaseTree, pledges_in_force
from commonfarm.lib.errors import (
    BadInputError,
    ForbiddenError,
    Problem,
    Reason,
    RefusedError,
)
from commonfarm.lib.hints import hint
from commonfarm.mirrors.addresses import Policy, check_rsync_url, check_url
from commonfarm.mirrors.countries import country_code
from commonfarm.mirrors.models import Mirror, Push
from commonfarm.redirector.mirror_map import checks

NAME = r"^[a-z0-9][a-z0-9.-]{0,99}$"
MOST_UNPROVED = 10
"""So many mirrors of one person may wait for their proof."""
MOST_OF_ONE = 50
MOST_NETWORKS = 200
MOST_COUNTRIES = 250
LARGEST = {4: 12, 6: 24}
"""IP version -> shortest prefix that an administrator may say to be the nearest for."""
MOST_AS = 2**32 - 1
MOST_WEIGHT = 1000
MOST_BUDGET = 2**62
MOST_SUBTREE = 500

THE_PROJECTS = frozenset({"weight"})
"""Fields that only coordinators set."""
_SSH = re.compile(
    r"ssh://[A-Za-z0-9._-]{1,64}@([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?/?"
)

Check = Callable[[Any], Any]


def check(
    fields: Mapping[str, Any], policy: Policy, tree: ReleaseTree, user: User, now: Mirror | None
) -> dict[str, Any]:
    """Return the values of `fields` as they are kept; `now` is the mirror that is edited.

    BadInputError lists all that is wrong, each by the name of its field; RefusedError is an address
    that no mirror may have, ForbiddenError a field that is not for this user to set.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    coordinates = user.may(Role.COORDINATOR)
    for name, value in fields.items():
        if now is not None and value == getattr(now, name):
            continue  # it was right when it was set
        if name in THE_PROJECTS and not coordinates and value != _value(now, name):
            raise ForbiddenError(
                Reason(
                    "for-coordinators",
                    f"the {name} of a mirror is for the project to say",
                    "ask a coordinator; a byte budget bounds what a mirror is sent",
                )
            )
        try:
            if name in ADDRESS_CHECKS:
                found[name] = ADDRESS_CHECKS[name](value, policy) if value else ""
            else:
                found[name] = _CHECKS[name](value) if name in _CHECKS else value
        except BadInputError as error:
            problems += [Problem(name, 0, 0, one.what, one.to_do) for one in error.problems]
        except ValueError as error:
            what, _, to_do = str(error).partition("; ")
            problems.append(Problem(name, 0, 0, what, to_do))
    if "prefixes" in found and not coordinates:
        problems += _too_large(found["prefixes"])
    whole = {name: found.get(name, _value(now, name)) for name in ("http", "https", *_TOGETHER)}
    problems += _together(whole, {one.file for one in problems})
    if "push_to" in found or "push" in found:
        found["push_to"], more = _push_to(whole["push"], whole["push_to"], policy)
        problems += more
    problems += _taken(found, tree, now)
    if found.get("subtree"):
        problems += _no_folder(tree, found["subtree"])
    if problems:
        raise BadInputError(*problems)
    return found


def check_name(name: str) -> None:
    """Refuse what is no name of a mirror, or of a redirector, with BadInputError."""
    if not re.fullmatch(NAME, name):
        to_do = "use small letters, digits, dots and hyphens"
        raise BadInputError(Problem("name", 0, 0, f"{name[:100]!r} is no name here", to_do))


def check_room(user: User) -> None:
    """Refuse one more mirror of somebody who has many, or of whom many wait for their proof."""
    if user.may(Role.COORDINATOR):
        return
    own = Mirror.registered().filter(administrators=user)
    waiting, count = own.filter(proved_at=None).count(), own.count()
    if waiting >= MOST_UNPROVED:
        raise RefusedError(
            Reason(
                "too-many-unproved",
                f"{waiting} mirrors of {user.username} wait for their proof",
                "prove or remove some of them",
            )
        )
    if count >= MOST_OF_ONE:
        raise RefusedError(
            Reason(
                "too-many-mirrors",
                f"{user.username} runs {count} mirrors",
                "remove some of them, or have a coordinator register it",
            )
        )


def require_hand(user: User, mirror: Mirror) -> None:
    """Raise ForbiddenError unless `user` runs the mirror, or coordinates."""
    if not (user.may(Role.COORDINATOR) or mirror.is_run_by(user)):
        raise ForbiddenError(
            Reason(
                "not-your-mirror",
                f"{user.username} is no administrator of the mirror {mirror}",
                "ask one of them, or a coordinator",
            )
        )


_TOGETHER = ("latitude", "longitude", "push", "push_to")


def _value(now: Mirror | None, name: str) -> Any:
    if now is not None:
        return getattr(now, name)
    return getattr(Mirror(), name)


def _together(whole: Mapping[str, Any], known: Set[str]) -> list[Problem]:
    """Return what is wrong with values together; of those that are `known` it is told already."""
    problems = []
    if not whole["http"] and not whole["https"] and not {"http", "https"} & known:
        to_do = "give http, https or both"
        problems.append(Problem("http", 0, 0, "a mirror needs an address for its users", to_do))
    half = (whole["latitude"] is None) != (whole["longitude"] is None)
    if half and not {"latitude", "longitude"} & known:
        missing = "latitude" if whole["latitude"] is None else "longitude"
        problems.append(Problem(missing, 0, 0, "one coordinate is given without the other", ""))
    return problems


def _push_to(push: str, to: str, policy: Policy) -> tuple[str, list[Problem]]:
    """Return where a mirror is told to pull, and what is wrong with that."""

    def bad(what: str, to_do: str) -> tuple[str, list[Problem]]:
        return to, [Problem("push_to", 0, 0, what, to_do)]

    if not push:
        return "", []
    if not to:
        return bad(
            "it does not say where to push", "give the webhook's address, or ssh://USER@HOST"
        )
    if push == Push.SSH:
        try:
            right = _SSH.fullmatch(to) and urlsplit(to).port != 0
        except ValueError:
            right = False
        return (
            (to, []) if right else bad(f"{to[:200]!r} is no ssh address", "write ssh://USER@HOST")
        )
    try:
        check_url(to, policy)
    except BadInputError as error:
        return to, [Problem("push_to", 0, 0, one.what, one.to_do) for one in error.problems]
    return to, []


def _taken(found: Mapping[str, Any], tree: ReleaseTree, now: Mirror | None) -> list[Problem]:
    """Return which addresses another mirror of the tree has shown to be its own."""
    others = Mirror.registered().filter(tree=tree, proved_at__isnull=False)
    others = others.exclude(pk=now.pk) if now else others
    problems = []
    for name in ("http", "https"):
        if found.get(name) and (other := others.filter(**{name: found[name]}).first()):
            what = f"{found[name]} is the address of the mirror {other}"
            problems.append(Problem(name, 0, 0, what, "edit that one, or name another address"))
    return problems


def _no_folder(tree: ReleaseTree, subtree: str) -> list[Problem]:
    if not current_revision(tree):
        return []
    files = TreeFile.objects.filter(tree=tree, until_revision=None)
    if files.filter(path__startswith=f"{subtree}/").exists():
        return []
    folders = {path.partition("/")[0] for path in files.values_list("path", flat=True)[:1000]}
    what = f"{tree} has no folder {subtree[:200]!r}"
    return [Problem("subtree", 0, 0, what, hint(subtree.partition("/")[0], folders))]


def _countries(values: list[str]) -> list[str]:
    if len(values) > MOST_COUNTRIES:
        raise ValueError(f"there are over {MOST_COUNTRIES} countries; leave it empty for all")
    return sorted({country_code(value) for value in values})


def _networks(values: list[str]) -> list[str]:
    if len(values) > MOST_NETWORKS:
        raise ValueError(f"there are over {MOST_NETWORKS} networks; join those that lie together")
    found = []
    for value in values:
        try:
            network = ip_network(value.strip())
        except ValueError as error:
            form = "write it as 192.0.2.0/24 or 2001:db8::/32"
            raise ValueError(f"{value[:60]!r} is no network: {str(error)[:120]}; {form}") from None
        found.append(network)
    return [str(one) for one in sorted(set(found), key=lambda one: (one.version, one))]


def _too_large(networks: list[str]) -> list[Problem]:
    for text in networks:
        network = ip_network(text)
        if network.prefixlen < LARGEST[network.version]:
            what = f"{text} is larger than a mirror may say to be the nearest for"
            to_do = f"name networks of /{LARGEST[network.version]} or smaller, or ask a coordinator"
            return [Problem("prefixes", 0, 0, what, to_do)]
    return []


def _degrees(most: int) -> Check:
    def checked(value: float | None) -> float | None:
        if value is not None and not (isfinite(value) and -most <= value <= most):
            raise ValueError(f"{value} is no such coordinate; write degrees, -{most} to {most}")
        return value

    return checked


def _between(least: int, most: int, what: str) -> Check:
    def checked(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"{value} is no {what}; write a number from {least} to {most}")
        return value

    return checked


def _pledge(value: str) -> str:
    known = pledges_in_force() if value else frozenset()
    if value and value not in known:
        raise ValueError(f"the estate has no pledge {value[:100]!r}; {hint(value, known)}")
    return value


def _subtree(value: str) -> str:
    path = value.strip("/")
    wrong = not path.isprintable() or len(path) > MOST_SUBTREE
    if path and (wrong or {"", ".", ".."} & set(path.split("/"))):
        raise ValueError(f"{path[:200]!r} is no folder of a tree; write it as it stands there")
    return path


def _web(value: str) -> str:
    if value and not re.fullmatch(r"https?://[!-~]+", value):
        raise ValueError(f"{value[:200]!r} is no web address; write https://HOST/")
    return value


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it has characters that cannot be shown; leave them out")
    return value.strip()


def _push(value: str) -> str:
    if value not in Push.values:
        raise ValueError(f"{value[:20]!r} is no way to push; there are webhook and ssh")
    return value


ADDRESS_CHECKS: dict[str, Callable[[str, Policy], str]] = {
    "http": lambda url, policy: _of_scheme(url, "http", policy),
    "https": lambda url, policy: _of_scheme(url, "https", policy),
    "rsync_url": check_rsync_url,
}


def _of_scheme(url: str, scheme: str, policy: Policy) -> str:
    kept = check_url(url, policy)
    if not kept.startswith(f"{scheme}://"):
        raise ValueError(f"{url[:200]!r} is no {scheme} address; write {scheme}://HOST/PATH/")
    # What the redirector's map would refuse must not get as far as there: it is of all mirrors.
    return checks.url(kept, "the address", scheme)


_CHECKS: dict[str, Check] = {
    "subtree": _subtree,
    "country": country_code,
    "latitude": _degrees(90),
    "longitude": _degrees(180),
    "as_number": _between(0, MOST_AS, "number of an AS"),
    "prefixes": _networks,
    "only_countries": _countries,
    "only_networks": _networks,
    "weight": _between(1, MOST_WEIGHT, "weight"),
    "budget_bytes": _between(0, MOST_BUDGET, "budget"),
    "sponsor": _text,
    "sponsor_url": _web,
    "pledge": _pledge,
    "push": _push,
}
