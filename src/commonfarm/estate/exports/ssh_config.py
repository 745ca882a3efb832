"""The estate as `ssh_config(5)`: hosts by their names, through their sites' jump hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from commonfarm.estate.exports.common import Exported, checked, joined, jumps
from commonfarm.estate.facts import Facts, Host


def ssh_config(facts: Facts, hosts: Sequence[Host]) -> Exported:
    """Return a block for each host, to be included by one's own configuration.

    A block is also found by the address, unless two hosts have the same (private networks of two
    sites may be alike). Where keys are known they are looked up by the host's name, so that a
    host at another's address is not taken for it.
    """
    there = {host.name for host in hosts}
    times = Counter(host.address for host in hosts)
    lines = ["# Made by `commonfarm estate export ssh-config` from the estate; changes are lost."]
    left_out = []
    for host in map(checked, hosts):
        path = jumps(facts, host)
        if path and path[-1].name not in there:
            why = "its jump host is not there, so it is entered without one"
            left_out.append(f"{host.name}: {why}; name another jump host for its site")
            path = ()
        patterns = [host.name, *([host.address] if times[host.address] == 1 else [])]
        lines += ["", f"Host {' '.join(filter(None, patterns))}"]
        if host.address:
            lines.append(f"    HostName {host.address}")
        if host.ssh_host_keys:
            lines.append(f"    HostKeyAlias {host.name}")
        if path:
            # Only the last: how to reach that one is in its own block.
            lines.append(f"    ProxyJump {checked(path[-1]).name}")
    return Exported(joined(lines), tuple(left_out))
