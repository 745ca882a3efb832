"""`commonfarm estate export` and `import`: the estate as other tools write it, and back."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from commonfarm.estate.verbs import files
from commonfarm.estate.verbs.options import AS_JSON, AT, DIRECTORY, day
from commonfarm.lib.terminal import harmless

if TYPE_CHECKING:
    from commonfarm.estate.exports.common import Exported
    from commonfarm.estate.facts import Facts, Host
    from commonfarm.estate.imports.draft import Draft

exports = typer.Typer(help="Write the estate for another tool.", no_args_is_help=True)
imports = typer.Typer(help="Make an estate of what another tool knows.", no_args_is_help=True)

OUT = typer.Option(None, "--out", metavar="FILE", help="Write there, not to the terminal.")
OUT_OF_IMPORT = typer.Option(..., "--out", metavar="FILE", help="The YAML file to write.")
YES = typer.Option(False, "--yes", help="Write over a file that is there, without asking.")
ALL = typer.Option(False, "--all", help="Planned hosts and those that come later too.")
LOAD = typer.Option(
    None,
    "--capacity-from-load",
    metavar="FACTOR",
    min=1.0,
    max=100.0,
    help="Say that hosts of unknown capacity have this much more than their guests need.",
)


@exports.command("ansible")
def export_ansible(
    directory: Path = DIRECTORY,
    out: Path | None = OUT,
    every: bool = ALL,
    at: datetime | None = AT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Write an inventory for Ansible, in YAML."""
    from commonfarm.estate.exports.ansible import inventory

    _export(inventory, directory, out, every, day(at), yes, as_json)


@exports.command("ssh-config")
def export_ssh_config(
    directory: Path = DIRECTORY,
    out: Path | None = OUT,
    every: bool = ALL,
    at: datetime | None = AT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Write a part for ~/.ssh/config, with the sites' jump hosts."""
    from commonfarm.estate.exports.ssh_config import ssh_config

    _export(ssh_config, directory, out, every, day(at), yes, as_json)


@exports.command("known-hosts")
def export_known_hosts(
    directory: Path = DIRECTORY,
    out: Path | None = OUT,
    every: bool = ALL,
    at: datetime | None = AT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Write the hosts' SSH keys for ~/.ssh/known_hosts."""
    from commonfarm.estate.exports.known_hosts import known_hosts

    _export(lambda _, hosts: known_hosts(hosts), directory, out, every, day(at), yes, as_json)


@exports.command("dns-zone")
def export_dns_zone(
    directory: Path = DIRECTORY,
    origin: str = typer.Option(..., metavar="NAME", help="The zone, such as example.org."),
    name_server: list[str] = typer.Option(..., metavar="NAME", help="Its servers; may repeat."),
    contact: str = typer.Option(
        "", metavar="NAME", help="Who answers for it, as the DNS has it; hostmaster.ORIGIN."
    ),
    serial: int | None = typer.Option(
        None, min=1, max=2**32 - 1, help="Its serial number, else of the day: YYYYMMDD00."
    ),
    reverse: str | None = typer.Option(
        None, metavar="PREFIX", help="The names of these addresses, not the addresses of names."
    ),
    services: bool = typer.Option(False, help="Aliases for services too."),
    out: Path | None = OUT,
    every: bool = ALL,
    at: datetime | None = AT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Write a zone file: the hosts' addresses, or with --reverse their names."""
    from commonfarm.estate.exports import dns_zone

    today = day(at)
    zone = dns_zone.Zone(
        origin.rstrip("."),
        tuple(server.rstrip(".") for server in name_server),
        contact.rstrip(".") or f"hostmaster.{origin.rstrip('.')}",
        serial or int(today.strftime("%Y%m%d00")),
    )

    def made(facts: Facts, hosts: Sequence[Host]) -> Exported:
        if reverse is None:
            return dns_zone.forward(facts, hosts, zone, services=services)
        return dns_zone.reverse(hosts, zone, _prefix(reverse))

    _export(made, directory, out, every, today, yes, as_json)


def _prefix(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise _bad_option("--reverse", str(error), "write one such as 10.5.124.0/24") from None


def _bad_option(option: str, what: str, to_do: str) -> Exception:
    from commonfarm.lib.errors import BadInputError, Problem

    return BadInputError(Problem(option, 0, 0, what, to_do))


@exports.command("prometheus")
def export_prometheus(
    directory: Path = DIRECTORY,
    port: int = typer.Option(9100, min=1, max=65535, help="Of the exporter; node exporter's."),
    out: Path | None = OUT,
    every: bool = ALL,
    at: datetime | None = AT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Write targets for Prometheus, for its file_sd_configs."""
    from commonfarm.estate.exports.prometheus import targets

    def made(facts: Facts, hosts: Sequence[Host]) -> Exported:
        return targets(facts, hosts, port)

    _export(made, directory, out, every, day(at), yes, as_json)


def _export(
    make: Callable[[Facts, Sequence[Host]], Exported],
    directory: Path,
    out: Path | None,
    every: bool,
    today: date,
    yes: bool,
    as_json: bool,
) -> None:
    from commonfarm.estate.disclosure import veiled
    from commonfarm.estate.exports.common import hosts_there
    from commonfarm.estate.folder import read_facts

    # Inventories are often public: who gives anonymously does not stand in them.
    facts = veiled(read_facts(directory))
    hosts = hosts_there(facts, today, to_come=every)
    made = make(facts, hosts)
    if out is not None:
        files.write(out, made.text, over=yes)
    if as_json:
        shown = {"hosts": len(hosts), "left_out": made.left_out, "text": made.text}
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if out is None:
        typer.echo(made.text, nl=False)
    for one in _together(made.left_out):
        typer.echo(harmless(f"left out: {one}"), err=True)


def _together(lines: Sequence[str]) -> list[str]:
    """Return `what: why` lines, one for many things of which the same is said."""
    from commonfarm.estate.showing import alike

    parts = (line.rpartition(": ") if line.count(": ") == 1 else ("", "", line) for line in lines)
    return alike(("", what, why) for what, _, why in parts)


@imports.command("ansible")
def import_ansible(
    file: Path = typer.Argument(
        metavar="FILE", help="What `ansible-inventory --list` prints, or YAML."
    ),
    out: Path = OUT_OF_IMPORT,
    capacity_from_load: float | None = LOAD,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Make an estate of an inventory of Ansible."""
    from commonfarm.estate.imports.ansible import read

    draft = read(harmless(file.name), files.read(file))
    _import(draft, out, capacity_from_load, yes, as_json)


@imports.command("netbox")
def import_netbox(
    tables: list[Path] = typer.Argument(
        metavar="FILES", help="CSV: sites, devices, virtual machines, prefixes, …"
    ),
    out: Path = OUT_OF_IMPORT,
    disk_unit: str = typer.Option("MB", help="Of virtual machines' disks: GB before NetBox 4.1."),
    capacity_from_load: float | None = LOAD,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Make an estate of CSV files of NetBox; what is in each is seen by its columns."""
    from commonfarm.estate.imports.netbox import read

    if disk_unit not in ("MB", "GB"):
        raise _bad_option(
            "--disk-unit", f"{disk_unit!r:.80} is no unit of NetBox", "write MB or GB"
        )
    draft = read([(file.name, files.read(file)) for file in tables], disk_unit)
    _import(draft, out, capacity_from_load, yes, as_json)


@imports.command("ganeti")
def import_ganeti(
    file: Path = typer.Argument(metavar="FILE", help="What `hscan` or `hbal -S` wrote."),
    out: Path = OUT_OF_IMPORT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Make an estate of the text data of Ganeti's htools."""
    from commonfarm.estate.imports.ganeti import read

    _import(read(harmless(file.name), files.read(file)), out, None, yes, as_json)


def _import(
    draft: Draft, out: Path, capacity_from_load: float | None, yes: bool, as_json: bool
) -> None:
    from commonfarm.estate.imports.draft import as_yaml, with_capacity_from_load

    if capacity_from_load is not None:
        draft = with_capacity_from_load(draft, capacity_from_load)
    files.write(out, as_yaml(draft), over=yes)
    counts = {name: len(things) for name, things in draft.sections() if things}
    if as_json:
        typer.echo(json.dumps({**counts, "not_carried_over": draft.lost}, indent=2))
        return
    typer.echo(f"wrote {out}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    for one in _together(draft.lost):
        typer.echo(harmless(f"not carried over: {one}"))
