"""What a commit changes or has wrong is told without those who give unnamed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from commonfarm.estate.kept import facts_of, seen
from commonfarm.estate.models import Load
from commonfarm.journal.models import Entry
from tests.estate.following.helpers import ONE, SECRET, Clock, events, refused, start
from tests.estate.repositories import Repository

pytestmark = pytest.mark.django_db


def test_who_gives_anonymously_is_in_no_line_that_others_read(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    upstream.commit({"givers.yaml": SECRET}, "Somebody gives")
    load = next_minute()
    assert load is not None
    assert load.changes == ["sponsor anonymous-1: new", "pledge anonymous-2: new"]
    lent = ONE.replace("GiB}", "GiB, pledge: secret-loan, source: mail of secretcorp}")
    more = SECRET.replace("a server", "two servers of secretcorp")
    upstream.commit({"givers.yaml": more, "estate.yaml": lent})
    load = next_minute()
    assert load is not None
    assert load.changes == [
        "host anvil: pledge is anonymous-2, was -",
        "host anvil: sponsor is anonymous-1, was -",
    ]
    public = more.replace("disclosure: anonymous", "disclosure: public")
    upstream.commit({"givers.yaml": public.replace("secretcorp", "nokia")})
    load = next_minute()
    assert load is not None
    assert "pledge anonymous-2: disclosure is public, was anonymous" in load.changes
    assert "secret" not in json.dumps([[one.details, one.why] for one in Entry.objects.all()])
    upstream.commit({"givers.yaml": more})
    load = next_minute()
    assert load is not None
    assert "secret" not in repr(seen(load))
    assert "secretcorp" in facts_of(load).sponsors


def test_a_fault_names_nobody_who_gives_anonymously(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    lent = ONE.replace("GiB}", "GiB, pledge: secrt-loan}")
    upstream.commit({"estate.yaml": lent, "givers.yaml": SECRET + "hosts: 7\n"})
    start(upstream, clock)
    assert next_minute() is None
    told = [f"{one['what']}; {one['to_do']}" for one in refused()["problems"]]
    assert "there is no pledge `(anonymous)`; did you mean `(anonymous)`?" in told
    (event,) = events("estate not loaded")
    assert "secr" not in json.dumps(event).replace("secret.yaml", "")


def test_an_amount_that_is_hidden_is_in_no_line_that_others_read(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    hidden = SECRET.replace("anonymous", "amount hidden")
    upstream.commit({"givers.yaml": hidden})
    start(upstream, clock)
    next_minute()
    upstream.commit({"givers.yaml": hidden.replace("a server", "nine servers")})
    load = next_minute()
    assert load is not None and load.changes == []
