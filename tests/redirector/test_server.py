"""A running redirector, asked by curl, by apt and by hand."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.redirector.mirror_map import File, write
from tests.redirector.world import Edge, map_of, mirror, signed

DEB = b"!<arch>\n" + os.urandom(300_000)
BIG = os.urandom(1 << 20) * 8


@pytest.fixture
def serving(edge: Edge) -> Edge:
    """A redirector whose map sends `a.deb` to two mirrors and knows nothing of the rest."""
    edge.put("demo/pool/a.deb", DEB)
    edge.put("demo/pool/own.deb", DEB)
    edge.put("demo/dists/stable/InRelease", b"now")
    edge.write_map(
        map_of(
            [mirror("one"), mirror("two", country="FR"), mirror("down", problem="down: gone")],
            {
                "pool/a.deb": File(len(DEB), frozenset({0, 1, 2})),
                "dists/stable/InRelease": File(3, frozenset({0, 1})),
                "pool/b~1+x y%.deb": File(1, frozenset({0})),
            },
        )
    )
    return edge.start()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A real HTTP server on loopback: its folder and port."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server.server_port
        server.shutdown()
        thread.join()


def test_a_known_file_goes_to_a_mirror_with_the_next_best_named(serving: Edge) -> None:
    out = serving.curl("/demo/pool/a.deb").stdout.decode()
    lines = out.split("\r\n")
    assert lines[0] == "HTTP/1.1 302 Found"
    [location] = [line[10:] for line in lines if line.startswith("Location: ")]
    links = [line[6:] for line in lines if line.startswith("Link: ")]
    names = {"http://one.example.org/demo/pool/a.deb": "de"}
    names["http://two.example.org/demo/pool/a.deb"] = "fr"
    assert location in names
    assert links[0] == f"<{location}>; rel=duplicate; pri=1; geo={names.pop(location)}"
    [(other, country)] = names.items()
    assert links[1:] == [f"<{other}>; rel=duplicate; pri=2; geo={country}"]
    assert "Vary: Accept" in lines
    assert "Cache-Control: private, no-cache" in lines


def test_every_request_of_one_client_goes_to_the_same_mirror(serving: Edge) -> None:
    assert len({serving.get("/demo/pool/a.deb")[1]["Location"] for _ in range(5)}) == 1


def test_the_location_is_an_address_even_where_the_name_needs_escapes(serving: Edge) -> None:
    status, headers, _ = serving.get("/demo/pool/b~1%2Bx%20y%25.deb")
    assert status == 302
    assert headers["Location"] == "http://one.example.org/demo/pool/b~1+x%20y%25.deb"


def test_what_changes_in_place_comes_from_us(serving: Edge) -> None:
    status, headers, body = serving.get("/demo/dists/stable/InRelease")
    assert (status, body, headers["Cache-Control"]) == (200, b"now", "no-cache")


def test_a_file_no_mirror_has_comes_from_us_whole(serving: Edge) -> None:
    status, headers, body = serving.get("/demo/pool/own.deb")
    assert (status, body) == (200, DEB)
    assert headers["Content-Type"] == "application/vnd.debian.binary-package"
    assert headers["Content-Length"] == str(len(DEB))


def test_head_is_get_without_the_body(serving: Edge) -> None:
    status, headers, body = serving.get("/demo/pool/own.deb", "--head")
    assert (status, headers["Content-Length"], body) == (200, str(len(DEB)), b"")
    assert serving.get("/demo/pool/a.deb", "--head")[0] == 302


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("0-9", 206, 0, 10),
        ("100-", 206, 100, None),
        ("-7", 206, -7, None),
        ("299990-99999999", 206, 299990, None),
        ("0-0,5-6", 200, 0, None),
        ("9-3", 200, 0, None),
    ],
)
def test_a_range_gives_those_bytes(
    serving: Edge, asked: str, status: int, start: int, end: int | None
) -> None:
    found, headers, body = serving.get("/demo/pool/own.deb", "--range", asked)
    assert (found, body) == (status, DEB[start:end])
    if status == 206:
        first = start % len(DEB)
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(DEB)}"


def test_a_range_past_the_end_cannot_be_had(serving: Edge) -> None:
    status, headers, _ = serving.get("/demo/pool/own.deb", "--range", f"{len(DEB)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(DEB)}")


def test_an_unchanged_file_is_not_sent_again(serving: Edge) -> None:
    path = "/demo/pool/own.deb"
    headers = serving.get(path, "--head")[1]
    same = f"If-None-Match: {headers['ETag']}"
    assert serving.get(path, "-H", same)[0] == 304
    assert serving.get(path, "-H", f"If-Modified-Since: {headers['Last-Modified']}")[0] == 304
    stale = ["-H", 'If-None-Match: "else"', "-H", f"If-Modified-Since: {headers['Last-Modified']}"]
    assert serving.get(path, *stale)[0] == 200
    assert serving.get(path, "-H", "If-Modified-Since: Sat, 01 Jan 2050 00:00:00 GMT")[0] == 200
    ranged = ["--range", "0-4", "-H"]
    assert serving.get(path, *ranged, f"If-Range: {headers['ETag']}")[0] == 206
    assert serving.get(path, *ranged, 'If-Range: "else"')[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/demo/../../key.pub",
        "/demo/%2e%2e/%2e%2e/key.pub",
        "/..%2fkey.pub",
        "/demo//pool/own.deb",
        "//demo/pool/own.deb",
        "/demo/./pool/own.deb",
        "/demo/pool/own.deb%00",
        "/demo/pool/own.deb%0d%0aSet-Cookie:%20a=b",
        "/demo/%zz",
        "/demo/%",
    ],
)
def test_a_path_that_is_not_plain_is_refused(serving: Edge, path: str) -> None:
    status, headers, _ = serving.get(path)
    assert status == 400
    assert "Set-Cookie" not in headers


def test_what_is_not_to_be_had_is_not_found(serving: Edge) -> None:
    for path in ("/", "/demo", "/demo/", "/demo/pool", "/demo/pool/own.deb/", "/none/x"):
        assert serving.get(path)[0] == 404, path
    serving.put("demo.r4/pool/early.deb", b"not yet")
    serving.put(".work/x", b"hidden")
    assert serving.get("/demo.r4/pool/early.deb")[0] == 404
    assert serving.get("/.work/x")[0] == 404
    os.mkfifo(serving.published / "demo" / "fifo")
    assert serving.get("/demo/fifo")[0] == 404
    assert serving.get("/demo/" + "a" * 5000)[0] == 404


def test_symlinks_are_followed_inside_the_folder_and_not_out_of_it(serving: Edge) -> None:
    outside = serving.home / "secret"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    demo = serving.published / "demo"
    (demo / "out").symlink_to(outside)
    (demo / "out.deb").symlink_to(outside / "file")
    (demo / "passwd").symlink_to("/etc/passwd")
    (demo / "self").symlink_to("/proc/self/environ")
    for path in ("/demo/out/file", "/demo/out.deb", "/demo/passwd", "/demo/self"):
        status, _, body = serving.get(path)
        assert (status, b"secret" in body) == (404, False), path
    (demo / "in.deb").symlink_to("pool/own.deb")
    assert serving.get("/demo/in.deb")[2] == DEB
    # A sibling whose name starts as the folder's does is not inside it.
    sibling = serving.home / "published-else"
    sibling.mkdir()
    (sibling / "x").write_bytes(b"secret")
    (demo / "sibling").symlink_to(sibling / "x")
    assert serving.get("/demo/sibling")[0] == 404


def test_a_tree_that_is_switched_gives_the_new_bytes(edge: Edge) -> None:
    edge.put("demo.r1/dists/s/InRelease", b"first")
    edge.put("demo.r2/dists/s/InRelease", b"other")
    link = edge.published / "demo"
    link.symlink_to("demo.r1")
    edge.start()
    assert edge.get("/demo/dists/s/InRelease")[2] == b"first"
    (edge.published / "new").symlink_to("demo.r2")
    (edge.published / "new").rename(link)
    assert edge.get("/demo/dists/s/InRelease")[2] == b"other"


def test_the_list_of_mirrors_names_each_and_why_it_was_left_out(serving: Edge) -> None:
    _, _, body = serving.get("/demo/pool/a.deb?mirrorlist")
    text = body.decode()
    assert "http://one.example.org/demo/pool/a.deb\n" in text
    assert "http://two.example.org/demo/pool/a.deb\n" in text
    assert "# down (DE) is left out: down: gone; a scan that finds it well again\n" in text
    path = "/demo/pool/b~1+x%20y%25.deb?mirrorlist"
    _, headers, body = serving.get(path, "-H", "Accept: application/json")
    assert headers["Content-Type"] == "application/json"
    document = json.loads(body)
    assert (document["served_by"], document["country"]) == ("one", "ZZ")
    assert {one["mirror"]: one["code"] for one in document["left_out"]} == {
        "two": "missing",
        "down": "out-of-service",
    }
    _, _, body = serving.get("/demo/pool/unknown?mirrorlist", "-H", "Accept: application/json")
    assert json.loads(body)["served_by"] == "origin"


def test_only_get_and_head_are_answered(serving: Edge) -> None:
    status, headers, _ = serving.get("/demo/pool/a.deb", "-X", "DELETE")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert serving.get("/demo/pool/a.deb", "--data", "x")[0] == 400
    answer = serving.raw(
        b"GET /demo/pool/a.deb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_rubbish_and_endless_heads_end_the_connection(serving: Edge) -> None:
    assert serving.raw(b"\x16\x03\x01\x02\x00\x01\x00").startswith(b"HTTP/1.1 400 ")
    assert serving.raw(b"BREW /pot HTCPCP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    long = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 17_000
    assert serving.raw(long).startswith(b"HTTP/1.1 431 ")
    assert serving.get("/demo/pool/a.deb")[0] == 302


def test_pipelined_requests_are_answered_in_order(serving: Edge) -> None:
    paths = ["/demo/pool/own.deb", "/none", "/demo/pool/a.deb", "/demo/pool/own.deb"] * 5
    data = b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
    data += b"GET /demo/dists/stable/InRelease HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = serving.raw(data)
    statuses = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        statuses.append(int(lines[0].split()[1]))
        length = dict(line.split(b": ", 1) for line in lines[1:])[b"Content-Length"]
        body, answer = answer[: int(length)], answer[int(length) :]
        assert statuses[-1] != 200 or body in (DEB, b"now")
    assert statuses == [200, 404, 302, 200] * 5 + [200]


def test_a_client_that_pipelines_and_never_reads_does_not_fill_our_memory(serving: Edge) -> None:
    assert serving.process is not None
    status = Path(f"/proc/{serving.process.pid}/status")

    def resident() -> int:
        [line] = [one for one in status.read_text().splitlines() if one.startswith("VmRSS")]
        return int(line.split()[1])

    before = resident()
    request = b"GET /demo/pool/a.deb HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    with socket.create_connection(("127.0.0.1", serving.port)) as client:
        client.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += client.send(request)
        assert resident() - before < 30_000
    assert serving.get("/demo/pool/a.deb")[0] == 302


def test_too_many_downloads_at_once_are_put_off(tmp_path: Path) -> None:
    import asyncio

    import uvloop

    from commonfarm.redirector.server import Connection, Redirector

    home = tmp_path / "published" / "demo"
    home.mkdir(parents=True)
    (home / "big").write_bytes(BIG)
    (home / "empty").write_bytes(b"")

    async def scene() -> tuple[list[bytes], bytes, int]:
        shared = Redirector(
            tmp_path / "published", tmp_path / "none", tmp_path / "none", most_transfers=2
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(shared), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        get = b"GET /demo/big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        slow = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get)
            slow.append((reader, writer, await reader.readuntil(b"\r\n\r\n")))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get)
        refused = await reader.read()
        writer.close()
        bodies = [await reader.read() for reader, _, _ in slow]
        for _, writer, _ in slow:
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get)
        bodies.append((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        await asyncio.sleep(0.05)
        left = len(shared.transfers) + len(shared.connections)
        server.close()
        return bodies, refused, left

    bodies, refused, left = uvloop.run(scene())
    assert [body == BIG for body in bodies] == [True] * 3
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5\r\n" in refused
    assert left == 0


def test_clients_that_go_away_in_the_middle_leave_nothing_open(serving: Edge) -> None:
    serving.put("demo/big", BIG)
    assert serving.process is not None
    handles = Path(f"/proc/{serving.process.pid}/fd")
    serving.get("/demo/dists/stable/InRelease")
    before = len(list(handles.iterdir()))
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", serving.port)) as client:
            client.sendall(b"GET /demo/big HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(1000)
    deadline = time.monotonic() + 5
    while len(list(handles.iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(handles.iterdir())) <= before


def test_a_head_that_does_not_come_in_time_is_timed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    import uvloop

    from commonfarm.redirector import server as module

    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)

    async def scene() -> tuple[bytes, bytes]:
        shared = module.Redirector(tmp_path, tmp_path / "none", tmp_path / "none")
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: module.Connection(shared), "127.0.0.1", 0)
        upkeep = asyncio.create_task(shared.keep_up())
        port = server.sockets[0].getsockname()[1]

        async def dripping() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 100:
                if reader.at_eof() or writer.is_closing():
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
                if reader._buffer:  # type: ignore[attr-defined]
                    break
            return await reader.read()

        async def silent() -> bytes:
            reader, _ = await asyncio.open_connection("127.0.0.1", port)
            return await reader.read()

        results = await asyncio.wait_for(asyncio.gather(dripping(), silent()), 10)
        upkeep.cancel()
        server.close()
        return results[0], results[1]

    dripped, silence = uvloop.run(scene())
    assert dripped.startswith(b"HTTP/1.1 408 ")
    assert silence == b""


def test_a_new_map_is_taken_up_and_a_bad_one_is_not(serving: Edge) -> None:
    def location() -> str:
        return serving.get("/demo/pool/a.deb")[1].get("Location", "")

    def files(name: str, generation: int) -> bytes:
        the_map = map_of(
            [mirror(name)], {"pool/a.deb": File(1, frozenset({0}))}, generation=generation
        )
        return signed(the_map, serving.key)

    first = location()
    foreign = signed(
        map_of([mirror("evil")], {"pool/a.deb": File(1, frozenset({0}))}, 9),
        Ed25519PrivateKey.generate(),
    )
    for bad, why in [
        (foreign, "not by the key of this installation"),
        (files("cut", 9)[:-9], "not by the key"),
        (b"", "does not start with"),
        (files("old", 0), "older than 1"),
    ]:
        write(serving.map_file, bad)
        serving.wait_for_log(f"refused: .*{why}.*generation 1 stays in force")
        assert location() == first
    serving.map_file.unlink()
    time.sleep(1.2)
    assert location() == first
    write(serving.map_file, files("three", 2))
    serving.wait_for_log("mirror map 2 is in force")
    assert location() == "http://three.example.org/demo/pool/a.deb"


def test_no_request_is_lost_while_maps_are_swapped(serving: Edge) -> None:
    stop = threading.Event()
    failed: list[object] = []
    answered = [0]

    def ask() -> None:
        request = b"GET /demo/pool/a.deb HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", serving.port), timeout=5) as client:
            while not stop.is_set():
                client.sendall(request)
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    piece = client.recv(65536)
                    if not piece:
                        failed.append(answer)
                        return
                    answer += piece
                answered[0] += 1
                if not answer.startswith(b"HTTP/1.1 302 "):
                    failed.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        files = {f"pool/{number}.deb": File(number, frozenset({0})) for number in range(20_000)}
        files["pool/a.deb"] = File(1, frozenset({0}))
        for generation in (2, 3, 4):
            serving.write_map(map_of([mirror("one")], files, generation=generation))
            serving.wait_for_log(f"mirror map {generation} is in force")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert answered[0] > 100


def test_without_a_map_everything_comes_from_us(edge: Edge) -> None:
    edge.put("demo/pool/a.deb", DEB)
    edge.start()
    assert edge.get("/demo/pool/a.deb")[2] == DEB


def test_a_key_that_comes_after_the_map_is_taken_up(edge: Edge) -> None:
    edge.write_map(map_of([mirror("one")], {"pool/a.deb": File(1, frozenset({0}))}))
    pem = (edge.home / "key.pub").read_bytes()
    (edge.home / "key.pub").unlink()
    edge.start()
    assert edge.get("/demo/pool/a.deb")[0] == 404
    (edge.home / "key.pub").write_bytes(pem)
    edge.wait_for_log("mirror map 1 is in force")
    assert edge.get("/demo/pool/a.deb")[0] == 302


def test_forwarded_addresses_are_believed_from_trusted_proxies_only(edge: Edge) -> None:
    edge.write_map(
        map_of(
            [mirror("us", country="US"), mirror("de", url="https://de.example.org/demo/")],
            {"pool/a.deb": File(1, frozenset({0, 1}))},
        )
    )
    edge.start("127.0.0.0/8")

    def ask(*headers: str) -> str:
        options = [part for header in headers for part in ("-H", header)]
        return json.dumps(
            json.loads(
                edge.get("/demo/pool/a.deb?mirrorlist", "-H", "Accept: application/json", *options)[
                    2
                ]
            )["country"]
        )

    assert ask("X-Forwarded-For: 8.8.8.8") == '"US"'
    assert ask("X-Forwarded-For: 193.99.144.80, 8.8.8.8") == '"US"'
    assert ask("X-Forwarded-For: 8.8.8.8, 127.0.0.2") == '"US"'
    assert ask("X-Forwarded-For: 8.8.8.8, rubbish") == '"ZZ"'
    assert ask() == '"ZZ"'
    status, headers, _ = edge.get(
        "/demo/pool/a.deb", "-H", "X-Forwarded-For: 8.8.8.8", "-H", "X-Forwarded-Proto: https"
    )
    assert (status, headers["Location"]) == (302, "https://de.example.org/demo/pool/a.deb")


def test_by_default_no_proxy_is_trusted(serving: Edge) -> None:
    _, _, body = serving.get(
        "/demo/pool/a.deb?mirrorlist",
        *("-H", "Accept: application/json", "-H", "X-Forwarded-For: 8.8.8.8"),
    )
    assert json.loads(body)["country"] == "ZZ"


def test_told_to_stop_it_finishes_the_download_under_way(serving: Edge) -> None:
    serving.put("demo/big", BIG)
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as client:
        client.sendall(b"GET /demo/big HTTP/1.1\r\nHost: x\r\n\r\n")
        received = client.recv(100_000)
        assert serving.process is not None
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        while piece := client.recv(1 << 20):
            received += piece
    assert received.partition(b"\r\n\r\n")[2] == BIG
    assert serving.process.wait(10) == 0


@pytest.mark.parametrize("whole", [True, False], ids=["redirected", "from us"])
def test_apt_fetches_through_the_redirector(
    edge: Edge, web: tuple[Path, int], whole: bool, tmp_path: Path
) -> None:
    folder, port = web
    (folder / "pool").mkdir()
    edge.put("demo/pool/a.deb", DEB)
    if whole:
        subprocess.run(["rsync", "-a", f"{edge.published}/demo/", str(folder)], check=True)
        shutil.rmtree(edge.published / "demo")
        here = mirror("here", url=f"http://127.0.0.1:{port}/", local=True)
        edge.write_map(map_of([here], {"pool/a.deb": File(len(DEB), frozenset({0}))}))
    edge.start()
    target = tmp_path / "fetched.deb"
    done = subprocess.run(
        [
            *("/usr/lib/apt/apt-helper", "-o", "Acquire::http::Proxy=DIRECT"),
            *("-o", "APT::Sandbox::User=root", "download-file"),
            f"{edge.url}/demo/pool/a.deb",
            str(target),
            f"SHA256:{hashlib.sha256(DEB).hexdigest()}",
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.read_bytes() == DEB


def test_many_connections_at_once_are_all_answered(serving: Edge) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", serving.port), timeout=10))
            for _ in range(200)
        ]
        for client in clients:
            client.sendall(b"GET /demo/pool/a.deb HTTP/1.0\r\n\r\n")
        for client in clients:
            assert client.recv(4096).startswith(b"HTTP/1.1 302 ")
