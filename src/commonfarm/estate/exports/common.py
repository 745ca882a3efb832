"""What every export starts from: the hosts that are there, and how they are reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from commonfarm.estate.facts import Facts, Host, Instance
from commonfarm.estate.timeline import leaves_on, stands
from commonfarm.lib.errors import Reason, RefusedError

_PLAIN = re.compile(r"[a-z0-9]([a-z0-9.+-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Exported:
    """A file for another tool, and what could not stand in it: `what: why; what to do`."""

    text: str
    left_out: tuple[str, ...] = ()


def hosts_there(facts: Facts, day: date, *, to_come: bool = False) -> list[Host]:
    """Return the existing hosts that stand on a day; `to_come`: planned ones and later ones too.

    A host that is only needed is never there, and one whose pledge has ended is there no more.
    """
    return [host for host in facts.hosts.values() if _there(facts, host, day, to_come)]


def _there(facts: Facts, host: Host, day: date, to_come: bool) -> bool:
    if not to_come:
        return host.status == "existing" and stands(facts, host, day)
    end = leaves_on(facts, host)
    return host.status != "needed" and (end is None or day < end)


def checked(host: Host) -> Host:
    """Return a host whose name and address end no line and open no quotes; raise RefusedError.

    The files' reader demands as much; what becomes another program's configuration is not trusted.
    """
    try:
        plain = _PLAIN.fullmatch(host.name) is not None
        if host.address is not None:
            plain = (
                plain and str(ipaddress.ip_address(host.address)) != "" and "%" not in host.address
            )
    except ValueError:
        plain = False
    if not plain:
        what = f"{host.where}: the host {host.name!r:.80} at {host.address!r:.80} is no plain name"
        raise RefusedError(Reason("unsafe-name", what, "mend its name or its address"))
    return host


def jumps(facts: Facts, host: Host) -> tuple[Host, ...]:
    """Return the jump hosts between us and a host, the nearest to us first.

    Raise RefusedError where jump hosts lead to each other: ssh would start itself for ever.
    """
    found: list[Host] = []
    now = host
    while now.site is not None and now.site in facts.sites:
        name = facts.sites[now.site].jump_host
        if name is None or name == now.name or name not in facts.hosts:
            break
        now = facts.hosts[name]
        if now is host or now in found:
            round_ = found[found.index(now) :] if now in found else [host, *found]
            what = f"the jump hosts {', '.join(one.name for one in round_)} lead to each other"
            to_do = "let one of their sites be reached without a jump host"
            raise RefusedError(Reason("jump-hosts-in-a-circle", what, to_do))
        found.append(now)
    return tuple(reversed(found))


def running(facts: Facts, hosts: Iterable[Host]) -> dict[str, list[Instance]]:
    """Return, for each of the hosts, the instances that run on it today."""
    found: dict[str, list[Instance]] = {host.name: [] for host in hosts}
    for instance in facts.instances.values():
        if instance.on in found:
            found[instance.on].append(instance)
    return found


def joined(lines: Sequence[str]) -> str:
    """Return lines as a text file has them."""
    return "".join(f"{line}\n" for line in lines)
