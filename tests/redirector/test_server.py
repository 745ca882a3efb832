"""A running redirector, asked by curl, by apt and by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from commonfarm.redirector.mirror_map import Answers
from tests.redirector.conftest import DEB
from tests.redirector.world import Edge, file_of, mirror


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
    assert links[1:] == [
        f"<{other}>; rel=duplicate; pri=2; geo={country}",
        f'<{serving.url}/demo/pool/a.deb.meta4>; rel=describedby; type="application/metalink4+xml"',
    ]
    value = base64.b64encode(hashlib.sha256(DEB).digest()).decode()
    assert f"Digest: SHA-256={value}" in lines
    assert f"Repr-Digest: sha-256=:{value}:" in lines
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
    assert (
        "# down (DE) is left out: down: gone; a probe and a scan that find it well again\n" in text
    )
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


def test_without_a_map_everything_comes_from_us(edge: Edge) -> None:
    edge.put("demo/pool/a.deb", DEB)
    edge.start()
    assert edge.get("/demo/pool/a.deb")[2] == DEB


def test_forwarded_addresses_are_believed_from_trusted_proxies_only(edge: Edge) -> None:
    secure = mirror("de", http="", https="https://de.example.org/demo/")
    edge.write_map([mirror("us", country="US"), secure], {"demo/pool/a.deb": file_of(b"a", 0, 1)})
    edge.start("--trusted-proxy", "127.0.0.0/8")

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


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_it_answers_by_both_versions_of_ip_and_sends_each_where_it_can_go(edge: Edge) -> None:
    edge.write_map(
        [mirror("four", answers=Answers.HTTP4), mirror("six", answers=Answers.HTTP6)],
        {"demo/a": file_of(b"a", 0, 1)},
    )
    edge.start(address="::")
    for host, name in (("127.0.0.1", "four"), ("[::1]", "six")):
        done = subprocess.run(
            ["curl", "-q", "-sSI", f"http://{host}:{edge.port}/demo/a"],
            capture_output=True,
            check=True,
            text=True,
        )
        assert f"Location: http://{name}.example.org/demo/a\n" in done.stdout.replace("\r", "")
        assert done.stdout.count("rel=duplicate") == 1


def test_by_default_no_proxy_is_trusted(serving: Edge) -> None:
    _, _, body = serving.get(
        "/demo/pool/a.deb?mirrorlist",
        *("-H", "Accept: application/json", "-H", "X-Forwarded-For: 8.8.8.8"),
    )
    assert json.loads(body)["country"] == "ZZ"


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
        here = mirror("here", http=f"http://127.0.0.1:{port}/", local=True)
        edge.write_map([here], {"demo/pool/a.deb": file_of(DEB, 0)})
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
