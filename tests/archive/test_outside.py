"""What people see of the archive: API, pages, command line, keys."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.archive import provenance, publishing
from commonfarm.archive.models import Artifact, Publication
from commonfarm.archive.signer import client as signer_client
from commonfarm.archive.signer.keys import Keys
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.store.interface import read
from tests.archive.world import World, make_deb
from tests.redirector.world import public_pem


@pytest.fixture
def published(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> Path:
    deb = make_deb(pool, "hello", "1", "amd64")
    world.add("job:1", deb)
    publishing.publish(world.tree)
    return deb


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from commonfarm.archive.cli import app\n"
        "from commonfarm.lib.errors import CommonfarmError\n"
        "try: app(['archive', 'verify', *sys.argv[1:]], standalone_mode=False)\n"
        "except CommonfarmError as e: print(e, file=sys.stderr); sys.exit(e.exit_code)\n"
        "assert 'django' not in sys.modules\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "COMMONFARM_HUB": "http://127.0.0.1:1"}
        | {"COMMONFARM_TOKEN": "none"},
    )


def test_verify_works_on_files_alone(published: Path, signer: Config) -> None:
    sealed = Artifact.objects.get().provenance
    assert sealed is not None
    beside = published.with_name(f"{published.name}.intoto.jsonl")
    key = ["--key", signer.public_keys / "statements.pub"]
    away = verify(published, *key)
    assert (away.returncode, "does not answer" in away.stderr) == (3, True)
    beside.write_bytes(read(sealed.sha256))
    good = verify(published, *key)
    assert (good.returncode, good.stderr) == (0, "")
    assert "is verified" in good.stdout
    shown = json.loads(verify(published, *key, "--json").stdout)
    assert shown["subject"][0]["name"] == published.name
    missing = verify(published.with_name("none.deb"), *key)
    assert missing.returncode == 2
    beside.write_bytes(b"{}")
    assert verify(published, *key).returncode == 2
    beside.write_bytes(read(sealed.sha256))
    published.write_bytes(published.read_bytes() + b"x")
    bad = verify(published, *key)
    assert (bad.returncode, "do not use this file" in bad.stderr) == (1, True)


def test_verify_tells_the_root_and_the_limits(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pub").write_bytes(public_pem(key))
    file = tmp_path / "hello_1_amd64.deb"
    file.write_bytes(b"hello")
    digest = "9" * 64
    limits = {"memory": "cgroup2", "time": "watch\033dog"}
    for agent, root, limited in (
        ({"base_root": {"digest": digest}, "limits": limits}, digest, "time watch?dog"),
        ({}, "not told", "not told"),
    ):
        facts = {"target": "bookworm-amd64", "agent": agent}
        statement = provenance.statement(file.name, hashlib.sha256(b"hello").hexdigest(), facts)
        (tmp_path / f"{file.name}.intoto.jsonl").write_bytes(provenance.seal(statement, key))
        told = verify(file, "--key", tmp_path / "key.pub")
        assert (told.returncode, told.stderr) == (0, "")
        lines = [line.split(maxsplit=1) for line in told.stdout.splitlines()[1:]]
        assert ["root", root] in lines
        assert lines[-1] == ["limits", f"memory cgroup2, {limited}" if agent else limited]


@pytest.fixture
def reader(world: World) -> Client:
    return signed_in(Role.READER)


def signed_in(role: Role) -> Client:
    user = User.add(f"a-{role}", role, who="test")
    token = ApiToken.make(user, "t", who="test").reveal()
    client = Client(headers={"Authorization": f"Bearer {token}"})
    client.force_login(user)
    return client


def test_the_api_shows_what_is_published(published: Path, reader: Client) -> None:
    (repository,) = reader.get("/api/v1/archive/repositories").json()
    assert (repository["name"], repository["packages"], repository["revision"]) == ("demo", 1, 1)
    (found,) = reader.get("/api/v1/archive/artifacts?producer=job:1").json()["items"]
    assert found["paths"] == ["main/demo/pool/bookworm/main/h/hello/hello_1_amd64.deb"]
    same = reader.get(f"/api/v1/archive/artifacts?sha256={found['sha256']}").json()["items"]
    assert same == [found]
    assert reader.get("/api/v1/archive/artifacts?sha256=zz").status_code == 422
    envelope = reader.get(f"/api/v1/archive/artifacts/{found['id']}/provenance").json()
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    (publication,) = reader.get("/api/v1/archive/publications").json()["items"]
    assert publication["state"] == "published"
    assert reader.get("/api/v1/archive/publications?tree=main").json()["items"] == [publication]
    for nowhere in (
        "publications?tree=mian",
        "artifacts/999",
        "artifacts/999/provenance",
        f"artifacts/{2**63 - 1}",
    ):
        assert reader.get(f"/api/v1/archive/{nowhere}").status_code == 404
    assert Client().get("/api/v1/archive/repositories").status_code == 401


def test_only_a_coordinator_publishes_anew(world: World, reader: Client) -> None:
    body = {"why": "the key was rotated"}
    kind = "application/json"
    path = "/api/v1/archive/trees/main/publish"
    assert reader.post(path, body, content_type=kind).status_code == 403
    coordinator = signed_in(Role.COORDINATOR)
    shown = coordinator.post(path, body, content_type=kind).json()
    assert (shown["revision"], shown["state"], shown["why"]) == (1, "pending", body["why"])
    assert Publication.objects.count() == 1


def test_the_pages_say_how_to_use_a_repository(published: Path, reader: Client) -> None:
    assert "demo" in reader.get("/repositories/").content.decode()
    text = reader.get("/repositories/demo").content.decode()
    for part in ("hello", "/main/demo/", "bookworm main", "signed-by=", "published"):
        assert part in text
    assert reader.get("/repositories/none").status_code == 404
    assert reader.get("/repositories/demo?after=x").status_code == 200
    assert Client().get("/repositories/demo").status_code == 302
    key = Client().get("/keys/archive.asc")
    assert key.content.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_the_signer_keeps_its_keys_to_itself(signer: Config) -> None:
    assert signer.keyring.stat().st_mode & 0o777 == 0o700
    assert {one.name for one in signer.public_keys.iterdir()} == {
        "archive.asc",
        "archive.gpg",
        "statements.pub",
    }
    assert signer.signer_socket.stat().st_mode & 0o777 == 0o660


def test_started_again_the_signer_has_the_same_keys(signer: Config) -> None:
    before = {one.name: one.read_bytes() for one in signer.public_keys.iterdir()}
    keys = Keys(signer)
    keys.prepare()
    assert {one.name: one.read_bytes() for one in signer.public_keys.iterdir()} == before
    asked = signer_client.ask(signer.signer_socket, "public-keys", 0)
    assert len(keys.fingerprint()) == 40
    assert asked == {"fingerprint": keys.fingerprint()}


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"sign": "anything", "id": 1}\n',
        b'{"sign": "publication", "id": true}\n',
        b'{"sign": "publication", "id": -1}\n',
        b'{"sign": ["publication"], "id": 1}\n',
        b'{"sign": "statements", "ids": 1}\n',
        b'{"sign": "statements", "ids": []}\n',
        b'{"sign": "statements", "ids": [1, "2"]}\n',
        b'{"sign": "statements", "ids": [' + b"1," * 100 + b"1]}\n",
        b"x" * 5000 + b"\n",
    ],
)
def test_odd_requests_are_refused_and_the_signer_goes_on(signer: Config, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(signer.signer_socket))
        connection.sendall(said)
        assert b"refused" in connection.recv(4096)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(signer.signer_socket))
    assert signer_client.ask(signer.signer_socket, "public-keys", 0)["fingerprint"]
    with pytest.raises(RefusedError, match="no artifact 7"):
        signer_client.ask(signer.signer_socket, "statements", [7])
