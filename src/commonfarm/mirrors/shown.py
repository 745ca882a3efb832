"""What is shown of a mirror, and to whom: the public part, and the part for those who run it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from ninja import Schema

from commonfarm.accounts.interface import Role, User
from commonfarm.http.interface import etag_of
from commonfarm.lib.errors import Reason
from commonfarm.mirrors.models import Mirror, Scan, State
from commonfarm.mirrors.proof import FILE

MOST_MISSING = 1000
PUBLIC = ("name", "subtree", "http", "https", "rsync_url", "country", "sponsor", "sponsor_url")
OWN = (
    *("latitude", "longitude", "as_number", "prefixes", "only_countries", "only_networks"),
    *("weight", "budget_bytes", "pledge", "push", "push_to", "enabled", "quarantine"),
    *("proved_at", "proof_problem", "probed_at", "probe_problem", "country_problem"),
    *("added_by", "added_at"),
)
EDITABLE = (
    *(name for name in PUBLIC if name != "name"),
    *("latitude", "longitude", "as_number", "prefixes", "only_countries", "only_networks"),
    *("weight", "budget_bytes", "pledge", "push", "push_to"),
)


class ShownReason(Schema):
    """Why nobody is sent there, and what would lift it."""

    code: str
    text: str
    lifted_by: str


class ShownScan(Schema):
    """A scan that came to an end; `missing` holds its first thousand paths, in a list none."""

    kind: str
    revision: int
    started_at: datetime
    finished_at: datetime | None
    ok: bool | None
    problem: str
    files_expected: int
    files_found: int
    missing: list[str]


class ShownProof(Schema):
    """What shows control of a mirror: a file with the token as its content, at each address."""

    token: str
    addresses: list[str]


class ShownDetails(Schema):
    """What those see who run the mirror, and coordinators."""

    latitude: float | None
    longitude: float | None
    as_number: int
    prefixes: list[str]
    only_countries: list[str]
    only_networks: list[str]
    weight: int
    budget_bytes: int
    pledge: str
    push: str
    push_to: str
    enabled: bool
    quarantine: str
    administrators: list[str]
    proved_at: datetime | None
    proof: ShownProof | None
    proof_problem: str
    probed_at: datetime | None
    probe_problem: str
    country_problem: str
    answers: list[str]
    added_by: str
    added_at: datetime
    why: ShownReason | None
    last_scan: ShownScan | None


class ShownMirror(Schema):
    """A mirror: what everybody may know, and `details` for those who run it."""

    name: str
    tree: str
    subtree: str
    http: str
    https: str
    rsync_url: str
    country: str
    sponsor: str
    sponsor_url: str
    state: str
    details: ShownDetails | None


class Standing:
    """A mirror with its last scan: where it stands, and why nobody is sent there if so.

    For one that is up `why` says what its last scan failed of, if it did.
    """

    def __init__(self, mirror: Mirror, last: Scan | None) -> None:
        self.mirror = mirror
        self.last = last
        self.state, self.why = mirror.standing(last)
        if self.why is None and last is not None and last.ok is False:
            self.why = Reason("scan-failed", last.problem, "a scan that finds it well")

    @property
    def needs_a_person(self) -> bool:
        """Whether it may not come right by itself: whoever runs it should look."""
        states = (State.QUARANTINED, State.DOWN, State.UNPROVED, State.UP)
        return self.state in states and self.why is not None

    @property
    def since(self) -> datetime | None:
        """Since when it stands so, as far as that is known."""
        match self.state:
            case State.QUARANTINED:
                return self.mirror.quarantined_at
            case State.UNPROVED:
                return self.mirror.added_at
            case State.DOWN:
                return self.mirror.probed_at
            case _:
                return self.last.finished_at if self.last else None


def standings(mirrors: QuerySet[Mirror] | Sequence[Mirror]) -> list[Standing]:
    """Return where each of these mirrors stands, by two queries however many there are."""
    found = list(mirrors)
    scans = Scan.objects.filter(mirror__in=found).exclude(ok=None).defer("missing")
    last = {scan.mirror_id: scan for scan in scans.order_by("mirror_id", "-id").distinct("mirror")}
    return [Standing(mirror, last.get(mirror.pk)) for mirror in found]


def sees_all(user: User, mirror: Mirror) -> bool:
    """Say whether `user` sees the details of a mirror: who runs it, and coordinators."""
    runs_it = any(one.pk == user.pk for one in mirror.administrators.all())
    return user.may(Role.COORDINATOR) or (user.is_active and runs_it)


def show(standing: Standing, user: User, *, alone: bool = True) -> dict[str, Any]:
    """Return a mirror as the API shows it to `user`; `alone`, with the paths that it misses."""
    mirror = standing.mirror
    shown = {name: getattr(mirror, name) for name in PUBLIC}
    shown |= {"tree": mirror.tree.name, "state": str(standing.state), "details": None}
    if sees_all(user, mirror):
        shown["details"] = {
            **{name: getattr(mirror, name) for name in OWN},
            "administrators": administrators(mirror),
            "answers": answers(mirror.answers),
            "proof": proof_of(mirror),
            "why": reason(standing.why),
            "last_scan": _scan(standing.last, alone) if standing.last else None,
        }
    return shown


def administrators(mirror: Mirror) -> list[str]:
    """Return the names of those who run a mirror."""
    return sorted(user.username for user in mirror.administrators.all())


def proof_of(mirror: Mirror) -> dict[str, Any] | None:
    """Return what would show control of a mirror, None where that is shown."""
    if mirror.proved_at is not None:
        return None
    return {"token": mirror.token, "addresses": [url + FILE for url in mirror.addresses]}


def answers(bits: int) -> list[str]:
    """Return by what a mirror answers: `http4`, … `https6`."""
    return [name for number, name in enumerate(ANSWERS) if bits >> number & 1]


ANSWERS = ("http4", "http6", "https4", "https6")
"""As the bits of `mirror_map.Answers`."""


def entity_tag(mirror: Mirror) -> str:
    """Return the ETag of what can be edited; a look at the mirror does not change it."""
    told = {name: getattr(mirror, name) for name in ("name", "enabled", *EDITABLE)}
    return etag_of(told | {"id": mirror.pk, "administrators": administrators(mirror)})


def reason(why: Reason | None) -> dict[str, str] | None:
    """Return a reason as the API shows it, None for none."""
    return {"code": why.code, "text": why.text, "lifted_by": why.lifted_by} if why else None


def _scan(scan: Scan, alone: bool) -> dict[str, Any]:
    names = ("kind", "revision", "started_at", "finished_at", "ok", "problem")
    shown = {name: getattr(scan, name) for name in (*names, "files_expected", "files_found")}
    return {**shown, "missing": scan.missing[:MOST_MISSING] if alone else []}
