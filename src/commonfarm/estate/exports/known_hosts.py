"""The hosts' SSH keys as a `known_hosts` file (the format is in sshd(8))."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence

from commonfarm.estate.exports.common import Exported, checked, joined
from commonfarm.estate.facts import Host

KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


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
        for written in host.ssh_host_keys:
            key = public_key(written)
            if key is None:
                why = f"{written[:40]!r} is no public key of a host"
                left_out.append(f"{host.name}: {why}; write `ssh-ed25519 AAAA…`")
            else:
                lines.append(f"{','.join(filter(None, names))} {key}")
    return Exported(joined(lines), tuple(left_out))


def public_key(written: str) -> str | None:
    """Return type and key without the comment after them; None if it is no key of a known type.

    The key itself begins with the name of its type (RFC 4253, section 6.6).
    """
    kind, _, rest = written.strip().partition(" ")
    encoded = rest.split()[0] if rest.split() else ""
    if kind not in KEY_TYPES:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    name = kind.encode()
    return f"{kind} {encoded}" if data.startswith(len(name).to_bytes(4, "big") + name) else None
