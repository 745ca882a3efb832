"""New maps while requests come: nothing is lost, nothing waits long, and nothing old is kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.redirector.mirror_map import Override, to_be_signed
from commonfarm.redirector.mirror_map.writing import Columns, Head, build_delta, write
from commonfarm.redirector.request import parse
from commonfarm.redirector.state import Redirector
from tests.redirector.wire import NOW, get, talk
from tests.redirector.world import (
    WRITTEN_AT,
    file_of,
    mirror,
    public_pem,
    settings_of,
    tree_of,
    write_map,
)

ONE, TWO, FAR = mirror("one"), mirror("two"), mirror("far", country="US")
FILES = {"demo/a": file_of(b"a", 0, 1), "demo/b": file_of(b"b", 1)}


class World:
    """A redirector in this process, and the key of its maps."""

    def __init__(self, home: Path) -> None:
        self.home, self.key = home, Ed25519PrivateKey.generate()
        (home / "key.pub").write_bytes(public_pem(self.key))
        proxies = [ip_network("127.0.0.0/8")]
        self.shared = Redirector(settings_of(home, trusted_proxies=proxies))
        self.shared.set_time(NOW)

    def full(self, generation: int, mirrors: object = (ONE, TWO), **more: object) -> None:
        fields: dict[str, object] = {"files": FILES, **more}
        write_map(self.home / "map", self.key, mirrors, generation=generation, **fields)  # type: ignore[arg-type]
        asyncio.run(self.shared.reload())

    def delta(self, generation: int, files: object, gone: object = ()) -> None:
        base = self.shared.map
        head = Head(generation, WRITTEN_AT, (ONE, TWO), (tree_of(),))
        columns = Columns.of(files, 2, gone=gone)  # type: ignore[arg-type]
        payload = build_delta(base, head, columns)
        signature = self.key.sign(to_be_signed(payload.header))
        write(self.home / "map", payload, signature, self.key.public_key())
        asyncio.run(self.shared.reload())

    def ask(self, path: str, address: str = "193.99.144.80") -> tuple[int, str]:
        status, headers, _ = get(self.shared, path, f"X-Forwarded-For: {address}\r\n")
        return status, headers.get("Location", "")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    (tmp_path / "published").mkdir()
    return made


def test_a_delta_brings_new_files_and_takes_others_away(world: World) -> None:
    world.full(1)
    first = world.ask("/demo/a")
    assert first[0] == world.ask("/demo/b")[0] == 302
    rankings = world.shared.redirects.table
    world.delta(2, {"demo/c": file_of(b"c", 0)}, gone=["demo/b"])
    assert world.shared.map.generation == 2
    assert world.ask("/demo/a") == first
    assert world.ask("/demo/b") == (404, "")
    assert world.ask("/demo/c")[0] == 302
    # The mirrors are the same, so nobody is ranked again.
    assert world.shared.redirects.table is rankings


def test_a_full_map_with_other_mirrors_ranks_who_was_here_before_it_is_in_force(
    world: World,
) -> None:
    world.full(1)
    addresses = [f"193.99.{number}.80" for number in range(50)]
    for address in addresses:
        world.ask("/demo/a", address)
    world.full(2, (ONE, TWO, FAR))
    assert world.shared.map.generation == 2
    assert len(world.shared.redirects.table) == 50
    for address in addresses:
        assert world.ask("/demo/a", address)[0] == 302
    assert len(world.shared.redirects.table) == 50


def test_a_mirror_that_fell_out_is_left_at_once(world: World) -> None:
    world.full(1)
    asked = [f"193.99.{number}.80" for number in range(30)]
    assert {world.ask("/demo/a", address)[1][:10] for address in asked} == {
        "http://one",
        "http://two",
    }
    world.full(2, (mirror("one", problem="down: no answer"), TWO))
    assert {world.ask("/demo/a", address)[1][:10] for address in asked} == {"http://two"}


def test_overrides_count_for_clients_that_are_known_already(world: World) -> None:
    world.full(1, (ONE, FAR), files={"demo/a": file_of(b"a", 0, 1)})
    assert world.ask("/demo/a")[1].startswith("http://one.")
    world.full(
        2,
        (ONE, FAR),
        files={"demo/a": file_of(b"a", 0, 1)},
        overrides=[Override("193.99.144.0/24", "US")],
    )
    assert world.ask("/demo/a")[1].startswith("http://far.")


def test_the_origin_only_period_ends_by_the_clock(world: World) -> None:
    world.full(1, files={"demo/a": file_of(b"a", 0, mirrors_from=int(NOW) + 30)})
    assert world.ask("/demo/a")[0] == 404  # ours alone, and not here
    world.shared.set_time(NOW + 29)
    assert world.ask("/demo/a")[0] == 404
    world.shared.set_time(NOW + 30)
    assert world.ask("/demo/a")[0] == 302


def test_budgets_are_one_for_all_maps_of_a_day(world: World) -> None:
    world.full(1, (mirror("one", budget_bytes=1000),), files={"demo/a": file_of(bytes(50), 0)})
    world.ask("/demo/a")
    world.full(2, (mirror("one", budget_bytes=1000), TWO), files={"demo/a": file_of(bytes(50), 0)})
    world.ask("/demo/a")
    assert world.shared.redirects.spent == {"one": 100}


def test_a_map_that_is_older_or_broken_is_refused_and_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.full(5)
    with caplog.at_level(logging.ERROR):
        world.full(4)
        (world.home / "map" / "current").write_bytes(b"rubbish")
        asyncio.run(world.shared.reload())
        asyncio.run(world.shared.reload())  # says so once
    assert world.shared.map.generation == 5
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(said) == world.shared.metrics.reload_failures == 2
    assert "generation 4 is older than 5; restart the redirector" in said[0]
    assert "does not start with" in said[1]
    assert all("generation 5 stays in force" in text for text in said)
    assert world.ask("/demo/a")[0] == 302
    # After a restart an older one is taken: a backup may have been restored.
    again = World.__new__(World)
    again.__dict__.update(world.__dict__)
    again.shared = Redirector(world.shared.settings)
    again.full(4)
    assert again.shared.map.generation == 4


def test_a_map_that_cannot_be_read_now_is_read_when_it_can(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    world.full(1)
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr("commonfarm.redirector.mirror_map.load", fail)
        world.full(2)
        asyncio.run(world.shared.reload())
    assert world.shared.map.generation == 1
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(said) == 1
    assert "Too many open files; generation 1 stays in force" in said[0]
    asyncio.run(world.shared.reload())
    assert world.shared.map.generation == 2


def test_a_delta_of_another_base_is_said_and_the_full_one_serves(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.full(1)
    world.delta(2, {"demo/c": file_of(b"c", 0)})
    kept = (world.home / "map" / "delta").read_bytes()
    world.full(3)
    (world.home / "map" / "delta").write_bytes(kept)
    with caplog.at_level(logging.ERROR):
        asyncio.run(world.shared.reload())
    assert "another full map" in caplog.text
    assert (world.shared.map.generation, world.ask("/demo/a")[0]) == (3, 302)


def test_an_old_map_is_given_back(world: World) -> None:
    world.full(1)
    world.ask("/demo/a")
    old = weakref.ref(world.shared.redirects)
    for generation in (2, 3, 4):
        world.full(generation, (ONE, TWO) if generation % 2 else (ONE, TWO, FAR))
        world.ask("/demo/a")
    gc.collect()
    assert old() is None


def test_a_client_that_comes_no_more_keeps_no_rankings_of_old_maps(world: World) -> None:
    world.full(1)
    world.ask("/demo/a")
    [links] = map(weakref.ref, world.shared.redirects._links.values())
    world.full(2, (ONE, TWO, FAR))
    gc.collect()
    assert links() is None


def test_clients_share_what_is_known_of_them_within_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from commonfarm.redirector import redirects, state

    monkeypatch.setattr(state, "MOST_ROUTES", 20)
    monkeypatch.setattr(redirects, "MOST_WAYS", 10)
    world.full(1)
    gc.collect()
    before = sum(type(one) is redirects.Route for one in gc.get_objects())
    for number in range(200):
        assert world.ask("/demo/a", f"193.{number}.1.1")[0] == 302
        assert len(world.shared._routes) <= 20
        assert len(world.shared.redirects.table) <= 10
    # Nor do the header lines that are kept keep more of them.
    assert sum(type(one) is redirects.Route for one in gc.get_objects()) - before <= 20
    one = world.shared.route(*_head("193.99.144.80"))
    assert world.shared.route(*_head("193.99.144.80")) is one
    near = world.shared.route(*_head("193.99.144.81"))
    way = world.shared.redirects.way
    assert near is not one
    assert way(near, b"demo") is way(one, b"demo")


def _head(address: str):  # type: ignore[no-untyped-def]
    from ipaddress import ip_address

    request = parse(f"GET /a HTTP/1.1\r\nX-Forwarded-For: {address}\r\n\r\n".encode())
    return ip_address("127.0.0.1"), request.head


def test_a_swap_between_two_pieces_of_one_request_harms_nothing(world: World) -> None:
    world.full(1)
    request = b"GET /demo/a HTTP/1.1\r\nHost: h\r\n\r\n"
    before, _ = talk(world.shared, request)
    world.full(2, (TWO,), files={"demo/a": file_of(b"a", 0)})
    after, _ = talk(world.shared, request[:20], request[20:])
    assert before != after
    assert b"Location: http://two." in after
