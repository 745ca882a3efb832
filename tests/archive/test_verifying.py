"""`tree verify`: what is whole is believed, and whatever differs is named. No hub, no database."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from commonfarm.archive import copies, manifest, verify_cli, verifying
from commonfarm.archive.manifest import Alias, Entry, File, Gone
from commonfarm.lib.errors import CommonfarmError, UnreachableError

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PIECE = 2**18


class Tree:
    """A published tree as a folder, of a base and a revision that changes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {
            "a/hello.txt": b"hello",
            "a/old.txt": b"old",
            "b/long.iso": random.Random(1).randbytes(PIECE * 20 + 7),
            "b/empty": b"",
            "c/ü \u00a0%41?#.txt": b"odd",
        }
        self.at: datetime = NOW - timedelta(hours=1)
        self.segments: list[manifest.Segment] = []
        self.said: list[tuple[int, list[Entry]]] = []
        self.say(7, 0, [*map(self.file, self.files), Alias("latest", "b"), Alias("x", "a")])
        del self.files["a/old.txt"]
        self.files["a/new.txt"] = b"new"
        self.say(
            9,
            7,
            [Gone("a/old.txt"), Gone("x"), self.file("a/new.txt"), Alias("hi", "a/hello.txt")],
        )
        for path, content in self.files.items():
            self.write(path, content)
        (folder / "latest").symlink_to("b")
        (folder / "hi").symlink_to("a/hello.txt")

    def file(self, path: str) -> File:
        content = self.files[path]
        pieces = b""
        if len(content) > 4 * 2**20:
            pieces = b"".join(
                hashlib.sha256(content[at : at + PIECE]).digest()
                for at in range(0, len(content), PIECE)
            )
        sha256 = hashlib.sha256(content).hexdigest()
        return File(path, len(content), sha256, PIECE if pieces else 0, pieces)

    def write(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content)

    def say(self, revision: int, since: int, entries: list[Entry]) -> None:
        """Add a segment, and sign the statement that ends with it."""
        head = manifest.Head("main", revision, since)
        packed = manifest.pack(manifest.lines(head, entries))
        segment = manifest.Segment(revision, len(packed), hashlib.sha256(packed).hexdigest())
        self.segments.append(segment)
        self.write(segment.path, packed)
        self.sign()

    def sign(self, **changed: Any) -> None:
        statement = manifest.Statement(
            "prod",
            "main",
            self.segments[-1].revision,
            self.at,
            self.at + timedelta(days=14),
            tuple(self.segments),
        )
        self.write(
            manifest.STATEMENT_PATH, manifest.seal(dataclasses.replace(statement, **changed), KEY)
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves a folder on loopback; `changes` may answer a request otherwise."""
    servers: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(folder: Path, change: Callable[[Handler], bool] = lambda _asked: False) -> str:
        handler = functools.partial(Handler, change, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(http.server.SimpleHTTPRequestHandler):
    """A web server that keeps connections and knows ranges."""

    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            super().handle()

    def __init__(self, change: Callable[[Handler], bool], *args: Any, **named: Any) -> None:
        self.change = change
        super().__init__(*args, **named)

    def log_message(self, form: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        if not self.change(self):
            super().do_HEAD()

    def do_GET(self) -> None:
        if self.change(self):
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found is None:
            super().do_GET()
            return
        whole = Path(self.translate_path(self.path)).read_bytes()
        part = whole[int(found[1]) : int(found[2]) + 1]
        self.answer(206, part)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True


def verify(where: object, **asked: Any) -> verifying.Report:
    """Verify all unless told otherwise."""
    return verifying.verify(
        lambda: copies.open_copy(str(where)),
        KEY.public_key(),
        verifying.Asked(**{"sample": None, **asked}),
        now=NOW,
        choose=random.Random(7),
    )


def wrong(where: object, **asked: Any) -> dict[str, str]:
    report = verify(where, **asked)
    assert report.wrong == len(report.problems)
    return dict(report.problems)


def test_what_is_whole_is_verified(tree: Tree, serve: Callable[..., str]) -> None:
    for where in (tree.folder, serve(tree.folder)):
        for sample in (None, 0, 2, 100):
            report = verify(where, sample=sample)
            assert report.problems == []
            assert (report.files, report.aliases) == (5, 2)
            assert report.size == sum(map(len, tree.files.values()))
            assert report.checked == min(5 if sample is None else sample, 5)
            assert report.others == []


def test_a_link_to_a_revision_is_followed_once(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "main").symlink_to(tree.folder)
    assert verify(tmp_path / "main").wrong == 0


def change_in_tree(tree: Tree, what: str) -> None:
    long = tree.folder / "b/long.iso"
    match what:
        case "missing":
            (tree.folder / "a/new.txt").unlink()
        case "shorter":
            tree.write("a/new.txt", b"ne")
        case "other":
            tree.write("a/new.txt", b"NEW")
        case "altered":
            tree.write("b/long.iso", bytes(len(long.read_bytes())))
        case "alias":
            (tree.folder / "hi").unlink()
            (tree.folder / "hi").symlink_to("b/long.iso")
        case "lost alias":
            (tree.folder / "latest").unlink()


@pytest.mark.parametrize(
    ("what", "path", "says"),
    [
        ("missing", "a/new.txt", "is missing"),
        ("shorter", "a/new.txt", "has 2 bytes instead of 3"),
        ("other", "a/new.txt", "has other bytes: its SHA-256 is "),
        ("altered", "b/long.iso", "has other bytes"),
        ("alias", "hi", "leads to b/long.iso instead of a/hello.txt"),
        ("lost alias", "latest", "is missing, and stands for b"),
    ],
)
def test_what_differs_is_named(
    tree: Tree, serve: Callable[..., str], what: str, path: str, says: str
) -> None:
    change_in_tree(tree, what)
    here = wrong(tree.folder)
    assert here[path].startswith(says)
    there = wrong(serve(tree.folder))
    if what == "alias":
        says = "is not what it stands for, a/hello.txt"
    assert list(there) == [path] and there[path].startswith(says)
    if what == "altered":
        sampled = wrong(serve(tree.folder), sample=100)
        assert re.fullmatch(r"has other bytes from byte \d+ on", sampled["b/long.iso"])


def test_sizes_are_checked_of_all_also_in_a_sample(tree: Tree, serve: Callable[..., str]) -> None:
    change_in_tree(tree, "shorter")
    for where in (tree.folder, serve(tree.folder)):
        assert wrong(where, sample=0) == {"a/new.txt": "has 2 bytes instead of 3"}


def test_a_copy_that_followed_symlinks_is_whole_too(tree: Tree, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(tree.folder, copied, symlinks=False)
    assert wrong(copied) == {}
    (copied / "latest/empty").write_bytes(b"x")
    (copied / "hi").write_bytes(b"HELLO")
    assert set(wrong(copied)) == {"latest", "latest/empty", "hi"}


def test_what_is_not_listed_is_told_and_not_wrong(tree: Tree) -> None:
    tree.write("a/old.txt", b"old")
    tree.write("manifest/00000001.jsonl.gz", b"an old segment")
    report = verify(tree.folder)
    assert (report.wrong, report.others) == (0, ["a/old.txt"])


def test_files_behind_symlinks_are_not_files_of_the_tree(tree: Tree, tmp_path: Path) -> None:
    shutil.move(tree.folder / "a", tmp_path / "elsewhere")
    (tree.folder / "a").symlink_to(tmp_path / "elsewhere")
    assert wrong(tree.folder)["a/hello.txt"] == "is missing"
    os.mkfifo(tree.folder / "fifo")
    (tree.folder / "b/empty").unlink()
    os.mkfifo(tree.folder / "b/empty")
    assert wrong(tree.folder)["b/empty"] == "is missing"


def test_age_expiry_and_steps_back(tree: Tree) -> None:
    assert wrong(tree.folder, max_age=timedelta(hours=2), at_least=9) == {}
    late = wrong(tree.folder, max_age=timedelta(minutes=30))
    assert "longer ago than allowed" in late[manifest.STATEMENT_PATH]
    back = wrong(tree.folder, at_least=10)
    assert back == {manifest.STATEMENT_PATH: "is of revision 9, which is before 10"}
    tree.sign(valid_until=NOW - timedelta(seconds=1))
    assert "was valid until" in wrong(tree.folder)[manifest.STATEMENT_PATH]
    tree.sign(made_at=NOW + timedelta(days=2))
    assert "is of the future" in wrong(tree.folder)[manifest.STATEMENT_PATH]


def test_an_old_segment_does_not_stand_for_a_new_one(tree: Tree) -> None:
    first = tree.folder / tree.segments[0].path
    with pytest.raises(manifest.NoManifestError, match="is not what the statement names"):
        last = tree.folder / tree.segments[1].path
        last.unlink()
        last.write_bytes(first.read_bytes())
        verify(tree.folder)


@pytest.mark.parametrize("since", [0, 6])
def test_segments_follow_one_another(tree: Tree, since: int) -> None:
    tree.say(10, since, [])
    with pytest.raises(manifest.NoManifestError, match="does not follow"):
        verify(tree.folder)


def test_there_is_nothing_to_believe(tree: Tree, tmp_path: Path) -> None:
    statement = tree.folder / manifest.STATEMENT_PATH
    signed = statement.read_bytes()
    forged = json.loads(signed)
    forged["signatures"][0]["sig"] = "AAAA"
    for content, error in (
        (b"", manifest.NoManifestError),
        (b"x" * 10_000_000, manifest.NoManifestError),
        (json.dumps(forged).encode(), manifest.NotTrustedError),
    ):
        tree.write(manifest.STATEMENT_PATH, content)
        with pytest.raises(error, match=r"manifest/statement\.json"):
            verify(tree.folder)
    statement.unlink()
    with pytest.raises(manifest.NoManifestError, match="is missing"):
        verify(tree.folder)


def test_a_manifest_that_lists_too_much_is_refused(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MOST_ENTRIES", 4)
    with pytest.raises(manifest.NoManifestError, match="lists more than"):
        verify(tree.folder)


def test_a_tree_that_changes_meanwhile_is_looked_at_again(
    tree: Tree, serve: Callable[..., str]
) -> None:
    """While it is looked at, a new revision changes a file."""
    once = [True]

    def publish(asked: Handler) -> bool:
        if asked.path == "/a/hello.txt" and once:
            once.clear()
            tree.files["a/hello.txt"] = b"hello again"
            tree.write("a/hello.txt", b"hello again")
            tree.say(10, 9, [tree.file("a/hello.txt")])
        return False

    report = verify(serve(tree.folder, publish))
    assert (report.wrong, report.statement.revision) == (0, 10)


def test_redirects_lead_to_mirrors_and_nowhere_else(tree: Tree, serve: Callable[..., str]) -> None:
    mirror = serve(tree.folder)
    hops = {"/a/hello.txt": mirror + "a/hello.txt", "/a/new.txt": "/a/new.txt"}
    hops |= {"/b/empty": "file:///etc/passwd", "/b/long.iso": "http://127.0.0.1:9/b/long.iso"}

    def redirect(asked: Handler) -> bool:
        return asked.path in hops and asked.answer(302, Location=hops[asked.path])

    found = wrong(serve(tree.folder, redirect), sample=100)
    assert found["a/new.txt"] == "is redirected more than 5 times"
    assert found["b/empty"] == "is redirected to nowhere"
    assert found["b/long.iso"].startswith("127.0.0.1:9 does not answer")
    assert "a/hello.txt" not in found


def test_servers_that_answer_anything_else(tree: Tree, serve: Callable[..., str]) -> None:
    def odd(asked: Handler) -> bool:
        match asked.path:
            case "/a/hello.txt":
                return asked.answer(200, b"x" * 100_000)
            case "/a/new.txt":
                return asked.answer(403)
            case "/b/empty":
                return asked.answer(302)
            case "/b/long.iso" if asked.command == "GET":
                asked.send_response(200)
                asked.send_header("Content-Length", "1000000000")
                asked.end_headers()
                asked.wfile.write(b"x" * 1000)
                asked.close_connection = True
                return True
        return False

    found = wrong(serve(tree.folder, odd))
    assert found["a/hello.txt"] == "has more bytes instead of 5"
    assert found["a/new.txt"] == "is answered with 403"
    assert found["b/empty"] == "is redirected to nowhere"
    assert found["b/long.iso"] == f"has 1000 bytes instead of {PIECE * 20 + 7}"


def test_who_does_not_answer_is_not_told_to_differ(tree: Tree, serve: Callable[..., str]) -> None:
    with pytest.raises(UnreachableError, match=r"127[.]0[.]0[.]1:9 does not answer"):
        verify("http://127.0.0.1:9/")
    with pytest.raises(UnreachableError, match="is answered with 503"):
        verify(serve(tree.folder, lambda asked: asked.answer(503)))


@given(
    st.text() | st.text("htps:/.#?@[]19 \r\n").map("http://".__add__),
    st.sampled_from(["http", "https"]),
)
def test_redirects_lead_to_web_addresses_or_are_refused(location: str, scheme: str) -> None:
    try:
        found = copies._next(f"{scheme}://example.org/main/a", location)
    except copies.DiffersError:
        return
    assert found.startswith(("https://", "http://")) and found.isprintable()
    assert urlsplit(found).hostname and (urlsplit(found).port or 1) > 0
    assert scheme == "http" or found.startswith("https://")


@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["a", "b/x", "c", "d/y/z", "e"])),
    st.sampled_from(["a", "b/x/y", "e", "c/d", "aa/b"]),
)
def test_aliases_are_followed_a_bounded_way(aliases: dict[str, str], path: str) -> None:
    found = verifying.resolve(path, aliases)
    if path.split("/")[0] not in aliases:
        assert found == path


def run(*arguments: object) -> tuple[int, str]:
    """Run the command; return its exit code and what it said."""
    app = typer.Typer()
    app.command()(verify_cli.verify)
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(done.exception, CommonfarmError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.output


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "statements.pub"
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    return file


def test_the_command_says_how_it_went(
    tree: Tree, key_file: Path, serve: Callable[..., str]
) -> None:
    tree.at = datetime.now(UTC) - timedelta(hours=1)
    tree.sign()
    key = f"--key={key_file}"
    code, said = run(tree.folder, key)
    assert code == 0 and "is verified: main of prod, revision 9" in said
    change_in_tree(tree, "shorter")
    code, said = run(serve(tree.folder), key, "--json")
    problem = {"path": "a/new.txt", "what": "has 2 bytes instead of 3"}
    assert code == 1 and json.loads(said)["problems"] == [problem]
    assert run(tree.folder, key, "--at-least=10")[0] == 1
    (tree.folder / manifest.STATEMENT_PATH).unlink()
    code, said = run(tree.folder, key)
    assert code == 1 and "is missing; name the address of one tree" in said
    for odd in (
        "ftp://h/",
        "http://",
        tree.folder / "none",
        "http://x:y/",
        "http://h/?a",
        "http://h/a b",
    ):
        assert run(odd, key)[0] == 2
    assert run(tree.folder, key, "--all", "--sample=1")[0] == 2
    assert run(tree.folder, key, "--max-age=soon")[0] == 2
    assert run(tree.folder, "--key=/none")[0] == 2
    assert run("http://127.0.0.1:9/", key)[0] == 3
