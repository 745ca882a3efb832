"""A running redirector under bad clients, load, new maps and signals."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.redirector.conftest import BIG, DEB
from tests.redirector.world import Edge, file_of, mirror, settings_of, write_map


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

    from commonfarm.redirector.connection import Connection
    from commonfarm.redirector.state import Redirector

    home = tmp_path / "published" / "demo"
    home.mkdir(parents=True)
    (home / "big").write_bytes(BIG)
    (home / "empty").write_bytes(b"")

    async def scene() -> tuple[list[bytes], bytes]:
        shared = Redirector(settings_of(tmp_path, most_transfers=2))
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
        async with asyncio.timeout(20):
            while shared.transfers or shared.connections:
                await asyncio.sleep(0.01)
        server.close()
        return bodies, refused

    bodies, refused = uvloop.run(scene())
    assert [body == BIG for body in bodies] == [True] * 3
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5\r\n" in refused


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
    deadline = time.monotonic() + 20
    while len(list(handles.iterdir())) > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_head_that_does_not_come_in_time_is_timed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    import uvloop

    from commonfarm.redirector import connection as module
    from commonfarm.redirector.server import every, keep_time
    from commonfarm.redirector.state import Redirector

    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)

    async def scene() -> tuple[bytes, bytes]:
        shared = Redirector(settings_of(tmp_path))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: module.Connection(shared), "127.0.0.1", 0)
        stopped = asyncio.Event()
        upkeep = asyncio.create_task(every(0.05, lambda: keep_time(shared), stopped))
        port = server.sockets[0].getsockname()[1]

        async def drip(writer: asyncio.StreamWriter) -> None:
            for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 100:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        async def dripping() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            dripper, said = asyncio.create_task(drip(writer)), b""
            with suppress(ConnectionResetError):  # by a byte that came after the answer
                while part := await reader.read(1000):
                    said += part
            dripper.cancel()
            return said

        async def silent() -> bytes:
            reader, _ = await asyncio.open_connection("127.0.0.1", port)
            return await reader.read()

        results = await asyncio.wait_for(asyncio.gather(dripping(), silent()), 10)
        stopped.set()
        await upkeep
        server.close()
        return results[0], results[1]

    dripped, silence = uvloop.run(scene())
    assert dripped.startswith(b"HTTP/1.1 408 ")
    assert silence == b""


def test_a_new_map_is_taken_up_and_a_bad_one_is_not(serving: Edge) -> None:
    def location() -> str:
        return serving.get("/demo/pool/a.deb")[1].get("Location", "")

    def one_mirror(name: str, generation: int) -> None:
        serving.write_map([mirror(name)], {"demo/pool/a.deb": file_of(b"a", 0)}, generation)

    def put(data: bytes) -> None:
        new = serving.map / "new"
        new.write_bytes(data)
        new.replace(serving.map_file)

    first = location()
    foreign = serving.home / "foreign"
    write_map(
        foreign,
        Ed25519PrivateKey.generate(),
        [mirror("evil")],
        {"demo/pool/a.deb": file_of(b"a", 0)},
        9,
    )
    put((foreign / "current").read_bytes())
    why = "not by the key of this installation"
    serving.wait_for_log(f"refused: .*{why}.*generation 1 stays in force")
    assert location() == first
    one_mirror("three", 2)
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
        files = {f"demo/pool/{number}.deb": file_of(b"x", 0) for number in range(5_000)}
        files["demo/pool/a.deb"] = file_of(DEB, 0)
        for generation, name in ((2, "one"), (3, "one"), (4, "other")):
            serving.write_map([mirror(name)], files, generation)
            serving.wait_for_log(f"mirror map {generation} is in force")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert answered[0] > 100


def test_a_key_that_comes_after_the_map_is_taken_up(edge: Edge) -> None:
    edge.write_map([mirror("one")], {"demo/pool/a.deb": file_of(DEB, 0)})
    pem = (edge.home / "key.pub").read_bytes()
    (edge.home / "key.pub").unlink()
    edge.start()
    assert edge.get("/demo/pool/a.deb")[0] == 404
    (edge.home / "key.pub").write_bytes(pem)
    edge.wait_for_log("mirror map 1 is in force")
    assert edge.get("/demo/pool/a.deb")[0] == 302


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
