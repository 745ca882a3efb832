"""The live streams, served by granian, fed through PostgreSQL."""

from __future__ import annotations

import json
import os
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

import psycopg
import pytest
from django.db import connection, transaction

from commonfarm.farm.models import Lease, LogPiece
from commonfarm.journal.interface import Cursor, Event, read, record
from commonfarm.store.interface import put_bytes
from commonfarm.web import live_token
from tests.web.served import end_sessions, served
from tests.web.world import running_lease

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, slots=True)
class Happened(Event):
    what: ClassVar[str] = "tested"
    number: int


def happen(number: int, subject: str = "test:1") -> None:
    with transaction.atomic():
        record(Happened(subject, number), who="user:anna")


@pytest.fixture
def live(tmp_path: Path, transactional_db: None) -> Iterator[int]:
    """Serve the live process against the test's own database; gives its port."""
    with served(tmp_path, "live") as what:
        yield what.config.listen.live


class Reader:
    """Reads server-sent events from a stream; `next` waits for one."""

    def __init__(self, port: int, stream: str, last: str = "", **query: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=15)
        asked = {"token": live_token.make(stream, 1), **query}
        headers = {"Last-Event-ID": last} if last else {}
        self.connection.request(
            "GET", f"/{stream.replace(':', '/')}?{urlencode(asked)}", headers=headers
        )
        self.response: HTTPResponse = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.headers["Content-Type"].startswith("text/event-stream")
        assert self.response.readline() == b"retry: 1000\n"

    def next(self) -> dict[str, str] | None:
        """Return the next event, None at the end of the stream."""
        event: dict[str, str] = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if not text and event:
                return event
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                event[name] = value
        return None

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def refused(port: int, path: str, method: str = "GET") -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as asked:
        asked.request(method, path)
        return asked.getresponse().status


def test_entries_come_as_they_are_committed_and_a_reader_resumes(live: int) -> None:
    happen(1)
    reader = Reader(live, "journal", **{"from": "0-0"})
    first = reader.next()
    assert first is not None and first["event"] == "entry"
    assert json.loads(first["data"])["details"] == {"number": 1}
    happen(2)
    second = reader.next()
    assert second is not None and json.loads(second["data"])["details"] == {"number": 2}
    assert second["id"] == json.loads(second["data"])["cursor"]
    reader.close()
    happen(3)
    resumed = Reader(live, "journal", last=second["id"], **{"from": "0-0"})
    third = resumed.next()
    assert third is not None and json.loads(third["data"])["details"] == {"number": 3}
    resumed.close()


def test_an_entry_that_settles_late_still_comes_in_order(live: int) -> None:
    database = connection.settings_dict
    with psycopg.connect(
        host=database["HOST"], dbname=database["NAME"], user=database["USER"]
    ) as late:
        late.execute(
            "INSERT INTO journal_entry (who, what, subject, why, details)"
            " VALUES ('user:late', 'tested', 'test:late', '', '{}')"
        )
        reader = Reader(live, "journal", **{"from": "0-0"})
        happen(1, "test:early")
        time.sleep(1.5)
        late.commit()
    subjects = [json.loads(event["data"])["subject"] for _ in "12" if (event := reader.next())]
    assert subjects == ["test:late", "test:early"]
    reader.close()


def test_many_readers_share_one_listener_and_all_see_everything(live: int) -> None:
    readers = [Reader(live, "journal", **{"from": "0-0"}) for _ in range(60)]
    for number in range(20):
        happen(number)
    got: list[list[int]] = []

    def take(reader: Reader) -> None:
        events = [reader.next() for _ in range(20)]
        got.append([json.loads(event["data"])["details"]["number"] for event in events if event])

    threads = [threading.Thread(target=take, args=[reader]) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [list(range(20))] * 60
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'commonfarm-live'"
        )
        # A pool of four and the listener; the browser tests may have a second process running.
        assert cursor.fetchone()[0] <= 10
    for reader in readers:
        reader.close()


def test_a_slow_reader_misses_nothing(live: int) -> None:
    slow = Reader(live, "journal", **{"from": "0-0"})
    with transaction.atomic():
        for number in range(3000):
            record(
                Happened(
                    "test:1",
                    number,
                ),
                who="user:anna",
                why="x" * 500,
            )
    time.sleep(2)
    seen: list[int] = []
    while len(seen) < 3000 and (event := slow.next()):
        seen.append(json.loads(event["data"])["details"]["number"])
    assert seen == list(range(3000))
    slow.close()


def test_readers_go_on_when_the_database_ends_their_connections(live: int) -> None:
    reader = Reader(live, "journal", **{"from": "0-0"})
    happen(1)
    assert reader.next()
    end_sessions("application_name = 'commonfarm-live'")
    happen(2)
    event = reader.next()
    assert event is not None and json.loads(event["data"])["details"] == {"number": 2}
    reader.close()


def test_a_log_streams_bytes_as_they_are_and_ends(live: int) -> None:
    lease = running_lease()
    hostile = b"\xff\xfe\x1b[31mred\n\nevent: end\ndata: no\n\n\x00"
    add(lease, 0, hostile)
    reader = Reader(live, f"log:{lease.pk}")
    event = reader.next()
    assert event is not None and b64decode(event["data"]) == hostile
    assert event["id"] == str(len(hostile))
    add(lease, len(hostile), b"more")
    event = reader.next()
    assert event is not None and b64decode(event["data"]) == b"more"
    Lease.objects.filter(pk=lease.pk).update(ended_at=lease.given_at, outcome="succeeded")
    assert reader.next() == {"event": "end", "data": "succeeded"}
    assert reader.next() is None


def test_a_log_resumes_in_the_middle_of_a_piece(live: int) -> None:
    lease = running_lease()
    add(lease, 0, b"0123456789")
    reader = Reader(live, f"log:{lease.pk}", **{"from": "4"})
    event = reader.next()
    assert event is not None and b64decode(event["data"]) == b"456789"
    reader.close()


def test_a_finished_log_comes_from_its_blob(live: int) -> None:
    lease = running_lease()
    text = os.urandom(700_000)
    Lease.objects.filter(pk=lease.pk).update(
        ended_at=lease.given_at, outcome="failed", log=put_bytes(text)
    )
    reader = Reader(live, f"log:{lease.pk}", **{"from": "1000"})
    got = b""
    while (event := reader.next()) and event["event"] == "piece":
        got += b64decode(event["data"])
    assert got == text[1000:]
    assert event == {"event": "end", "data": "failed"}


def test_what_opens_no_stream(live: int) -> None:
    lease = running_lease()
    good = live_token.make("journal", 1)
    assert refused(live, "/journal") == 401
    assert refused(live, "/journal?token=x") == 401
    assert refused(live, f"/log/{lease.pk}?token={good}") == 401
    assert refused(live, f"/elsewhere?token={good}") == 404
    assert refused(live, f"/journal?token={good}", "POST") == 405
    assert refused(live, f"/journal?token={good}&from=1%27%20OR") == 400
    log = live_token.make(f"log:{lease.pk}", 1)
    assert refused(live, f"/log/{lease.pk}?token={log}&from=-1") == 400
    assert refused(live, f"/log/{lease.pk}/../../journal?token={log}") == 404


def test_a_token_is_good_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    token = live_token.make("journal", 1)
    assert live_token.is_good(token, "journal")
    assert not live_token.is_good(token + "x", "journal")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + live_token.SECONDS + 1)
    assert not live_token.is_good(token, "journal")


def test_a_place_in_the_journal_reads_what_it_wrote(live: int) -> None:
    happen(1)
    place = Cursor.of(read(Cursor())[0])
    assert Cursor.parse(str(place)) == place


def add(lease: Lease, offset: int, data: bytes) -> None:
    with transaction.atomic():
        LogPiece.objects.create(lease=lease, offset=offset, data=data)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('log', %s)", [str(lease.pk)])
