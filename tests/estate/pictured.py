"""An estate to look at: as many hosts as wanted, long names, and names that try to be markup."""

from __future__ import annotations

from datetime import date
from typing import Any

from commonfarm.estate.facts import LEVELS, Facts, Network, Sponsor
from commonfarm.estate.plan import FORMAT, Certificate, Placed, Plan, PlannedInterval, Unplaced
from commonfarm.lib.errors import Reason
from tests.estate.making import facts, host, instance, pledge, site

TODAY = date(2026, 1, 15)
HOSTILE = "<script>alert(1)</script>\"'&]]>"
LONG = "a-very-long-name-of-a-service-that-goes-on-and-on"
LOGO = "nokia.svg"
SERVICES = ("wiki", "bugs", "lists", "gerrit", "download", "dns", "ldap", "build", LONG)


def estate(hosts: int = 12, **said: Any) -> Facts:
    """Return an estate of so many hosts at two sites, a third of them full, some lent."""
    things: list[Any] = [
        site("phx2", [Network("build", "phx2", "10.5.124.0/24", 1, 253, "sites.yaml:1:1")]),
        site("a-site-with-quite-a-long-name"),
        pledge("nokia-2025", "nokia", notice_given_on=date(2026, 1, 1)),
        pledge("open", "ocaml-labs"),
        pledge("fixed", "nokia", until=date(2027, 3, 1), disclosure="amount hidden"),
        pledge("secret-loan", "secretcorp", disclosure="anonymous"),
        pledge("past", "nokia", until=date(2025, 12, 1)),
    ]
    pledges = (None, "nokia-2025", "open", "fixed", "secret-loan")
    for number in range(hosts):
        lent = pledges[number % len(pledges)]
        name = f"host-{number:03}" if number % 7 else f"h{number}.{LONG}.example.org"
        things.append(
            host(
                name,
                site="phx2" if number % 3 else "a-site-with-quite-a-long-name",
                rack=f"r{number % 2}" if number % 4 else None,
                cores=16,
                memory="64 GiB",
                disk="2 TB",
                pledge=lent,
                sponsor=next((one.sponsor for one in things[2:7] if one.name == lent), None),
            )
        )
        for guest in range(number % 5):
            service = SERVICES[(number + guest) % len(SERVICES)]
            # The names are free for services of a file, and are checked there.
            things.append(
                instance(
                    f"{service}/app/production/{number * 10 + guest}",
                    on=name,
                    cores=4 if number % 3 else 6,
                    memory=("8 GiB", "12 GiB", "24 GiB"),
                    disk="100 GB",
                    priority=10,
                )
            )
    things.append(instance("giant/app/production/1", memory="4 TiB", cores=200))
    sponsors = {
        "nokia": Sponsor(
            "nokia", f"Nokia {HOSTILE}", "https://nokia.example", "nokia.svg", None, ""
        ),
        "ocaml-labs": Sponsor("ocaml-labs", "OCaml Labs", "javascript:alert(1)", None, None, ""),
        "secretcorp": Sponsor("secretcorp", "Secret Corporation", None, "secret.svg", None, ""),
    }
    return facts(*things, sponsors=sponsors, **said)


def plan_of(estate: Facts) -> Plan:
    """Return a plan as a planner could have made it: what runs today, and an interval after it."""

    def placed(gone: str) -> Placed:
        on = {name: one.on for name, one in estate.instances.items() if one.on}
        lent = {name: estate.hosts[host].pledge for name, host in on.items()}
        kept = {name: host for name, host in on.items() if lent[name] != gone}
        free = next(iter(estate.hosts), "")
        lifted = f"{free} with {HOSTILE} 4 TiB more"
        reasons = (
            Reason("too-large", "needs 4 TiB and bare metal; nearest: 48 GiB free", lifted),
            Reason("no-host", "no host has 200 cores", ""),
        )
        missing = [name for name in estate.instances if name not in kept]
        moved = dict.fromkeys(list(kept)[:2], free)
        unplaced = tuple(Unplaced(name, reasons) for name in missing)
        return Placed(
            kept, unplaced, moved, 10, 12, Certificate(1, ()), "proven", "best found", (), {}
        )

    end = date(2026, 4, 1)
    intervals = (
        PlannedInterval(TODAY, end, ("nokia-2025",), (), dict.fromkeys(LEVELS, placed(""))),
        PlannedInterval(end, None, (), (), dict.fromkeys(LEVELS, placed("nokia-2025"))),
    )
    safe = {name: end if number % 2 else None for number, name in enumerate(estate.instances)}
    return Plan(FORMAT, estate.digest, TODAY, "a test", 1, intervals, safe)


def cliffs_of(estate: Facts) -> dict[str, Any]:
    """Return what breaks, as the answer that is kept."""

    def loss(who: str, name: str, hosts: list[str], certain: bool) -> dict[str, Any]:
        gone = [one.name for one in estate.instances.values() if one.on in hosts]
        return {
            "who": who,
            "name": name,
            "on": "2026-04-01",
            "certain": certain,
            "hosts": hosts,
            "displaced": gone,
            "lost": gone[1:],
            "weight": 10,
            "proven": True,
            "moves": dict.fromkeys(gone[:1], "host-002"),
        }

    lent: dict[str, list[str]] = {}
    for one in estate.hosts.values():
        if one.pledge:
            lent.setdefault(one.pledge, []).append(one.name)
    return {
        "ends": [
            loss("pledge", name, hosts, name != "open") for name, hosts in sorted(lent.items())
        ],
        "today": [loss("host", name, [name], True) for name in estate.hosts],
    }


def wanted_of(estate: Facts) -> dict[str, Any]:
    """Return what to ask for, as the answer that is kept."""
    names = list(estate.instances)
    kind = {"kind": "rack-server", "title": f"rack server {HOSTILE}", "site": "phx2", "cost": 10}
    found = {
        "level": "likely",
        "missing": names[:3],
        "cost": 20,
        "bound": 20,
        "proven": True,
        "additions": [{**kind, "hosts": {"new-1": names[:3], "new-2": []}}],
        "wider": [
            {
                "scope": "network",
                "name": "phx2/build",
                "resource": "addresses",
                "there": 253,
                "more": 40,
                "prefix": "10.5.124.0/23",
            }
        ],
        "nowhere": [{"instance": "giant/app/production/1", "reasons": []}],
        "survive": ["host"],
        "exposed": [{"key": "host", "domain": "host-001", "instances": names[:2]}],
        "on": {},
    }
    letter = ["Dear sponsor,", "", f"we ask for two servers {HOSTILE}."]
    return {"day": "2026-01-15", "likely": found, "high": found, "letter": letter}
