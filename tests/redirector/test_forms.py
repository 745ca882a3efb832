"""Every form in which a file and its mirrors are told: redirects, metalinks, lists, hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from ipaddress import ip_network
from pathlib import Path
from xml.etree import ElementTree

import pytest

from commonfarm.redirector.mirror_map import Hashes, Override, Revision
from commonfarm.redirector.state import Redirector
from tests.redirector.wire import NOW, get, redirector, talk
from tests.redirector.world import file_of, mirror, tree_of

DATA = b"the bytes of a package" * 100
REPOMD = b"<repomd/>"
OTHER = Revision(1_700_000_000, 7, b"\x07" * 32, b"\x08" * 20, b"\x09" * 16)
HASHES = Hashes(b"\x01" * 20, b"\x02" * 16, 1024, (b"\x03" * 32, b"\x04" * 32, b"\x05" * 32))
EARLIER = Hashes(modified_at=1_800_000_000 - 60, alternates=(OTHER,))
GERMAN, FRENCH = "193.99.144.80", "212.27.48.10"
FROM = "X-Forwarded-For: "
V4 = "{urn:ietf:params:xml:ns:metalink}"
V3 = "{http://www.metalinker.org/}"
MM = "{http://fedorahosted.org/mirrormanager}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Redirector:
    home = tmp_path_factory.mktemp("edge")
    (home / "published" / "demo" / "pool").mkdir(parents=True)
    (home / "published" / "demo" / "pool" / "real.deb.sha256").write_bytes(b"a real file")
    return redirector(
        home,
        [
            mirror("de", https="https://de.example.org/demo/"),
            mirror("fr", country="FR", sponsor="Université <b>&amp;"),
            mirror("us", country="US", http="", https="https://us.example.org/demo/"),
            mirror("part", country="JP", subtree="fed"),
            mirror("down", problem="down: <script>alert(1)</script>"),
            mirror("six", country="BR", answers=2),
        ],
        {
            "demo/pool/a.deb": file_of(DATA, 0, 1, 2, 4, 5),
            "demo/pool/real.deb": file_of(DATA, 0),
            "demo/pool/ä <b>&\"'.deb": file_of(DATA, 0),
            "demo/new.iso": file_of(DATA, 0, mirrors_from=int(NOW) + 100),
            "demo/alone.iso": file_of(DATA),
            "demo/dists/stable/InRelease": file_of(b"now", 0, 1, changes=True),
            "demo/fed/x86_64/repodata/repomd.xml": file_of(REPOMD, 0, 1, 3, changes=True),
        },
        {"trusted_proxies": [ip_network("127.0.0.0/8")]},
        trees=[
            tree_of(
                aliases={"latest.deb": "pool/a.deb", "current": "fed"},
                repositories={"f/x86_64": "fed/x86_64", "gone": "no/where"},
            )
        ],
        hashes={"demo/pool/a.deb": HASHES, "demo/fed/x86_64/repodata/repomd.xml": EARLIER},
        overrides=[Override("198.51.100.0/24", origin=True)],
    )


def links(shared: Redirector, target: str, headers: str = "") -> list[str]:
    request = f"GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode()
    answer = talk(shared, request)[0].decode()
    return re.findall(r"^Link: (.*)\r$", answer, re.MULTILINE)


def test_a_redirect_says_all_that_the_contract_says(shared: Redirector) -> None:
    status, headers, body = get(shared, "/demo/pool/a.deb", f"{FROM}{GERMAN}\r\n")
    assert (status, body) == (302, b"")
    assert headers["Location"] == "http://de.example.org/demo/pool/a.deb"
    value = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert headers["Digest"] == f"SHA-256={value}"
    assert headers["Repr-Digest"] == f"sha-256=:{value}:"
    assert headers["ETag"] == f'"{value}"'
    assert headers["Vary"] == "Accept"
    assert links(shared, "/demo/pool/a.deb", f"{FROM}{GERMAN}\r\n") == [
        "<http://de.example.org/demo/pool/a.deb>; rel=duplicate; pri=1; geo=de",
        "<http://fr.example.org/demo/pool/a.deb>; rel=duplicate; pri=2; geo=fr",
        "<https://us.example.org/demo/pool/a.deb>; rel=duplicate; pri=3; geo=us",
        '<http://h/demo/pool/a.deb.meta4>; rel=describedby; type="application/metalink4+xml"',
    ]


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "https, http", "http,https"])
def test_https_is_never_downgraded(shared: Redirector, scheme: str) -> None:
    secure = f"{FROM}{GERMAN}\r\nX-Forwarded-Proto: {scheme}\r\n"
    found = links(shared, "/demo/pool/a.deb", secure)
    assert [link[:11] for link in found] == ["<https://de", "<https://us", "<https://h/"]


def test_where_a_client_says_it_is_counts_for_the_choice_alone(shared: Redirector) -> None:
    def sent_to(query: str) -> str:
        found = get(shared, f"/demo/pool/a.deb{query}", f"{FROM}{GERMAN}\r\n")[1]["Location"]
        return found.split("/")[2].partition(".")[0]

    assert sent_to("?country=FR") == sent_to("?country=fr") == "fr"
    assert sent_to("?country=US,FR") == "us"
    rubbish = ("?country=", "?country=FRA", "?country=%0d%0aX", "?country=%00", "?as=x", "?as=-1")
    for query in (*rubbish, "?as=" + "9" * 30, "?country=" + "a" * 3000, "?" + "a=b&" * 900):
        assert sent_to(query) == "de", query
    # Nobody becomes trusted by it, nor somebody else.
    own = get(shared, "/-/metrics?country=ZZ", f"{FROM}{GERMAN}\r\n")
    assert own[0] == 403
    told = get(shared, "/demo/pool/a.deb?mirrorlist", f"{FROM}{GERMAN}\r\nAccept: text/plain\r\n")
    assert b"for a client in DE: " in told[2]
    told = get(shared, "/demo/pool/a.deb?mirrorlist", "Accept: text/plain\r\n")
    assert b"for a client somewhere unknown: " in told[2]


def test_a_network_that_the_operator_serves_himself_gets_no_redirect(shared: Redirector) -> None:
    assert get(shared, "/demo/pool/a.deb", f"{FROM}198.51.100.9\r\n")[0] == 404  # not here


def test_an_alias_leads_to_what_it_stands_for(shared: Redirector) -> None:
    for path in ("/demo/latest.deb", "/demo/pool/../pool/a.deb".replace("pool/../", "")):
        assert get(shared, path, f"{FROM}{GERMAN}\r\n")[1]["Location"].endswith("/pool/a.deb")
    assert get(shared, "/demo/latest.deb.sha256")[2].endswith(b"  a.deb\n")
    assert get(shared, "/demo/current/x86_64/repodata/repomd.xml.meta4")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_it_already_gets_it_not_again(shared: Redirector, method: str) -> None:
    targets = ["", ".meta4", ".metalink", ".sha256", "?mirrorlist", "?mirrorlist&country=FR"]
    for target in (f"/demo/pool/a.deb{end}" for end in targets):
        status, headers, _ = get(shared, target, method=method)
        assert status in (200, 302)
        for same in (headers["ETag"], f'"x", W/{headers["ETag"]}', "*"):
            again = get(shared, target, f"If-None-Match: {same}\r\n", method)
            assert (again[0], again[1]["ETag"], again[2]) == (304, headers["ETag"], b"")
        assert get(shared, target, 'If-None-Match: "other"\r\n', method)[0] == status


def test_hashes_in_the_form_that_sha256sum_reads(shared: Redirector) -> None:
    expected = hashlib.sha256(DATA).hexdigest().encode() + b"  a.deb\n"
    assert get(shared, "/demo/pool/a.deb.sha256")[2] == expected
    assert get(shared, "/demo/pool/a.deb?sha256")[2] == expected
    assert get(shared, "/demo/pool/a.deb.sha1")[2] == b"01" * 20 + b"  a.deb\n"
    assert get(shared, "/demo/pool/a.deb.md5")[2] == b"02" * 16 + b"  a.deb\n"
    status, _, body = get(shared, "/demo/new.iso.md5")
    assert (status, b"md5 of this file is not known" in body) == (404, True)
    assert get(shared, "/demo/none.sha256")[0] == 404
    # A real file of that name wins; it is given out by a transfer, which has no socket here.
    assert get(shared, "/demo/pool/real.deb.sha256", method="HEAD")[1]["Content-Length"] == "11"


def test_a_metalink_of_version_4(shared: Redirector) -> None:
    status, headers, body = get(shared, "/demo/pool/a.deb.meta4", f"{FROM}{FRENCH}\r\n")
    assert (status, headers["Content-Type"]) == (200, "application/metalink4+xml")
    file = ElementTree.fromstring(body).find(f"{V4}file")
    assert file is not None
    assert file.attrib == {"name": "a.deb"}
    assert file.findtext(f"{V4}size") == str(len(DATA))
    sums = {one.attrib["type"]: one.text for one in file.findall(f"{V4}hash")}
    assert sums == {
        "sha-256": hashlib.sha256(DATA).hexdigest(),
        "sha-1": "01" * 20,
        "md5": "02" * 16,
    }
    pieces = file.find(f"{V4}pieces")
    assert pieces is not None
    assert pieces.attrib == {"length": "1024", "type": "sha-256"}
    assert [one.text for one in pieces] == ["03" * 32, "04" * 32, "05" * 32]
    urls = [(one.attrib, one.text) for one in file.findall(f"{V4}url")]
    assert urls == [
        ({"location": "fr", "priority": "1"}, "http://fr.example.org/demo/pool/a.deb"),
        ({"location": "de", "priority": "2"}, "http://de.example.org/demo/pool/a.deb"),
        ({"location": "us", "priority": "3"}, "https://us.example.org/demo/pool/a.deb"),
        ({"priority": "4"}, "http://dl.example.org/demo/pool/a.deb"),
    ]
    first = get(shared, "/demo/pool/a.deb", f"{FROM}{FRENCH}\r\n")[1]["Location"]
    assert urls[0][1] == first


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*,application/metalink4+xml,application/metalink+xml", "metalink4+xml"),
        ("application/metalink4+xml", "metalink4+xml"),
        ("APPLICATION/METALINK4+XML;Q=1", "metalink4+xml"),
        ("application/metalink+xml", "metalink+xml"),
        ("application/metalink4+xml;q=0.5, application/metalink+xml", "metalink+xml"),
        ("*/*;q=0.5, application/metalink4+xml;q=0.6", "metalink4+xml"),
        ("*/*, application/metalink4+xml;q=0.5", ""),
        ("application/metalink4+xml;q=0", ""),
        ("*/*", ""),
        ("text/html, application/xhtml+xml", ""),
        ("application/metalink4+xml;q=x" + ",a/b" * 100, "metalink4+xml"),
    ],
)
def test_a_metalink_for_who_names_it(shared: Redirector, accept: str, kind: str) -> None:
    status, headers, _ = get(shared, "/demo/pool/a.deb", f"Accept: {accept}\r\n")
    assert headers["Vary"] == "Accept"
    if kind:
        assert (status, headers["Content-Type"]) == (200, f"application/{kind}")
    else:
        assert status == 302


def test_what_is_ours_alone_for_now_has_its_metalink(shared: Redirector) -> None:
    for path in ("/demo/new.iso", "/demo/alone.iso"):
        file = ElementTree.fromstring(get(shared, f"{path}.meta4")[2]).find(f"{V4}file")
        assert file is not None
        assert [one.text for one in file.findall(f"{V4}url")] == [f"http://dl.example.org{path}"]


def test_the_metalink_that_dnf_asks_for(shared: Redirector) -> None:
    targets = ["?repo=f&arch=x86_64", "?path=demo/fed/x86_64", "?path=/demo/current/x86_64/"]
    bodies = {get(shared, f"/metalink{target}", f"{FROM}{FRENCH}\r\n")[2] for target in targets}
    [body] = bodies
    file = ElementTree.fromstring(body).find(f"{V3}files/{V3}file")
    assert file is not None
    assert file.attrib["name"] == "repomd.xml"
    assert file.findtext(f"{MM}timestamp") == str(EARLIER.modified_at)
    assert file.findtext(f"{V3}size") == str(len(REPOMD))
    current = {one.attrib["type"]: one.text for one in file.findall(f"{V3}verification/{V3}hash")}
    assert current == {"sha256": hashlib.sha256(REPOMD).hexdigest()}
    [other] = file.findall(f"{MM}alternates/{MM}alternate")
    assert other.findtext(f"{MM}timestamp") == str(OTHER.modified_at)
    sums = {one.attrib["type"]: one.text for one in other.findall(f"{V3}verification/{V3}hash")}
    assert sums == {"sha256": "07" * 32, "sha1": "08" * 20, "md5": "09" * 16}
    assert body.index(b"<verification>") < body.index(b"alternates")
    urls = [(one.attrib, one.text) for one in file.iter(f"{V3}url")]
    assert [url for _, url in urls] == [
        "http://fr.example.org/demo/fed/x86_64/repodata/repomd.xml",
        "http://de.example.org/demo/fed/x86_64/repodata/repomd.xml",
        "http://part.example.org/demo/x86_64/repodata/repomd.xml",
        "http://dl.example.org/demo/fed/x86_64/repodata/repomd.xml",
    ]
    assert [one["preference"] for one, _ in urls] == ["100", "99", "98", "97"]
    assert urls[0][0] == {
        "protocol": "http", "type": "http", "location": "FR", "preference": "100"
    }  # fmt: skip


def test_dnf_may_ask_for_a_protocol_and_a_country(shared: Redirector) -> None:
    def urls(query: str) -> list[str]:
        target = f"/metalink?repo=f&arch=x86_64{query}"
        body = get(shared, target, f"{FROM}{FRENCH}\r\n")[2]
        return [one.text or "" for one in ElementTree.fromstring(body).iter(f"{V3}url")]

    assert [url.split("/")[2] for url in urls("&protocol=https")] == ["de.example.org"]
    assert urls("&protocol=rsync") == []
    assert urls("&protocol=http")[0].startswith("http://fr.")
    assert urls("&country=DE")[0].startswith("http://de.")
    assert urls("&country=JP,DE")[0].startswith("http://part.")
    assert urls("&country=global")[0].startswith("http://fr.")


def test_the_list_that_dnf_and_zypper_ask_for(shared: Redirector) -> None:
    expected = [
        "http://fr.example.org/demo/fed/x86_64/",
        "http://de.example.org/demo/fed/x86_64/",
        "http://part.example.org/demo/x86_64/",
        "http://dl.example.org/demo/fed/x86_64/",
    ]
    for target in (
        "/mirrorlist?repo=f&arch=x86_64",
        "/demo/fed/x86_64/?mirrorlist",
        "/demo/fed/x86_64.mirrorlist",
        "/demo/current/x86_64/?mirrorlist",
    ):
        body = get(shared, target, f"{FROM}{FRENCH}\r\n")[2].decode()
        assert body.startswith("#")
        assert [line for line in body.splitlines() if not line.startswith("#")][:3] == expected[:3]


def test_a_repository_that_there_is_not(shared: Redirector) -> None:
    status, _, body = get(shared, "/metalink?repo=none&arch=x86_64")
    assert (status, b"there are: f/x86_64, gone" in body) == (404, True)
    assert get(shared, "/mirrorlist?repo=gone")[0] == 404
    assert get(shared, "/metalink?path=demo/none")[0] == 404
    assert get(shared, "/metalink?path=")[0] == 404
    assert get(shared, "/metalink?path=%00../..")[0] == 404
    assert get(shared, "/metalink")[0] == 404


@pytest.mark.parametrize("path", ["/", "/demo/", "/demo/pool/", "/none/"])
def test_a_folder_is_not_listed_and_that_is_said(shared: Redirector, path: str) -> None:
    status, _, body = get(shared, path)
    assert (status, b"folders are not listed here" in body) == (404, True)


def test_the_list_that_apt_reads(shared: Redirector) -> None:
    for target in ("/demo.mirrorlist", "/demo/?mirrorlist", "/demo/.mirrorlist"):
        status, headers, body = get(shared, target, f"{FROM}{FRENCH}\r\n")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8"), target
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        assert lines == [
            "http://dl.example.org/demo/\tpriority:1 type:index",
            "http://fr.example.org/demo/\tpriority:2",
            "http://de.example.org/demo/\tpriority:3",
            "https://us.example.org/demo/\tpriority:4",
            "http://dl.example.org/demo/\tpriority:99",
        ]
    part = get(shared, "/demo/fed/?mirrorlist", f"{FROM}{FRENCH}\r\n")[2]
    assert b"\nhttp://part.example.org/demo/\tpriority:" in part
    assert get(shared, "/none/?mirrorlist")[0] == 404


def test_every_mirror_is_listed_with_why_it_is_left_out(shared: Redirector) -> None:
    asked = f"{FROM}{GERMAN}\r\nAccept: application/json\r\n"
    status, headers, body = get(shared, "/demo/pool/a.deb?mirrorlist", asked)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    found = json.loads(body)
    assert [one["mirror"] for one in found["mirrors"]] == ["de", "fr", "us"]
    assert found["mirrors"][0]["why"] == "country"
    assert {one["mirror"]: one["code"] for one in found["left_out"]} == {
        "part": "not-carried",
        "down": "out-of-service",
        "six": "other-family",
    }
    assert all(one["reason"] and one["lifted_by"] for one in found["left_out"])
    assert (found["served_by"], found["size"]) == ("de", len(DATA))
    mine = json.loads(get(shared, "/demo/dists/stable/InRelease?mirrorlist", asked)[2])
    assert (mine["served_by"], mine["code"]) == ("origin", "changes-in-place")
    new = json.loads(get(shared, "/demo/new.iso?mirrorlist", asked)[2])
    assert (new["served_by"], new["code"], new["mirrors"]) == ("origin", "origin-only", [])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert not any(name.startswith("on") or name == "src" for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_escaped_and_needs_nothing_else(shared: Redirector) -> None:
    asked = f"{FROM}{GERMAN}\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
    for target in (
        "/demo/pool/a.deb?mirrorlist",
        "/demo/pool/%C3%A4%20%3Cb%3E%26%22'.deb?mirrorlist",
    ):
        status, headers, body = get(shared, target, asked)
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        page = Page(body.decode())
        assert not {"script", "img", "link", "iframe", "b"} & set(page.tags)
        assert "down: <script>alert(1)</script>" in page.text
        assert "in DE, by http and IPv4" in page.text
    assert "ä <b>&\"'.deb" in page.text
    place = "http://de.example.org/demo/pool/%C3%A4%20%3Cb%3E&%22'.deb"
    assert place in page.links


@pytest.mark.parametrize(
    "target", ["/demo/pool/a.deb", "/demo/pool/a.deb.meta4", "/demo/fed/x86_64/?mirrorlist"]
)
def test_whose_host_is_none_gets_no_address_of_ours(shared: Redirector, target: str) -> None:
    def answer(host: str) -> str:
        return talk(shared, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0].decode()

    for host in ("<script>", "a b", "", "evil.example.org/x?", "x\x7f", "[::1", "a" * 300, "x@y"):
        said = answer(host)
        if target.endswith(".deb") and said.startswith("HTTP/1.1 302 "):
            assert "describedby" not in said
            assert "\r\nDigest: " in said
            assert said.count("\r\n\r\n") == 1
        told = re.findall(r"https?://[^/]*(?=/demo/)", said)
        assert all(url.endswith(".example.org") and "evil" not in url for url in told), host
    for host in ("dl.example.org:8080", "[2001:db8::1]", "[2001:db8::1]:80", "10.0.0.1"):
        assert f"http://{host}/demo/" in answer(host)


def test_a_configured_address_counts_before_the_host(tmp_path: Path) -> None:
    shared = redirector(
        tmp_path,
        [mirror("one")],
        {"demo/a": file_of(b"a", 0)},
        {"public": "https://download.example.org/"},
    )
    assert links(shared, "/demo/a", "")[-1].startswith(
        "<https://download.example.org/demo/a.meta4>"
    )
    assert (
        b'<origin dynamic="true">https://download.example.org/demo/a.meta4<'
        in get(shared, "/demo/a.meta4")[2]
    )
