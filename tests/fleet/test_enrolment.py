"""A host becomes a builder once per token, and each time begins a new generation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from commonfarm.estate.interface import Pool
from commonfarm.fleet.interface import (
    Builder,
    EnrolmentToken,
    bearer,
    enrol,
    make_enrolment_token,
    past_bearer,
)
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Public
from commonfarm.lib.errors import BadInputError, CommonfarmError, RefusedError
from tests.fleet.conftest import NOW, enrolled, request, token


def reason_of(error: pytest.ExceptionInfo[CommonfarmError]) -> str:
    return error.value.reason.code


def test_a_token_gives_a_credential_that_only_its_hash_is_kept_of(pool: Pool) -> None:
    answer = enrol(request(token(pool)), NOW)
    assert (answer.builder, answer.generation) == ("b1", 1)
    assert answer.scheduler_urls[0].startswith("http://127.0.0.1:")
    builder = bearer(answer.credential)
    assert builder is not None
    assert (builder.name, builder.pool, builder.label) == ("b1", pool, "builder:b1@1")
    assert builder.credential_digest not in answer.credential
    assert answer.credential not in str(list(Builder.objects.values()))
    assert bearer("cf_builder_wrong") is None
    assert [entry.what for entry in Entry.objects.order_by("id")] == [
        "enrolment token made",
        "builder enrolled",
    ]


def test_a_builder_is_told_the_schedulers_public_address(pool: Pool) -> None:
    public = Public(scheduler="https://builders.example.org")
    with override_settings(COMMONFARM=replace(settings.COMMONFARM, public=public)):
        answer = enrol(request(token(pool)), NOW)
    assert answer.scheduler_urls == ["https://builders.example.org"]


def test_a_token_used_twice_is_refused(pool: Pool) -> None:
    once = token(pool)
    enrol(request(once), NOW)
    with pytest.raises(RefusedError, match="was used at 12:00:00 UTC; make a new one") as error:
        enrol(request(once, "b2"), NOW)
    assert reason_of(error) == "token-used"
    assert not Builder.objects.filter(name="b2").exists()


def test_a_token_is_good_for_fifteen_minutes(pool: Pool) -> None:
    late = token(pool)
    with pytest.raises(RefusedError) as error:
        enrol(request(late), NOW + timedelta(minutes=15))
    assert reason_of(error) == "token-expired"
    assert enrol(request(late), NOW + timedelta(minutes=14, seconds=59)).generation == 1


def test_an_unknown_token_is_refused(pool: Pool) -> None:
    with pytest.raises(RefusedError) as error:
        enrol(request("cf_enrol_guessed"), NOW)
    assert reason_of(error) == "token-unknown"


@pytest.mark.django_db(transaction=True)
def test_of_many_who_use_a_token_at_once_one_wins() -> None:
    pool = Pool.objects.create(name="local", architecture="amd64")
    once = token(pool)

    def attempt(number: int) -> str:
        try:
            return enrol(request(once, f"b{number}"), NOW).builder
        except RefusedError as error:
            return error.reason.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(8)))
    assert sorted(outcomes)[1:] == ["token-used"] * 7
    assert list(Builder.objects.values_list("name", flat=True)) == [sorted(outcomes)[0]]


@pytest.mark.django_db(transaction=True)
def test_two_first_enrolments_of_one_name_become_two_generations(
    ended: list[tuple[str, int]],
) -> None:
    pool = Pool.objects.create(name="local", architecture="amd64")

    def attempt(once: str) -> int:
        try:
            return enrol(request(once), NOW).generation
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        generations = list(threads.map(attempt, [token(pool) for _ in range(4)]))
    assert sorted(generations) == [1, 2, 3, 4]
    assert ended == [("b1", 1), ("b1", 2), ("b1", 3)]


def test_enrolling_again_ends_the_generation_before(
    pool: Pool, ended: list[tuple[str, int]]
) -> None:
    builder, old = enrolled(pool)
    builder.cordon("disk is loud", who="user:anna", now=NOW)
    Builder.objects.update(running=1, cleanliness="dirty")
    again, new = enrolled(pool, now=NOW + timedelta(hours=1))
    assert ended == [("b1", 1)]
    assert (again.pk, again.generation, again.running) == (builder.pk, 2, 0)
    assert again.cordon_reason == "disk is loud"
    assert bearer(old) is None
    assert bearer(new) == again
    over = past_bearer(old)
    assert over is not None and over.text == "generation 1 of b1 is over; it is at 2 now"
    assert past_bearer(new) is None and past_bearer("cf_builder_wrong") is None


def test_a_name_is_taken_over_only_with_a_token_of_its_own_pool(pool: Pool) -> None:
    enrolled(pool)
    other = Pool.objects.create(name="lent", architecture="amd64")
    once = token(other)
    with pytest.raises(RefusedError, match="is in the pool local, and the token is for lent") as e:
        enrol(request(once), NOW)
    assert reason_of(e) == "other-pool"
    assert EnrolmentToken.objects.filter(used_at=None).count() == 1
    assert Builder.named("b1").generation == 1


def test_a_builder_of_another_architecture_is_refused_and_the_token_stays_good(pool: Pool) -> None:
    once = token(pool)
    with pytest.raises(RefusedError, match="make a token for a pool of arm64") as error:
        enrol(request(once, architecture="arm64"), NOW)
    assert reason_of(error) == "other-architecture"
    assert enrol(request(once), NOW).generation == 1


@pytest.mark.parametrize("name", ["", "B1", "../b1", "b 1", "b1\n", "-b", "a" * 64, "b\0"])
def test_a_name_that_cannot_be_one_is_refused(pool: Pool, name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be a builder's name"):
        enrol(request(token(pool), name), NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cores": 0},
        {"cores": 2**80},
        {"memory_bytes": -1},
        {"features": ["x"] * 65},
        {"features": ["two words"]},
        {"limits": {"memory": "\0"}},
        {"agent_version": "<b>"},
    ],
)
def test_facts_out_of_bounds_are_refused(pool: Pool, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="facts." + next(iter(wrong))):
        enrol(request(token(pool), "b1", **wrong), NOW)


def test_an_agent_of_another_protocol_is_told_to_fetch_the_agent_anew(pool: Pool) -> None:
    with pytest.raises(RefusedError, match=r"speaks protocol 99.*fetch the agent anew") as error:
        enrol(request(token(pool), protocol=99), NOW)
    assert reason_of(error) == "other-protocol"


def test_no_token_is_made_for_a_pool_that_left_the_estate(pool: Pool) -> None:
    pool.retired_at = NOW
    with pytest.raises(RefusedError, match="left the estate"):
        make_enrolment_token(pool, who="user:anna", now=NOW)
