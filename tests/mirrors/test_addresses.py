"""What is registered makes our worker connect: only where a mirror may be."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from commonfarm.lib.config import Listen, Public, default
from commonfarm.lib.errors import BadInputError, RefusedError
from commonfarm.mirrors.addresses import (
    AddressRefusedError,
    CheckedResolver,
    NoAddressError,
    Policy,
    addresses_of,
    all_loopback,
    check_rsync_url,
    check_url,
)

PUBLIC = Policy(loopback_allowed=False, own_ports=frozenset({8000}))
LOCAL = Policy(loopback_allowed=True, own_ports=frozenset({8000}))


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "192.0.2.1", "240.0.0.1"),
        *("::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1"),
        *("2002:0a00:0001::1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2001:db8::1"),
        *("::10.0.0.1", "::ffff:0:10.0.0.1", "fec0::1"),
    ],
)
def test_what_is_not_public_is_refused_everywhere(address: str) -> None:
    for policy in (PUBLIC, LOCAL):
        reason = policy.refusal(address, 80)
        assert reason is not None
        assert reason.code == "address-not-public"
        assert reason.lifted_by


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_for_installations_on_loopback_and_not_for_their_own_ports(
    address: str,
) -> None:
    refused, own = PUBLIC.refusal(address, 80), LOCAL.refusal(address, 8000)
    assert refused is not None and refused.code == "address-not-public"
    assert own is not None and own.code == "mirror-is-ourselves"
    assert LOCAL.refusal(address, 80) is None


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert PUBLIC.refusal(address, 8000) is None


@pytest.mark.parametrize(
    ("listen", "allowed"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("farm", False)],
)
def test_the_policy_follows_where_the_installation_listens(
    tmp_path: Any, listen: str, allowed: bool
) -> None:
    config = default("x", tmp_path / "c", tmp_path, tmp_path, Listen(listen, 1, 2, 3, 4, 5))
    assert Policy.of(config) == Policy(allowed, frozenset({1, 2, 3, 4, 5}))
    # Behind a proxy that others reach, loopback is where its own services are.
    proxied = replace(config, public=Public(hub="https://farm.example.org"))
    assert Policy.of(proxied) == Policy(False, frozenset({1, 2, 3, 4, 5, 443}))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://mirror.example.org/debian/", "http://mirror.example.org/debian/"),
        ("https://mirror.example.org", "https://mirror.example.org/"),
        ("http://[2001:4860:4860::8888]:81/a", "http://[2001:4860:4860::8888]:81/a/"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/"),
    ],
)
def test_an_address_is_kept_with_a_slash_at_its_end(url: str, kept: str) -> None:
    assert check_url(url, LOCAL) == kept


@pytest.mark.parametrize(
    "url",
    [
        *("", "mirror", "ftp://mirror.example.org/", "file:///etc/passwd", "http://", "http:///x"),
        *("http://user:secret@mirror.example.org/", "http://m.example.org/?x", "http://m/#x"),
        *("http://m.example.org:99999/", "http://m.example.org/a b", "http://m.example.org/\r\nX:"),
        *("http://[::1/", "http://mä.example.org/", 'http://m.example.org/"', "http://m/<x>"),
    ],
)
def test_what_is_no_plain_web_address_is_bad_input(url: str) -> None:
    with pytest.raises(BadInputError):
        check_url(url, LOCAL)


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "https://[fc00::1]/", "http://127.0.0.1:8000"])
def test_a_literal_address_is_judged_at_once(url: str) -> None:
    with pytest.raises(RefusedError):
        check_url(url, LOCAL)


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "127.1", "127.0.1", "127.0.0.01", "0177.0.0.1", "0x7f.1", "0x7F000001"),
        *("127.0.0.1.", "010.0.0.1", "8.8.2056", "999999999999", "1.2.3.4.5", "256.1.1.1"),
    ],
)
def test_an_address_is_written_in_the_usual_way_or_is_bad_input(host: str) -> None:
    for policy in (PUBLIC, LOCAL):
        with pytest.raises(BadInputError, match="as they are usually written"):
            check_url(f"http://{host}:8080/", policy)


@pytest.mark.parametrize(
    "name", ["0x7f.example.org", "1.example.org", "3com", "x.1and1", "127.0.0.1.example.org."]
)
def test_a_name_may_have_numbers(name: str) -> None:
    assert check_url(f"http://{name}/", PUBLIC) == f"http://{name}/"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("rsync://mirror.example.org/debian", "rsync://mirror.example.org/debian/"),
        (
            "rsync://mirror.example.org:8730/a/b-1.0~x/",
            "rsync://mirror.example.org:8730/a/b-1.0~x/",
        ),
        ("rsync://[2001:4860:4860::8888]/a", "rsync://[2001:4860:4860::8888]/a/"),
        ("rsync://127.0.0.1:9000/a/", "rsync://127.0.0.1:9000/a/"),
    ],
)
def test_an_rsync_address_is_kept_with_a_slash_at_its_end(url: str, kept: str) -> None:
    assert check_rsync_url(url, LOCAL) == kept


@pytest.mark.parametrize(
    "url",
    [
        *("", "m.example.org::debian", "http://m.example.org/a/", "rsync://", "rsync:///a/"),
        *("rsync://m.example.org", "rsync://m.example.org/", "rsync://m.example.org//a/"),
        *("rsync://anna@m.example.org/a/", "rsync://anna:pw@m.example.org/a/"),
        *("rsync://m.example.org/a/../b/", "rsync://m.example.org/..", "rsync://m.example.org/./"),
        *(
            "rsync://m.example.org/a/*",
            "rsync://m.example.org/a[b]/",
            "rsync://m.example.org/a%20b",
        ),
        *("rsync://m.example.org/a b", "rsync://m.example.org/a?b", "rsync://m.example.org/a#b"),
        *("rsync://m.example.org/a;b", "rsync://m.example.org/$(id)/", "rsync://2130706433/a/"),
        *("rsync://m.example.org:99999/a/", "rsync://m.example.org/a\n/", "-e sh rsync://m/a/"),
    ],
)
def test_what_is_no_plain_rsync_address_is_bad_input(url: str) -> None:
    with pytest.raises(BadInputError):
        check_rsync_url(url, LOCAL)


@pytest.mark.parametrize(
    "url", ["rsync://10.0.0.1/a/", "rsync://[fc00::1]/a", "rsync://127.0.0.1:8000/a"]
)
def test_a_literal_rsync_address_is_judged_at_once(url: str) -> None:
    with pytest.raises(RefusedError):
        check_rsync_url(url, LOCAL)


def test_the_port_of_rsync_is_its_own() -> None:
    own = Policy(loopback_allowed=True, own_ports=frozenset({873}))
    with pytest.raises(RefusedError, match="port 873"):
        check_rsync_url("rsync://127.0.0.1/a/", own)
    assert check_url("http://127.0.0.1/", own)


def test_all_addresses_of_a_name_are_judged_before_one_is_given_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("mirror.example.org", 873)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in told]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    told[:] = ["8.8.8.8", "8.8.4.4", "8.8.8.8"]
    assert addresses_of("rsync://mirror.example.org/a/", PUBLIC) == ("8.8.8.8", "8.8.4.4")
    told[:] = ["8.8.8.8", "10.0.0.1"]
    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1 is not a public address"):
        addresses_of("rsync://mirror.example.org/a/", PUBLIC)


def test_one_family_is_given_out_and_all_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[socket.AddressFamily, str]] = []

    def resolve(family: socket.AddressFamily) -> list[str]:
        async def resolved() -> list[str]:
            loop = asyncio.get_running_loop()

            async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
                return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for kind, one in told]

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo, raising=False)
            found = await CheckedResolver(PUBLIC, family).resolve("mirror.example.org", 80)
            return [result["host"] for result in found]

        return asyncio.run(resolved())

    four, six = (socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:4860:4860::8888")
    told[:] = [four, six]
    assert resolve(socket.AF_INET) == ["8.8.8.8"]
    assert resolve(socket.AF_INET6) == ["2001:4860:4860::8888"]
    told[:] = [four]
    with pytest.raises(NoAddressError):
        resolve(socket.AF_INET6)
    told[:] = [four, (socket.AF_INET6, "fc00::1")]
    with pytest.raises(AddressRefusedError):
        resolve(socket.AF_INET)


def test_a_name_is_judged_by_all_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[str]] = {
        "good.example.org": ["8.8.8.8"],
        "mixed.example.org": ["8.8.8.8", "10.0.0.1"],
    }

    async def resolve(name: str) -> list[str]:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            kind = socket.SOCK_STREAM
            return [(socket.AF_INET, kind, 6, "", (one, port)) for one in answers[host]]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo, raising=False)
        return [result["host"] for result in await CheckedResolver(PUBLIC).resolve(name, 80)]

    assert asyncio.run(resolve("good.example.org")) == ["8.8.8.8"]
    with pytest.raises(AddressRefusedError, match=r"10\.0\.0\.1 is not a public address"):
        asyncio.run(resolve("mixed.example.org"))


def test_localhost_by_name_is_judged_like_its_address() -> None:
    with pytest.raises(AddressRefusedError):
        asyncio.run(CheckedResolver(PUBLIC).resolve("localhost", 80))
    assert asyncio.run(CheckedResolver(LOCAL).resolve("localhost", 80))


def test_what_addresses_tell() -> None:
    assert all_loopback(["127.0.0.1", "::1"])
    assert not all_loopback(["127.0.0.1", "8.8.8.8"])
