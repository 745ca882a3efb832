"""Telling a mirror to pull by SSH, as Debian's mirrors do: the key that it lets in may do one thing
there (a forced command in its `authorized_keys`), and hears `sync:all` or `sync:staged`, with
`sync:archive:TREE`, in SSH_ORIGINAL_COMMAND. Only the process `operator` has the key.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncssh

from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason
from commonfarm.mirrors.addresses import AddressRefusedError, Policy, addresses_of
from commonfarm.mirrors.models import HostKey, Mirror
from commonfarm.mirrors.scanning.values import Code

CONNECT_SECONDS, LOGIN_SECONDS, COMMAND_SECONDS = 10, 20, 60
MOST_ADDRESSES = 4


def tell(mirror: Mirror, config: Config, *, staged: bool) -> Reason | None:
    """Tell a mirror; return why that failed. A machine that nobody vouched for is told nothing."""
    try:
        addresses = addresses_of(mirror.push_to, Policy.of(config))
    except AddressRefusedError as error:
        return Reason(Code.ADDRESS_REFUSED, str(error))
    except OSError as error:
        return Reason(Code.NO_ADDRESS, f"its name has no address: {error.strerror}")
    parts = urlsplit(mirror.push_to)
    port = parts.port or 22
    known = HostKey.of(mirror)
    try:
        if not known.trusted:
            shown = asyncio.run(_shown(_connected(addresses, port)))
            known.was_offered(shown.export_public_key().decode().strip(), shown.get_fingerprint())
            return Reason(
                "host-key-not-trusted",
                f"nobody has said that its host key {known.fingerprint} is the right one",
                f"commonfarm mirror trust-host-key {mirror.name} {known.fingerprint}",
            )
        key = config.operator / "push-key"
        command = f"sync:{'staged' if staged else 'all'} sync:archive:{mirror.tree.name}"
        trusted = asyncssh.import_public_key(known.trusted)
        code = asyncio.run(
            _run(_connected(addresses, port), parts.username or "", key, trusted, command)
        )
    except asyncssh.HostKeyNotVerifiable:
        text = "it shows another host key than the one that was trusted"
        return Reason("other-host-key", text, "find out why; then set its address anew")
    except asyncssh.PermissionDenied:
        text = "it does not let our key in"
        return Reason("key-refused", text, "its authorized_keys needs commonfarm mirror push-key")
    except TimeoutError:
        return Reason(Code.TOO_SLOW, "it did not answer in time")
    except (asyncssh.Error, OSError) as error:
        return Reason(Code.NOT_REACHED, f"it cannot be reached by SSH: {str(error)[:200]}")
    if code != 0:
        return Reason(Code.BAD_ANSWER, f"its command ended with {code}")
    return None


def _connected(addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first address that answers; OSError of the last when none does."""
    problem = OSError("it has no address")
    for address in addresses[:MOST_ADDRESSES]:
        try:
            return socket.create_connection((address, port), CONNECT_SECONDS)
        except OSError as error:
            problem = error
    raise problem


async def _shown(sock: socket.socket) -> asyncssh.SSHKey:
    async with asyncio.timeout(CONNECT_SECONDS):
        shown = await asyncssh.get_server_host_key(sock=sock, config=None)
    if shown is None:
        raise OSError("it shows no host key")
    return shown


async def _run(
    sock: socket.socket, user: str, key: Path, trusted: asyncssh.SSHKey, command: str
) -> int | None:
    async with asyncio.timeout(LOGIN_SECONDS + COMMAND_SECONDS):
        async with asyncssh.connect(
            sock=sock,
            username=user,
            client_keys=[str(key)],
            known_hosts=([trusted], [], []),
            config=None,
            agent_path=None,
            preferred_auth=["publickey"],
            login_timeout=LOGIN_SECONDS,
        ) as connection:
            # Whatever it has to say, it is not read.
            null = asyncssh.DEVNULL
            process = await connection.create_process(
                command, stdin=null, stdout=null, stderr=null, encoding=None
            )
            done = await process.wait(timeout=COMMAND_SECONDS)
            return done.exit_status
