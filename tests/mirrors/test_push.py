"""Mirrors are told that there is something to pull, by what they can check."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.archive import push_statement, signing
from commonfarm.archive.models import Publication, Release, ReleaseState
from commonfarm.archive.provenance import read_key
from commonfarm.archive.signer import approve_push
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError, UnreachableError
from commonfarm.mirrors import push_statements, pushing, tasks
from commonfarm.mirrors.models import Mirror, PushAttempt
from commonfarm.mirrors.receiving import Receiver, Server
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures
from tests.archive.conftest import signer as signer_process  # noqa: F401 - a fixture
from tests.mirrors.conftest import DEB, NOW, Tree, register

pytestmark = pytest.mark.django_db


@dataclass
class Webhook:
    """A web server that takes statements."""

    url: str = ""
    status: int = 202
    taken: list[bytes] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(hook.status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "1000000000")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with listening() as found:
        yield found


KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def told(tree: Tree, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    def sign(number: int, *, staged: bool) -> bytes:
        approve = approve_push.staged if staged else approve_push.published
        return push_statement.seal(approve(number, "test", NOW), KEY)

    monkeypatch.setattr(pushing, "sign_push", sign)
    fields = {"push": "webhook", "push_to": hook.url}
    return register("north", tree, "http://127.0.0.1:1/", **fields)


def newest() -> Publication:
    found = Publication.objects.order_by("-revision").first()
    assert found is not None
    return found


def push(mirror: Mirror, attempt: int = 0) -> int | None:
    return pushing.push(mirror.pk, newest().pk, NOW, staged=False, attempt=attempt)


def test_a_mirror_is_told_by_a_signed_statement(told: Mirror, hook: Webhook) -> None:
    assert push(told) is None
    [statement] = hook.taken
    assert push_statements.read(statement, KEY.public_key()) == push_statements.Statement(
        "test", "demo", 1, "public", NOW
    )
    attempt = PushAttempt.objects.get()
    assert (attempt.revision, attempt.ok, attempt.problem) == (1, True, "")


def test_the_mirrors_end_takes_it(told: Mirror, tree: Tree, tmp_path: Path) -> None:
    """With the receiver that `commonfarm mirror receive` runs, and a statement of this moment."""

    def sign(number: int, *, staged: bool) -> bytes:
        return push_statement.seal(approve_push.published(number, "test", datetime.now(UTC)), KEY)

    touched = tmp_path / "pulled"
    receiver = Receiver("demo", KEY.public_key(), ["touch", str(touched)], tmp_path / "state")
    with Server(("127.0.0.1", 0), receiver) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushing, "sign_push", sign)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        receiver.start()
        thread.start()
        try:
            Mirror.objects.update(push_to=f"http://127.0.0.1:{server.server_address[1]}/")
            assert push(told) is None
            assert PushAttempt.objects.get().ok, PushAttempt.objects.get().problem
            deadline = time.monotonic() + 10
            while not touched.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            server.shutdown()
            thread.join()
            receiver.stop()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_fails_is_told_again_later_and_later(
    told: Mirror, hook: Webhook, status: int
) -> None:
    hook.status = status
    pauses = [push(told, attempt) for attempt in range(7)]
    assert pauses == [2, 10, 60, 300, 1800, 7200, None]
    assert len(hook.taken) == 7, "a redirect is not followed"
    problems = set(PushAttempt.objects.values_list("ok", "problem"))
    assert problems == {(False, f"its webhook answers {status}")}
    [entry] = Entry.objects.filter(what="mirror push failed")
    assert entry.details == {"revision": 1, "problem": f"its webhook answers {status}"}


def test_our_own_network_is_never_told(told: Mirror, hook: Webhook) -> None:
    for address in ("http://10.0.0.1/", "http://[fd00::1]/", "http://127.0.0.1:1/"):
        Mirror.objects.update(push_to=address)
        assert push(told) == 2
    problems = list(PushAttempt.objects.order_by("id").values_list("problem", flat=True))
    assert ["not a public address" in problem for problem in problems] == [True, True, False]
    assert hook.taken == []


def test_what_is_past_is_not_told(told: Mirror, tree: Tree, hook: Webhook) -> None:
    old = newest()
    tree.publish("b")
    assert pushing.push(told.pk, old.pk, NOW, staged=False, attempt=0) is None
    Mirror.objects.update(push="")
    assert push(told) is None
    Mirror.objects.update(push="webhook", enabled=False)
    assert push(told) is None
    assert hook.taken == []
    assert not PushAttempt.objects.exists()


def test_publishing_and_staging_tell_the_mirrors_once(
    told: Mirror, tree: Tree, hook: Webhook
) -> None:
    register("quiet", tree, "http://127.0.0.1:2/")
    release = Release.objects.create(
        tree=tree.row,
        number=1,
        state=ReleaseState.EMBARGOED,
        visible_from=NOW + timedelta(days=1),
        put_by="user:anna",
    )
    for _ in range(2):
        tasks.tree_published(tree.row, 1)
        tasks.release_staged(tree.row, release.pk)
    jobs = list(ProcrastinateJob.objects.filter(task_name="mirrors.push").order_by("id"))
    assert [(job.args["number"], job.args["staged"]) for job in jobs] == [
        (newest().pk, False),
        (release.pk, True),
    ]
    for job in jobs:
        tasks.push_to_mirror.func(**job.args)
    said = [push_statements.read(one, KEY.public_key()) for one in hook.taken]
    assert [(one.state, one.revision) for one in said] == [("public", 1), ("staged", 1)]
    Release.objects.update(state=ReleaseState.PUBLIC)
    tasks.push_to_mirror.func(told.pk, release.pk, True)
    assert len(hook.taken) == 2


def test_without_a_signer_it_is_tried_again_and_counts_as_nothing(
    told: Mirror, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(number: int, *, staged: bool) -> bytes:
        raise UnreachableError(Reason("signer-unreachable", "the signer does not answer"))

    monkeypatch.setattr(pushing, "sign_push", away)
    tasks.push_to_mirror.func(told.pk, newest().pk, False, 2)
    [job] = ProcrastinateJob.objects.filter(task_name="mirrors.push")
    assert job.args["attempt"] == 2
    assert job.scheduled_at is not None
    assert not PushAttempt.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_real_signer_signs_what_is_true_alone(signer_process: Config) -> None:  # noqa: F811
    tree = Tree()
    tree.publish(DEB)
    public = newest()
    release = Release.objects.create(tree=tree.row, number=1, put_by="user:anna")
    key = read_key((signer_process.public_keys / "statements.pub").read_bytes())
    said = push_statements.read(signing.sign_push(public.pk, staged=False), key)
    assert (said.tree, said.revision, said.state) == ("demo", 1, "public")
    with pytest.raises(RefusedError, match="is not under embargo"):
        signing.sign_push(release.pk, staged=True)
    Release.objects.update(state=ReleaseState.EMBARGOED)
    said = push_statements.read(signing.sign_push(release.pk, staged=True), key)
    assert (said.revision, said.state) == (1, "staged")
    Publication.objects.update(state="signed")
    with pytest.raises(RefusedError, match="is not published"):
        signing.sign_push(public.pk, staged=False)
