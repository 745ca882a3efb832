"""The hosts' SSH keys as a `known_hosts` file (the format is in sshd(8))."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from commonfarm.estate.exports.common import Exported, checked, joined
from commonfarm.estate.facts import Host
from commonfarm.lib.errors import Reason, RefusedError

# The files' reader looks into the key; here it must only be no more than one line of two words.
_KEY = re.compile(r"[a-z0-9@.-]{1,60} [A-Za-z0-9+/]{1,9000}={0,2}")


def known_hosts(hosts: Sequence[Host]) -> Exported:
    """Return a line for each key of each host, under its name and its address.

    An address that two hosts have is left out of both lines, lest each could pass for the other.
    """
    times = Counter(host.address for host in hosts)
    lines, left_out = [], []
    for host in map(checked, hosts):
        names = [host.name, *([host.address] if times[host.address] == 1 else [])]
        if not host.ssh_host_keys:
            left_out.append(f"{host.name}: its keys are not known; write its `ssh_host_keys`")
        for key in host.ssh_host_keys:
            if not _KEY.fullmatch(key):
                what = f"{host.where}: {key[:40]!r} is no public key of an SSH server"
                raise RefusedError(Reason("no-key", what, "write `ssh-ed25519 AAAA…`"))
            lines.append(f"{','.join(filter(None, names))} {key}")
    return Exported(joined(lines), tuple(left_out))
