"""A letter that asks for what is wanted, for readers who do not know the estate.

It names services in their own words and no host, pledge or sponsor: what others gave is theirs to
tell. Plain text in lines of 72 columns.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from ipaddress import ip_network

from commonfarm.estate.answers.wanted import Addition, Wanted, Wider
from commonfarm.estate.facts import Facts, Host, Instance, Period
from commonfarm.estate.resources import resource

WIDTH = 72
TERM, NOTICE = Period(12), Period(3)
"""For how long, as a pledge has it where it says nothing else."""

_TRAITS = {
    "CUSTOM_BARE_METAL": "a physical machine, not a virtual one",
    "CUSTOM_CONSOLE": "with a management console that can be reached over the network",
    "CUSTOM_VIRTUALISATION": "able to run virtual machines",
}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def letter(facts: Facts, found: Wanted, day: date) -> list[str]:
    """Return the letter's lines; where nothing is wanted, one that says so."""
    if not found.additions and not found.wider:
        return ["Nothing is wanted, so there is no letter to write."]
    return "\n".join(_lines(facts, found, day)).split("\n")


def _lines(facts: Facts, found: Wanted, day: date) -> Iterator[str]:
    missing = [facts.instances[name] for name in found.missing if name in found.on]
    yield f"Subject: {_subject(found)}"
    yield ""
    yield "Dear sponsor,"
    yield ""
    if missing:
        what = f"we are volunteers who run the services below, and from {_day(day)} on some of them"
        yield from _wrap(f"{what} have no machine to run on. We would be glad of your help.")
    else:
        what = "we are volunteers, and our services would not outlive the loss of a machine"
        yield from _wrap(f"{what}. We would be glad of your help.")
    yield ""
    if missing:
        yield from _headed("What it is for", (_bullet(one) for one in _services(facts, missing)))
    yield from _headed("What we ask for", _machines(facts, found))
    yield from _headed("For how long", [_how_long(day)])
    yield from _headed("What it changes", _changes(found, missing))
    yield from _headed("Whom to write to", [_contact(facts, missing)])
    yield "Thank you for reading this."


def _subject(found: Wanted) -> str:
    if not found.hosts:
        return "a wider network for a free-software project"
    return f"{_number(found.hosts)} machine{'s' * (found.hosts > 1)} for a free-software project"


def _headed(title: str, paragraphs: Iterable[str]) -> Iterator[str]:
    yield title
    yield "-" * len(title)
    yield ""
    yield from paragraphs
    yield ""


def _services(facts: Facts, missing: Sequence[Instance]) -> Iterator[str]:
    """Yield each service and which of its parts have no machine."""
    parts: dict[str, Counter[str]] = {}
    for one in missing:
        stage = "" if one.environment == "production" else f" for {_plain(one.environment)}"
        parts.setdefault(one.service, Counter())[f"{_plain(one.component)}{stage}"] += 1
    for service, counts in parts.items():
        named = (f"{name} ({many} of them)" if many > 1 else name for name, many in counts.items())
        yield f"{facts.services[service].title}: {', '.join(named)}"


def _machines(facts: Facts, found: Wanted) -> Iterator[str]:
    for number, one in enumerate(found.additions):
        if number:
            yield ""
        yield from _machine(facts, one, found)
    if found.additions and found.wider:
        yield ""
    for more in found.wider:
        yield _bullet(_more(facts, more))


def _machine(facts: Facts, one: Addition, found: Wanted) -> Iterator[str]:
    host = facts.catalogue[one.kind].host
    yield _bullet(f"{len(one.hosts)} x {one.title}")
    rows = [
        ("processor", _processor(host)),
        ("memory", _amount(host, "memory")),
        ("disk", _amount(host, "disk")),
        *((key, _amount(host, key)) for key in sorted(host.capacity) if key.startswith("CUSTOM_")),
        ("it must be", ", ".join(map(_trait, sorted(host.traits)))),
        ("network", ", ".join(_network(facts, one, found))),
        ("where", facts.sites[one.site].title if one.site else ""),
    ]
    for name, value in rows:
        if value:
            yield textwrap.fill(
                f"{name:<11}{value}", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 15
            )


def _processor(host: Host) -> str:
    cores = _amount(host, "cores")
    return (
        f"{host.architecture}, {cores} core{'s' * (cores != '1')}" if cores else host.architecture
    )


def _amount(host: Host, key: str) -> str:
    """Return how much, as it was written rather than to three digits."""
    return resource(key).exactly(host.capacity[key]) if host.capacity.get(key) else ""


def _network(facts: Facts, one: Addition, found: Wanted) -> Iterator[str]:
    """Yield the most that any of these machines needs of the network."""
    guests = [[facts.instances[name] for name in names] for names in one.hosts.values()]
    for key in ("bandwidth", "traffic"):
        most = max(
            sum(i.requirement.at(found.level).get(key, 0) for i in there) for there in guests
        )
        if most:
            yield resource(key).format(most)
    versions: Counter[str] = Counter()
    for there in guests:
        here: Counter[str] = Counter()
        for instance in there:
            for name, many in instance.requirement.addresses.items():
                here[_version(facts, one.site, name)] += many
        versions |= here
    for version, many in sorted(versions.items()):
        yield f"{many} {version} address{'es' * (many > 1)}"


def _version(facts: Facts, site: str | None, name: str) -> str:
    network = facts.sites[site].networks[name] if site else None
    return f"IPv{ip_network(network.prefix).version}" if network else "network"


def _more(facts: Facts, one: Wider) -> str:
    site, _, _ = one.name.partition("/")
    title = facts.sites[site].title
    if one.scope == "network":
        more = f"{one.more} more network address{'es' * (one.more > 1)} at {title}"
        return f"{more}, such as the prefix {one.prefix}" if one.prefix else more
    return f"{resource(one.resource).format(one.more)} more {one.resource} at {title}"


def _how_long(day: date) -> str:
    begins = f"From {_day(day)} on, for {_period(TERM)} at least. Should you need a machine back"
    ends = f"after that, {_period(NOTICE)}' notice would give us the time to move."
    return "\n".join(_wrap(f"{begins} {ends}"))


def _changes(found: Wanted, missing: Sequence[Instance]) -> Iterator[str]:
    services = len({one.service for one in missing})
    if missing:
        parts = f"{_number(len(missing))} part{'s' * (len(missing) > 1)}"
        of = f"{_number(services)} service{'s' * (services > 1)}"
        away = "it stays" if len(missing) == 1 else "they stay"
        what = (
            f"With it, {parts} of {of} can run that could not otherwise. Without it, {away} away, "
        )
        what += "or something else has to go."
        yield "\n".join(_wrap(what))
    if found.survive and found.additions:
        words = {"host": "machine", "rack": "rack", "site": "site", "sponsor": "sponsor's help"}
        named = " or ".join(words.get(key, key) for key in found.survive)
        if missing:
            yield ""
        much = "as much as can be" if found.exposed else "everything"
        what = f"It is also what lets {much} run on after the loss of any one {named}"
        yield "\n".join(_wrap(f"{what}. Without it, such a loss would stop services for good."))


def _contact(facts: Facts, missing: Sequence[Instance]) -> str:
    services = {one.service for one in missing} or set(facts.services)
    people = sorted({who for name in services for who in facts.services[name].coordinators})
    if not people:
        return "\n".join(_wrap("Please answer to whoever sent you this letter."))
    return "\n".join(_wrap(f"Our coordinators: {', '.join(people)}."))


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"


def _bullet(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent=" " * 4)


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)


def _plain(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _trait(name: str) -> str:
    return _TRAITS.get(name) or f"with {_plain(name.removeprefix('CUSTOM_')).lower()}"


def _number(many: int) -> str:
    return _NUMBERS[many] if many < len(_NUMBERS) else str(many)


def _period(period: Period) -> str:
    years, months = divmod(period.months, 12)
    parts = [(years, "year"), (months, "month"), (period.days, "day")]
    said = [f"{_number(many)} {what}{'s' * (many > 1)}" for many, what in parts if many]
    return " and ".join(said)
