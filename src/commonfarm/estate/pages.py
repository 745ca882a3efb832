"""What the estate's pages show, made of the facts as others see them and of the answers kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from commonfarm.estate.drawing import meters, spans
from commonfarm.estate.drawing.svg import write
from commonfarm.estate.facts import Facts, Host, Instance, Pledge, Service, Sponsor
from commonfarm.estate.kept import seen
from commonfarm.estate.models import Answer, Load
from commonfarm.estate.plan import Placed, Plan, Unplaced
from commonfarm.estate.resources import resource
from commonfarm.estate.showing import in_a_row
from commonfarm.estate.timeline import stands
from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.lib.hints import hint

ANONYMOUS = "anonymous"
T = TypeVar("T")


@dataclass(frozen=True)
class Estate:
    """The estate in force as the pages show it on a day."""

    load: Load
    facts: Facts
    today: date

    @classmethod
    def current(cls, today: date) -> Estate | None:
        """Return the estate in force, None before the first load."""
        load = Load.in_force()
        return cls(load, seen(load), today) if load else None

    @cached_property
    def answer(self) -> Answer | None:
        """The plan as it was kept; of another load while that of this one is being made."""
        return Answer.objects.filter(kind="plan").defer("document").first()

    @cached_property
    def plan(self) -> Plan | None:
        """The plan of this load, None while it is being made, or where it could not be."""
        answer = self.answer
        if answer is None or answer.load_id != self.load.pk or answer.problem is not None:
            return None
        return _plan(answer.pk, answer.made_at.isoformat())

    @cached_property
    def placed(self) -> Placed | None:
        """What runs where from now on, by the plan."""
        return self.plan.intervals[0].levels["likely"] if self.plan else None

    @cached_property
    def on(self) -> Mapping[str, str]:
        """Instance -> host: by the plan, and while there is none as it is today."""
        if self.placed:
            return self.placed.on
        return {name: one.on for name, one in self.facts.instances.items() if one.on}

    @cached_property
    def unplaced(self) -> Sequence[Unplaced]:
        """What has no host, and why."""
        return self.placed.unplaced if self.placed else ()

    @cached_property
    def reasons(self) -> Mapping[str, Sequence[Reason]]:
        """Instance -> why it has no host."""
        return {one.instance: one.reasons for one in self.unplaced}

    @cached_property
    def short(self) -> list[dict[str, Any]]:
        """What has no host, those that share all reasons together."""
        found: dict[Sequence[Reason], list[str]] = {}
        for one in self.unplaced:
            found.setdefault(one.reasons, []).append(one.instance)
        return [{"names": in_a_row(names), "reasons": reasons} for reasons, names in found.items()]

    @cached_property
    def instances(self) -> Mapping[str, list[Instance]]:
        """The instances of each service, as many as are likely."""
        found: dict[str, list[Instance]] = {name: [] for name in self.facts.services}
        for one in self.facts.instances_at("likely"):
            found.setdefault(one.service, []).append(one)
        return found

    @cached_property
    def guests(self) -> Mapping[str, list[Instance]]:
        """The instances on each host."""
        return meters.guests(self.facts, self.on)

    @cached_property
    def colours(self) -> meters.Colours:
        """Which colour each service has."""
        return meters.Colours(self.facts)

    @cached_property
    def hosts(self) -> list[Host]:
        """The hosts by site, rack and name; those without a site come last."""
        return sorted(
            self.facts.hosts.values(),
            key=lambda one: (one.site is None, one.site or "", one.rack or "", one.name),
        )

    def host(self, name: str) -> Host:
        """Return a host; NotFoundError names the likely one."""
        return _named("host", name, self.facts.hosts)

    def service(self, name: str) -> Service:
        """Return a service; NotFoundError names the likely one."""
        return _named("service", name, self.facts.services)

    def bars(self, host: Host) -> list[dict[str, Any]]:
        """Return a host's resource classes, each as a bar."""
        guests = self.guests[host.name]
        found = meters.meters(host, guests, "likely", self.colours)
        return [
            {
                "key": one.key.removeprefix("CUSTOM_").lower().replace("_", " "),
                "text": one.text,
                "share": one.share,
                "over": one.over,
                "svg": _markup(meters.draw(one, host.name, _service_address)),
            }
            for one in found
        ]

    def shared(self, site: str | None) -> list[dict[str, Any]]:
        """Return what the hosts of a site share, and how much of it is taken."""
        found = self.facts.sites.get(site or "")
        if found is None:
            return []
        hosts = [one for one in self.facts.hosts.values() if one.site == found.name]
        here = [one for one in hosts if stands(self.facts, one, self.today)]
        guests = [one.requirement for host in here for one in self.guests[host.name]]
        rows = []
        for key, limit in found.limits.items():
            used = sum(one.at("likely").get(key, 0) for one in guests)
            shown = resource(key).format
            text = f"{shown(used)} of {shown(limit)}"
            rows.append({"what": key.replace("_", " "), "text": text, "over": used > limit})
        for name, network in found.networks.items():
            used = sum(name in one.networks for one in here)
            used += sum(one.addresses.get(name, 0) for one in guests)
            text = f"{used} of {network.capacity} addresses"
            what = f"network {name} {network.prefix}"
            rows.append({"what": what, "text": text, "over": used > network.capacity})
        return rows

    def card(self, host: Host) -> dict[str, Any]:
        """Return what a host's card shows."""
        pledge = self.facts.pledges.get(host.pledge or "")
        return {
            "host": host,
            "here": stands(self.facts, host, self.today),
            "span": spans.span(pledge, self.today) if pledge else None,
            "bars": self.bars(host),
            "guests": len(self.guests[host.name]),
        }

    def instance(self, one: Instance) -> dict[str, Any]:
        """Return what a row of an instance shows."""
        placed = self.placed
        return {
            "instance": one,
            "needs": _needs(one) or "nothing that is counted",
            "host": self.on.get(one.name),
            "was": placed.moved.get(one.name) if placed else None,
            "safe_until": self.plan.safe_until.get(one.name) if self.plan else None,
            "reasons": self.reasons.get(one.name, ()),
        }

    def lines(self) -> list[dict[str, Any]]:
        """Return the pledges with their spans, the first to end at the top."""
        axis = spans.Axis.of(self.facts, self.today)
        lent: dict[str, list[str]] = {}
        for host in self.facts.hosts.values():
            if host.pledge:
                lent.setdefault(host.pledge, []).append(host.name)
        ends = {one["name"]: one for one in self.cliffs["ends"]} if self.cliffs else {}
        return [
            {
                "span": one,
                "cliff": ends.get(one.pledge.name),
                "sponsor": self.facts.sponsors.get(one.pledge.sponsor),
                "hosts": lent.get(one.pledge.name, []),
                "svg": _markup(spans.draw(one, axis)),
            }
            for one in spans.spans(self.facts, self.today)
        ]

    def axis(self) -> SafeString:
        """Return the months that stand above the pledges."""
        return _markup(spans.draw_axis(spans.Axis.of(self.facts, self.today)))

    def forecast(self) -> dict[str, Any] | None:
        """Return the document of the forecast of this load, None while there is none."""
        return self._kept("forecast")

    @cached_property
    def cliffs(self) -> dict[str, Any] | None:
        """What breaks at each pledge's end, and if something vanished; None while not known."""
        return self._kept("cliffs")

    @cached_property
    def wanted(self) -> dict[str, Any] | None:
        """What to ask sponsors for, and the letter that asks; None while not known."""
        return self._kept("wanted")

    def failed(self, kind: str) -> dict[str, str] | None:
        """Return why the answer of a kind could not be made for this load, None where it could."""
        answer = Answer.objects.filter(kind=kind, load=self.load).defer("document").first()
        return answer.problem if answer else None

    def waits(self, *kinds: str) -> bool:
        """Say whether an answer of one of these kinds is still to be made for this load."""
        there = Answer.objects.filter(kind__in=kinds, load=self.load)
        return there.count() < len(kinds)

    def _kept(self, kind: str) -> dict[str, Any] | None:
        answer = Answer.objects.filter(kind=kind, load=self.load).defer("document").first()
        if answer is None or answer.problem is not None:
            return None
        return _document(answer.pk, answer.made_at.isoformat())


def thanks(estate: Estate) -> dict[str, Any]:
    """Return who gives or gave, as each allowed, and how many do not want to be named."""
    facts = estate.facts
    named: list[dict[str, Any]] = []
    unnamed = set()
    for sponsor in facts.sponsors.values():
        pledges = [one for one in facts.pledges.values() if one.sponsor == sponsor.name]
        begun = [one for one in pledges if one.start is None or one.start <= estate.today]
        if not begun:
            continue
        if any(one.disclosure == ANONYMOUS for one in begun):
            unnamed.add(sponsor.name)
            continue
        lines = [spans.span(one, estate.today) for one in begun]
        named.append(
            {
                "sponsor": sponsor,
                "logo": sponsor.logo,
                "url": _web(sponsor.url),
                "now": [one for one in lines if not one.over],
                "before": [one for one in lines if one.over],
            }
        )
    # Who gives now comes before who gave.
    named.sort(key=lambda one: (not one["now"], str(one["sponsor"].title).casefold()))
    return {"sponsors": named, "unnamed": len(unnamed)}


def logo_of(facts: Facts, name: str) -> Sponsor | None:
    """Return the sponsor that is shown with the logo `name`."""
    return next((one for one in facts.sponsors.values() if one.logo == name), None)


def amounts_of(host: Host) -> list[dict[str, Any]]:
    """Return what a host has of each resource class, and what guests can have of it."""
    return [
        {
            "key": key,
            "has": resource(key).format(amount),
            "reserved": resource(key).format(host.reserved[key]) if key in host.reserved else "",
            "ratio": float(host.allocation_ratio[key]) if key in host.allocation_ratio else "",
            "room": resource(key).format(host.room(key) or 0),
        }
        for key, amount in host.capacity.items()
    ]


def pledge_of(facts: Facts, host: Host) -> Pledge | None:
    """Return the pledge by which a host is there."""
    return facts.pledges.get(host.pledge or "")


def _needs(one: Instance) -> str:
    """Return what an instance needs, with the ends of what is not known exactly."""
    told = []
    for key, amount in sorted(one.requirement.amounts.items()):
        shown = resource(key).format
        ends = "" if amount.exact else f" ({shown(amount.low)} to {shown(amount.high)})"
        told.append(f"{key.replace('_', ' ')} {shown(amount.likely)}{ends}")
    return ", ".join(told)


def _named(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name in known:
        return known[name]
    what = f"the estate has no {kind} {name[:100]!r}"
    raise NotFoundError(Reason(f"no-such-{kind}", what, hint(name, known)))


def _service_address(name: str) -> str:
    return reverse("estate-service", args=[name])


def _markup(drawn: Any) -> SafeString:
    # The writer of `svg` has escaped every text and attribute.
    return mark_safe(write(drawn))  # noqa: S308


def _web(url: str | None) -> str:
    return url if url and url.startswith(("https://", "http://")) else ""


@lru_cache(maxsize=4)
def _plan(pk: int, _made_at: str) -> Plan:
    return Plan.from_json(Answer.objects.get(pk=pk).document, "the plan that is kept")


@lru_cache(maxsize=8)
def _document(pk: int, _made_at: str) -> dict[str, Any]:
    return dict(json.loads(Answer.objects.get(pk=pk).document))
