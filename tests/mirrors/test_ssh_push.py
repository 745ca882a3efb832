"""Mirrors are told by SSH to pull; the other end is a real SSH server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from django.conf import settings
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.models import Publication
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import RefusedError, UnreachableError
from commonfarm.mirrors import push_key, pushing, ssh_push, tasks
from commonfarm.mirrors.models import HostKey, Mirror, PushAttempt
from commonfarm.mirrors.verbs.pushing import push_key as push_key_verb
from tests.mirrors.conftest import NOW, Tree, register

pytestmark = pytest.mark.django_db


@dataclass
class Sshd:
    """An SSH server: what it was told, and how it answers."""

    port: int = 0
    told: list[str | None] = field(default_factory=list)
    code: int = 0
    flood: bool = False


async def _serve(sshd: Sshd, keys: Path, ready: threading.Event, done: asyncio.Event) -> None:
    async def handle(process: asyncssh.SSHServerProcess[Any]) -> None:
        sshd.told.append(process.command)
        if sshd.flood:
            for _ in range(1000):
                process.stdout.write(b"x" * 65536)
        process.exit(sshd.code)

    async with asyncssh.listen(
        "127.0.0.1",
        sshd.port,
        server_host_keys=[str(keys / "host")],
        authorized_client_keys=str(keys / "authorized_keys"),
        process_factory=handle,
        encoding=None,
    ) as server:
        sshd.port = server.get_port()
        ready.set()
        await done.wait()


class Running:
    """A server in a thread of its own; `start` again has the same port."""

    def __init__(self, sshd: Sshd, keys: Path) -> None:
        self.sshd, self.keys = sshd, keys

    def start(self) -> None:
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.done = asyncio.Event()
        serving = _serve(self.sshd, self.keys, ready, self.done)
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(serving,))
        self.thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.done.set)
        self.thread.join()
        self.loop.close()


def new_host_key(keys: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(keys / "host"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    operator = settings.COMMONFARM.operator
    operator.mkdir(parents=True, exist_ok=True)
    push_key.prepare_key(operator)
    new_host_key(tmp_path)
    (tmp_path / "authorized_keys").write_bytes((operator / "push-key.pub").read_bytes())
    running = Running(Sshd(), tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def sshd(server: Running) -> Sshd:
    return server.sshd


@pytest.fixture
def told(tree: Tree, sshd: Sshd) -> Mirror:
    fields = {"push": "ssh", "push_to": f"ssh://archive@127.0.0.1:{sshd.port}"}
    return register("north", tree, "http://127.0.0.1:1/", **fields)


def push(mirror: Mirror) -> str:
    """Push, and return what was wrong."""
    pushing.push(mirror.pk, Publication.objects.get().pk, NOW, staged=False, attempt=0)
    return PushAttempt.objects.latest("pk").problem


def trust(mirror: Mirror) -> None:
    push(mirror)
    known = HostKey.objects.get(mirror=mirror)
    known.trust(known.fingerprint, who="user:anna")


def test_nothing_is_sent_before_a_coordinator_trusts_the_host_key(told: Mirror, sshd: Sshd) -> None:
    assert push(told).startswith("nobody has said that its host key SHA256:")
    known = HostKey.objects.get()
    with pytest.raises(RefusedError, match="has not shown the key SHA256:other"):
        known.trust("SHA256:other", who="user:anna")
    assert sshd.told == []
    known.trust(known.fingerprint, who="user:anna")
    assert push(told) == ""
    assert sshd.told == ["sync:all sync:archive:demo"]
    assert Entry.objects.latest("id").what == "mirror host key trusted"


def test_another_host_key_is_told_nothing(told: Mirror, server: Running) -> None:
    trust(told)
    server.stop()
    new_host_key(server.keys)
    server.start()
    assert push(told) == "it shows another host key than the one that was trusted"
    assert server.sshd.told == []


def test_another_address_is_trusted_anew(told: Mirror, sshd: Sshd) -> None:
    trust(told)
    Mirror.objects.update(push_to=f"ssh://other@127.0.0.1:{sshd.port}")
    assert push(told).startswith("nobody has said")


def test_each_address_of_a_name_is_tried(
    told: Mirror, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_push, "addresses_of", lambda *_: ("127.0.0.2", "127.0.0.1"))
    trust(told)
    assert push(told) == ""


def test_what_goes_wrong_is_said(told: Mirror, server: Running) -> None:
    trust(told)
    server.sshd.code = 3
    assert push(told) == "its command ended with 3"
    (server.keys / "authorized_keys").write_bytes(
        asyncssh.generate_private_key("ssh-ed25519").export_public_key()
    )
    server.stop()
    server.start()
    assert push(told) == "it does not let our key in"
    Mirror.objects.update(push_to="ssh://archive@10.0.0.1")
    assert "not a public address" in push(told)
    Mirror.objects.update(push_to="ssh://archive@127.0.0.1:1")
    assert push(told).startswith("it cannot be reached by SSH")


def test_what_the_other_end_says_is_not_kept(told: Mirror, sshd: Sshd) -> None:
    trust(told)
    sshd.flood = True
    assert push(told) == ""


def test_the_operator_alone_is_asked(told: Mirror, tree: Tree) -> None:
    tasks.tree_published(tree.row, 1)
    [job] = ProcrastinateJob.objects.filter(task_name__startswith="mirrors.push")
    assert (job.task_name, job.queue_name) == ("mirrors.push_by_ssh", "operator")
    tasks.push_by_ssh.func(**job.args)
    [again] = ProcrastinateJob.objects.filter(task_name__startswith="mirrors.push").exclude(
        pk=job.pk
    ) or [job]
    assert again.queue_name == "operator"


def test_the_key_is_made_once_and_closed(tmp_path: Path) -> None:
    push_key.prepare_key(tmp_path)
    before = (tmp_path / "push-key").read_bytes()
    push_key.prepare_key(tmp_path)
    assert (tmp_path / "push-key").read_bytes() == before
    assert (tmp_path / "push-key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "push-key.pub").read_text().startswith("ssh-ed25519 ")


def test_a_coordinator_trusts_a_host_key_by_the_api(
    told: Mirror, sshd: Sshd, client: Client
) -> None:
    push(told)
    fingerprint = HostKey.objects.get().fingerprint
    url = "/api/v1/mirrors/north/trust-host-key"
    said = {"fingerprint": fingerprint}
    assert client.post(url, said, "application/json").status_code == 401
    for role, status in ((Role.READER, 403), (Role.COORDINATOR, 200)):
        user = User.objects.create_user(f"anna-{role}", role=role)
        client.force_login(user)
        assert client.post(url, said, "application/json").status_code == status
    wrong = client.post(url, {"fingerprint": "SHA256:x"}, "application/json")
    assert wrong.status_code == 409
    assert push(told) == ""


def test_the_public_key_is_printed(
    server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push_key_verb()
    public = settings.COMMONFARM.operator / "push-key.pub"
    assert capsys.readouterr().out == public.read_text()
    public.unlink()
    with pytest.raises(UnreachableError, match="cannot be read"):
        push_key_verb()
