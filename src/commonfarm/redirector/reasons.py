"""Every reason that the choice of a mirror gives: a closed set, each with what would lift it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

from commonfarm.redirector import budgets
from commonfarm.redirector.mirror_map import Mirror


class Why(StrEnum):
    """Why a mirror is left out, or why we serve a file ourselves."""

    OUT_OF_SERVICE = "out-of-service"
    LOCAL_ONLY = "local-only"
    INSECURE = "insecure"
    OTHER_FAMILY = "other-family"
    NOT_ANSWERING = "not-answering"
    OTHER_COUNTRIES = "other-countries"
    OTHER_NETWORKS = "other-networks"
    NOT_CARRIED = "not-carried"
    MISSING = "missing"
    BUDGET = "budget"
    # of the file or the client, so of every mirror
    NOT_IN_MAP = "not-in-map"
    CHANGES_IN_PLACE = "changes-in-place"
    ORIGIN_ONLY = "origin-only"
    OVERRIDE = "override"
    NO_MIRROR = "no-mirror"
    CHOSEN = "chosen"


class Tier(IntEnum):
    """What made a mirror near: the first of these that holds."""

    OVERRIDE = 0
    PREFIX = 1
    AS = 2
    COUNTRY = 3
    REGION = 4
    DISTANCE = 5
    ANYWHERE = 6

    @property
    def text(self) -> str:
        """What it says of the mirror, in words."""
        return _TIERS[self]


_TIERS = {
    Tier.OVERRIDE: "the operator sends this network to it",
    Tier.PREFIX: "its sponsor names this network",
    Tier.AS: "in the same AS",
    Tier.COUNTRY: "in the same country",
    Tier.REGION: "on the same continent",
    Tier.DISTANCE: "elsewhere",
    Tier.ANYWHERE: "how far it is from the client is not known",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of the closed set `Why`, the constraint in words, and what would lift it."""

    code: Why
    text: str
    lifted_by: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.lifted_by}" if self.lifted_by else self.text


NOT_IN_MAP = Reason(
    Why.NOT_IN_MAP,
    "the mirror map has no file of this path, so we look for it ourselves",
    "the path of a published file, or the next map if that was just now",
)
CHANGES_IN_PLACE = Reason(
    Why.CHANGES_IN_PLACE,
    "this file changes in place: we serve it, as a mirror may hold an older one",
    "metalinks and lists name mirrors for it",
)
NO_MIRROR = Reason(Why.NO_MIRROR, "no mirror may serve this", "see why each was left out")
MISSING = Reason(Why.MISSING, "its last scan did not see this file", "its next scan")
LOCAL_ONLY = Reason(Why.LOCAL_ONLY, "only our own machine reaches it", "give it a public address")
INSECURE = Reason(Why.INSECURE, "it has no https, and you came by https", "give it https")
OTHER_NETWORKS = Reason(
    Why.OTHER_NETWORKS, "it serves only networks that yours is not among", "its administrator"
)


def out_of_service(mirror: Mirror) -> Reason:
    """It has a problem."""
    return Reason(Why.OUT_OF_SERVICE, mirror.problem, "a probe and a scan that find it well again")


def other_family(version: int) -> Reason:
    """It answers, but not by the client's IP version."""
    return Reason(
        Why.OTHER_FAMILY,
        f"it does not answer by IPv{version}, by which you came",
        f"give it an IPv{version} address",
    )


def not_answering(scheme: str) -> Reason:
    """It does not answer by any scheme it may be asked by."""
    return Reason(
        Why.NOT_ANSWERING, f"it did not answer by {scheme} when probed", "a probe that it answers"
    )


def other_countries(mirror: Mirror) -> Reason:
    """Its donor serves only some countries, and the client's is none of them."""
    names = mirror.only_countries
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
    return Reason(Why.OTHER_COUNTRIES, f"it serves only clients in {some}", "its administrator")


def not_carried(mirror: Mirror) -> Reason:
    """The file is outside of what it carries."""
    return Reason(
        Why.NOT_CARRIED, f"it carries only {mirror.subtree} of this tree", "its administrator"
    )


def over_budget(mirror: Mirror, spent: int, size: int, now: float) -> Reason:
    """What of its budget is free by now is not enough for this file; 1: for any."""
    free = max(0, budgets.allowance(mirror.budget_bytes, now) - spent)
    at = budgets.free_at(mirror.budget_bytes, spent, size, now)
    return Reason(
        Why.BUDGET,
        f"of its budget of {_bytes(mirror.budget_bytes)} a day {_bytes(free)} are free now"
        + (f", and this file has {_bytes(size)}" if size > 1 else ""),
        "a larger budget" if at is None else f"at {_time(at)}, or a larger budget",
    )


def origin_only(until: int) -> Reason:
    """The file is so new that mirrors are still given time."""
    return Reason(
        Why.ORIGIN_ONLY, "this file is new: we serve it ourselves at first", f"at {_time(until)}"
    )


def overridden(network: str) -> Reason:
    """The operator serves this client's network from the origin."""
    return Reason(
        Why.OVERRIDE, f"the operator has {network} served by ourselves", "the operator's overrides"
    )


def chosen(mirror: Mirror, tier: Tier, km: float | None) -> Reason:
    """This mirror is the best for the client."""
    away = "" if km is None else f", {round(km):,} km away"
    return Reason(Why.CHOSEN, f"{mirror.name} ({mirror.country}) has it: {tier.text}{away}")


def left_out(mirrors: Iterable[tuple[Mirror, Reason]]) -> list[dict[str, str]]:
    """Return mirrors that are not chosen, each with its reason, as JSON tells of them."""
    return [
        {
            "mirror": mirror.name,
            "country": mirror.country,
            "code": str(reason.code),
            "reason": reason.text,
            "lifted_by": reason.lifted_by,
        }
        for mirror, reason in mirrors
    ]


def _time(at: int) -> str:
    whole_minute = -(-at // 60) * 60  # not before it
    return datetime.fromtimestamp(whole_minute, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _bytes(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if round(size, 1) < 1000:
            return f"{round(size, 1):g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
